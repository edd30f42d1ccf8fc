"""What a proof speaks about: a message, as both sides can see it. No AMQP types in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from busauth._messages.canonical import canonical
from busauth._tokens.keys.signing import b64url

HEADER = "busauth-proof"
TYPE = "busauth-proof+jwt"
MAX_BYTES = 8 * 1024
"""Characters of the longest proof that is signed or read."""

MAX_RELEASED_BYTES = 32 * 1024
"""The same of one with an original inside it, which takes a third more there."""

MAX_HEADERS = 32
"""How many headers one proof may bind."""

ORIGINAL = "original"
TOKEN_SHA256 = "original_token_sha256"  # noqa: S105 -- a claim's name
TOKEN_ISS, TOKEN_SUB = CALLER = ("token_iss", "token_sub")
"""The claims that name the token's issuer and subject, for the day when the token is gone."""

ROOT_IAT = "root_iat"

_DIRECT_REPLY = "amq.rabbitmq.reply-to"
_CLIENTS_DIRECT_REPLY = f"{_DIRECT_REPLY}."
_SHORT = 64  # characters: longer texts hardly come again, and a sender chooses them
_REMEMBERED_TEXTS = 1024


class Properties(NamedTuple):
    """The properties that change what a message means; not `expiration`, which brokers remove."""

    type: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None


@dataclass(slots=True, kw_only=True)  # not frozen: made for each message, in half the time
class SeenMessage:
    """A message as its consumer sees it.

    Attributes:
        token: the access token, without its scheme; not needed where `token_sha256` is given.
        token_sha256: the hex SHA-256 of the access token, where it is known already.
        transaction_token: the transaction token that came beside the access token.
        is_transaction: whether `token` is no access token, and a transaction token itself.
        body: as it was delivered, before any decoding.
        message_id: the property.
        properties: see `Properties`; an empty one is a missing one, as clients send it.
        headers: all headers; only those that the publisher declared are looked at.
        issuer: the token's issuer; for who signs, where it is known.
        subject: the token's subject; for who signs, where it is known.
    """

    token: str | None = field(default=None, repr=False)
    token_sha256: str | None = None
    transaction_token: str | None = field(default=None, repr=False)
    is_transaction: bool = False
    body: bytes = field(repr=False)
    message_id: str | None
    properties: Properties = field(default=Properties(), repr=False)
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    issuer: str | None = None
    subject: str | None = None


@dataclass(slots=True, kw_only=True)
class OutgoingMessage(SeenMessage):
    """A message about to be published, and where to.

    Attributes:
        exchange: the exchange that it is published to; ``""`` is the default one.
        routing_key: the key that it is published with.
    """

    exchange: str
    routing_key: str


def digest(raw: bytes) -> str:
    """Return base64url of the SHA-256: how a proof names tokens, bodies and values."""
    return b64url(sha256(raw).digest()).decode("ascii")


def digest_of_hex(sha256_hex: str) -> str:
    """Return what `digest` gives, of a SHA-256 that is known in hex.

    Raises:
        ValueError: it is no hex.
    """
    return b64url(bytes.fromhex(sha256_hex)).decode("ascii")


def token_digests(message: SeenMessage) -> tuple[str | None, str | None]:
    """Return `ath` and `tth` of a message's tokens (RFC 9449, section 4.2)."""
    known = message.token_sha256
    own = _token_digest(message.token) if known is None else digest_of_hex(known)
    if message.is_transaction:
        return None, own
    return own, _token_digest(message.transaction_token)


def _token_digest(token: str | None) -> str | None:
    return None if token is None else digest(token.encode("utf-8", "surrogatepass"))


def bound_properties(properties: Properties) -> dict[str, str]:
    """Return the properties that are there, by name.

    RabbitMQ replaces the pseudo-queue of direct reply-to by one of its own for each client.
    """
    named = zip(Properties._fields, properties, strict=True)
    bound = {name: value for name, value in named if value}
    reply_to = properties.reply_to
    if isinstance(reply_to, str) and reply_to.startswith(_CLIENTS_DIRECT_REPLY):
        bound["reply_to"] = _DIRECT_REPLY
    return bound


def bound_header(headers: Mapping[str, Any], name: str) -> str | None:
    """Return the digest of a header's canonical value, None where there is no such header.

    Raises:
        NotCanonical: its value has no canonical form.
    """
    if name not in headers:
        return None
    value = headers[name]
    if type(value) is str and len(value) <= _SHORT:
        return _digest_of_text(value)
    return digest(canonical(value))


@lru_cache(_REMEMBERED_TEXTS)
def _digest_of_text(value: str) -> str:
    """Declared headers say again and again the same few things: a tenant, a region."""
    return digest(canonical(value))
