"""What a service publishes: its body, and on whose behalf."""

from enum import Enum
from typing import Any, Final

from aio_pika.message import Message
from pydantic import BaseModel

from busauth.amqp import headers as names
from busauth.amqp.copies import Outgoing
from busauth.caller import current_lease
from busauth.clock import Clock
from busauth.errors import ConfigurationError, NotGenuine, PublishError, Untimely
from busauth.tokens.authenticators import Authenticator


class _NoIdentity(Enum):
    ANONYMOUS = "anonymous"


ANONYMOUS: Final = _NoIdentity.ANONYMOUS
"""Said out loud as ``token=ANONYMOUS``: this message is nobody's."""

Token = str | _NoIdentity | None
"""On whose behalf: a raw token, ANONYMOUS, or None for the caller in scope."""

Body = BaseModel | Message | bytes
_JSON = "application/json"
_PERSISTENT = 2


class Outbox:
    """Prepares publications.

    Args:
        header: the AMQP header that carries the token.
        verifiers: what a token that is handed in is held against.
        clock: what its expiry is compared with.
    """

    def __init__(self, *, header: str, verifiers: Authenticator, clock: Clock) -> None:
        self._header = header
        self._verifiers = verifiers
        self._clock = clock

    def prepare(self, body: Body, token: Token) -> Outgoing:
        """Return the message with its identity.

        Raises:
            CallerError: no caller is in scope and no token was given, or the handler has ended.
            NotGenuine, Untimely: the given token is malformed, or has expired.
            PublishError: the message carries headers that only busauth may write.
        """
        message = as_message(body, self._clock.now())
        _check_free(message.headers, self._header)
        properties = message.properties
        properties.delivery_mode = _PERSISTENT
        properties.headers = {**message.headers, **self._identity(token)}
        return Outgoing(message.body, properties)

    def _identity(self, token: Token) -> dict[str, Any]:
        if token is ANONYMOUS:
            return {}
        if isinstance(token, str):
            self._check_at_the_edge(token)
            return {self._header: f"Bearer {token}"}
        if token is not None:
            raise TypeError(
                f"token of type {type(token).__name__}: expected a raw token such as "
                "caller.bearer(), ANONYMOUS, or None for the caller in scope"
            )
        lease = current_lease()
        return {self._header: f"Bearer {lease.token()}", names.HOP: lease.hop + 1}

    def _check_at_the_edge(self, token: str) -> None:
        """Refuse work that could only be refused later; genuineness is the consumers' question."""
        if token.lower().startswith("bearer"):
            raise NotGenuine(
                "header.scheme", found="Bearer and a token", expected="the token alone"
            )
        expires_at = self._verifiers.check_shape(token)
        now = self._clock.now()
        if expires_at is None or now >= expires_at:
            found = "no exp" if expires_at is None else f"{now - expires_at:.0f} s past exp"
            raise Untimely("token.expired", found=found, expected="a token that is still valid")


def as_message(body: Body, now: float) -> Message:
    """Return an aio-pika message: a model as JSON, bytes and messages as they are.

    The timestamp is for people: no consumer takes a sender's word for when something was sent.
    """
    match body:
        case Message():
            return body
        case BaseModel():
            content = body.model_dump_json().encode()
            return Message(content, content_type=_JSON, timestamp=now)
        case bytes():
            return Message(body, timestamp=now)
    raise ConfigurationError(
        f"a body of type {type(body).__name__}: expected a pydantic model, bytes or a Message"
    )


def _check_free(headers: dict[str, Any], token_header: str) -> None:
    for name in headers:
        if name.lower() == token_header.lower() or name.lower().startswith(names.PREFIX):
            raise PublishError(
                f"the header {name!r} is busauth's: leave it out, and say token=... for an identity"
            )
