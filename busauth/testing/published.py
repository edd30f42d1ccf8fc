"""What services under test have published: body, caller and headers, and no token of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
