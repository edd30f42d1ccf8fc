"""What services under test have published: body, caller and headers, and no token of it.

And what they have not: a publication that nobody awaits is none, and the handler around it counts
as handled. Python has a warning for it, which is easily missed among other lines.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from busauth._amqp import headers as names
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.outbox import named_caller
from busauth._redaction import redact
from busauth.caller import read_only
from busauth.testing.issuer import Issuer

_TOKENS = frozenset({names.AUTHORIZATION, names.TXN_TOKEN, names.PROOF})
_SOMEBODY = "somebody with an opaque token"
_UNAWAITED = r"coroutine '((?:Bus|Guard|Kit)\.publish(?:_many)?)' was never awaited"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Published:
    """A message that a service under test has published, as the broker has confirmed it.

    Attributes:
        routing_key: with the default exchange, the queue's name.
        exchange: where to; empty for the default exchange.
        by: the subject of the token that it carries; None for nobody.
        body: as it was sent.
        headers: without the token, a transaction token and a proof; deeply read-only.
        message_id: its `message_id`, if it has one.
        at: when it was confirmed, seconds since the epoch.
    """

    routing_key: str
    exchange: str
    by: str | None
    body: bytes
    headers: Mapping[str, Any] = field(repr=False)
    message_id: str | None
    at: float

    def read(self, kind: type[T]) -> T:
        """Return the body, read from JSON as a model or any other type that pydantic knows.

        Raises:
            pydantic.ValidationError: it is none.
        """
        return TypeAdapter(kind).validate_json(self.body)


def published(
    outgoing: Outgoing, exchange: str, routing_key: str, *, issuer: Issuer, header: str, at: float
) -> Published:
    """Take what a guard has sent.

    Args:
        outgoing: the message.
        exchange: where to.
        routing_key: with which key.
        issuer: who knows whose an opaque token is.
        header: where the token travels.
        at: seconds since the epoch.
    """
    properties = outgoing.properties
    hidden = _TOKENS | {header.lower()}
    shown = {
        name: _without_tokens(value)
        for name, value in (properties.headers or {}).items()
        if name.lower() not in hidden
    }
    return Published(
        routing_key=routing_key,
        exchange=exchange,
        by=None if outgoing.token is None else _subject(outgoing.token, issuer),
        body=outgoing.body,
        headers=read_only(shown),
        message_id=properties.message_id,
        at=at,
    )


def _without_tokens(value: Any) -> Any:
    """Return a header's value, every token in it replaced, however deep it is."""
    match value:
        case str():
            return redact(value)
        case bytes() | bytearray():
            return type(value)(redact(value.decode("latin-1")).encode("latin-1"))
        case list():
            return [_without_tokens(each) for each in value]
        case dict():
            return {name: _without_tokens(each) for name, each in value.items()}
    return value


def _subject(token: str, issuer: Issuer) -> str:
    claims = issuer.read(token) or {}
    return str(claims.get("sub") or named_caller(token)[1] or _SOMEBODY)


@contextmanager
def telling_forgotten(tell: Callable[[str], None]) -> Iterator[None]:
    """Have a sentence told for each publication that nobody awaited while inside.

    It takes the place of Python's warning, and is told where that one would be shown: who has
    warnings ignored hears nothing, and who has them as errors gets the error.
    """
    shown = warnings.showwarning

    def show(*told: Any, **named: Any) -> None:
        message, _, filename, lineno, *_ = told
        if found := re.match(_UNAWAITED, str(message)):
            tell(_forgotten(found[1].lower(), f"{Path(filename).name}:{lineno}"))
        else:
            shown(*told, **named)

    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:  # else somebody has put another one there, or ours away
            warnings.showwarning = shown


def warn_always() -> None:
    """Have each of them warned of: by itself Python does so once for each line of code."""
    warnings.filterwarnings("always", _UNAWAITED, RuntimeWarning)


def _forgotten(called: str, where: str) -> str:
    return (
        f"{called}(...) was called and never awaited (thrown away at {where}), so that nothing was "
        f"published: write `await {called}(...)`; code that cannot await publishes by a BusThread "
        "(docs/other-frameworks.md)"
    )
