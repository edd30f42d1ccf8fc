"""An operator's token, and the desk that it buys statements from: it goes nowhere else."""

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus

from busauth._amqp.desks.desk import Desk
from busauth._amqp.headers import check_alone
from busauth._arguments import checked_class
from busauth._messages.statements import StatedLetter, is_statement
from busauth._tokens.fetch import Fetcher, Reply, shown
from busauth.errors import BadMessage, Deferred, Forbidden, Refused

_CODE = re.compile(r"[a-z]+\.[a-z_]+", re.ASCII)
_FETCHER = Fetcher(max_bytes=2 * 1024 * 1024)


@checked_class
@dataclass(frozen=True, slots=True)
class OperatorToken:
    """By an operator's authority: ``Redrive(..., authority=OperatorToken(token, desk=...))``.

    Args:
        token: the operator's, raw.
        desk: the desk itself, or its URL, to which ``/statements`` is added.
        fetcher: asks a desk at a URL: https, or plain http of loopback and of hosts that it names.

    Raises:
        NotGenuine: ``header.scheme``: the token is a header's value.
        ConfigurationError: the URL may not be asked.
    """

    token: str = field(repr=False)
    desk: Desk | str = field(kw_only=True)
    fetcher: Fetcher = field(default=_FETCHER, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        check_alone(self.token)
        if isinstance(self.desk, str):
            self.fetcher.check_url(self.desk)

    async def check(self, queue: str) -> None:
        """Ask whether the desk takes this operator at all, before the first letter.

        Raises:
            Refused, Deferred: as `state`.
        """
        await self._stated(queue)

    async def state(self, letter: StatedLetter) -> str:
        """Return a statement for a letter.

        Raises:
            Refused: the desk refuses, with its code.
            Deferred: it is out of reach, or answers otherwise than a desk does.
        """
        (statement,) = await self._stated(letter.queue, letter)
        return statement

    async def _stated(self, queue: str, *letters: StatedLetter) -> list[str]:
        if isinstance(self.desk, Desk):
            return await self.desk.state(self.token, letters)
        said = [{"letter": each.letter, "seal": each.seal, "body": each.body} for each in letters]
        url = f"{self.desk.rstrip('/')}/statements"
        headers = {"Authorization": f"Bearer {self.token}"}
        reply = await self.fetcher.post_json(url, {"queue": queue, "letters": said}, headers)
        return _statements(url, reply, len(letters))


def _statements(url: str, reply: Reply, asked: int) -> list[str]:
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        answer = None
    said = answer if isinstance(answer, dict) else {}
    if HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _refused(reply.status, said.get("code"))
    statements = said.get("statements")
    if reply.status != HTTPStatus.OK or not isinstance(statements, list):
        raise Deferred(f"{shown(url)} answers {reply.status}, and not as a desk does")
    if len(statements) != asked or not all(map(is_statement, statements)):
        raise Deferred(f"{shown(url)} gave something else than {asked} statements")
    return statements


def _refused(status: int, code: object) -> Refused:
    """Return what the desk has refused, by its code."""
    kind = BadMessage if status == HTTPStatus.BAD_REQUEST else Forbidden
    told = code if isinstance(code, str) and _CODE.fullmatch(code) else "redrive.desk"
    expected = "an operator's token for this desk, in time, with its scopes"
    return kind(told, found=f"status {status} of the desk", expected=expected)
