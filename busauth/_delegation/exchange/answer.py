"""What a token endpoint answers: a token, a no, or nothing that is an answer (RFC 6749, section 5).

- A *no* is a status of four hundred with an `error` that is a code. It is about what was asked.
- What blames this client, or the server, is nobody's guilt: another status, another shape, members
  that are null where they are required, and the errors of `_NOBODYS`.
- What has the shape of an answer is read here, and not believed yet: see `held`.
"""

import math
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from busauth._tokens.compact import json_object
from busauth._tokens.fetch import Reply
from busauth.errors import Deferred, Forbidden, NotGenuine

_NOBODYS: Mapping[str, str] = {
    "invalid_client": "a client that the server knows, with what it proves itself by",
    "unauthorized_client": "a client that may have tokens exchanged there",
    "unsupported_grant_type": "a server that exchanges tokens, and that switched on",
    **dict.fromkeys(("temporarily_unavailable", "server_error", "slow_down"), "200"),
}
"""Errors about the client or the server, and what is expected in their place."""

_NO_VERDICT = frozenset({401, 404, 405, 407, 408, 421, 425, 429})
"""Statuses about whoever asks, where, how or when: not about what was asked."""

_VERDICTS = frozenset({"token_revoked"})
"""Errors about the subject that come with such a status (authgent-server)."""

_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
"""An `error` is a code; anything else is a page of whatever stands in front of the server."""

_TELLING = 16
"""Characters of a secret that nobody writes by chance."""


class Granted(NamedTuple):
    """An answer that has the shape of one.

    Attributes:
        token: raw.
        issued: `issued_token_type`; None where there is none.
        usage: `token_type`.
        seconds: `expires_in`; infinity where there is none.
        renews: whether a refresh token came with it.
    """

    token: str
    issued: str | None
    usage: str
    seconds: float
    renews: bool = False

    def __repr__(self) -> str:
        return f"<Granted {self.issued} {self.usage}>"


def object_of(reply: Reply, secrets: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON object in an answer that is no refusal; its nulls are not there.

    Args:
        reply: what came.
        secrets: what was handed in, and must not come back in an error.

    Raises:
        Forbidden: ``exchange.refused``.
        Deferred: it is no answer.
    """
    try:
        said = json_object(reply.body, "answer")
    except NotGenuine as odd:
        raise Deferred(f"status {reply.status}, {odd.found}: expected JSON") from None
    if reply.status == HTTPStatus.OK:
        return {name: value for name, value in said.items() if value is not None}
    error = said.get("error")
    if not isinstance(error, str) or not _CODE.fullmatch(error) or tells(error, secrets):
        raise Deferred(f"status {reply.status} without an error code: expected 200")
    client_error = reply.status // 100 == 4  # noqa: PLR2004 -- four hundred and more
    is_nobodys = reply.status in _NO_VERDICT and error not in _VERDICTS
    if not client_error or is_nobodys or error in _NOBODYS:
        raise Deferred(f"status {reply.status}, {error}: expected {_NOBODYS.get(error, '200')}")
    raise Forbidden("exchange.refused", found=error, expected="a token")


def granted(said: Mapping[str, Any], secrets: Collection[str] = ()) -> Granted:
    """Read an answer's members.

    Args:
        said: the members.
        secrets: what was handed in, and must not come back as a name, which is told.

    Raises:
        Deferred: one is missing, or of another type than it has, or a token in place of a name.
    """
    token, usage, issued = (
        said.get(name) for name in ("access_token", "token_type", "issued_token_type")
    )
    if not isinstance(token, str) or not token:
        raise _odd("access_token", "text")
    secrets = (*secrets, token)
    if not isinstance(usage, str) or tells(usage, secrets):
        raise _odd("token_type", "a name")
    if issued is not None and (not isinstance(issued, str) or tells(issued, secrets)):
        raise _odd("issued_token_type", "a name")
    return Granted(token, issued, usage, _seconds(said), "refresh_token" in said)


def _seconds(said: Mapping[str, Any]) -> float:
    seconds = said.get("expires_in", math.inf)
    if type(seconds) not in (int, float):  # True is an int, and no time
        raise _odd("expires_in", "a number")
    try:
        return float(seconds)
    except OverflowError:  # JSON has integers that no float holds
        raise _odd("expires_in", "a number of seconds") from None


def _odd(member: str, expected: str) -> Deferred:
    return Deferred(f"an answer whose {member} is missing or odd: expected {expected}")


def tells(text: str, secrets: Collection[str]) -> bool:
    """Return whether a secret is in a text, or so much of one that nobody wrote it by chance."""
    parts = [text[at : at + _TELLING] for at in range(len(text) - _TELLING + 1)]
    return any(s and (s in text or any(part in s for part in parts)) for s in secrets)
