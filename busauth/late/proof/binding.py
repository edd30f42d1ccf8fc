"""What a proof speaks about: a message, as both sides can see it. No AMQP types in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from busauth.late.canonical import canonical
from busauth.tokens.signing import b64url

HEADER = "busauth-proof"
TYPE = "busauth-proof+jwt"
MAX_BYTES = 8 * 1024
"""The longest proof that is signed or read, an original inside it included."""

MAX_HEADERS = 32
"""How many headers one proof may bind."""

ORIGINAL = "original"
TOKEN_SHA256 = "original_token_sha256"  # noqa: S105 -- a claim's name
CALLER = ("token_iss", "token_sub")
"""The claims that name the token's issuer and subject, for the day when the token is gone."""

ROOT_IAT = "root_iat"

_DIRECT_REPLY = "amq.rabbitmq.reply-to"


class Properties(NamedTuple):
    """The properties that change what a message means; not `expiration`, which brokers remove."""

    type: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMessage:
    """A message as its consumer sees it.

    Attributes:
        token: the access token, without its scheme.
        transaction_token: the transaction token.
        body: as it was delivered, before any decoding.
        message_id: the property.
        properties: see `Properties`; an empty one is a missing one, as clients send it.
        headers: all headers; only those that the publisher declared are looked at.
        issuer: the token's issuer; for who signs, where it is known.
        subject: the token's subject; for who signs, where it is known.
    """

    token: str | None = field(default=None, repr=False)
    transaction_token: str | None = field(default=None, repr=False)
    body: bytes = field(repr=False)
    message_id: str | None
    properties: Properties = field(default=Properties(), repr=False)
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    issuer: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding(SeenMessage):
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


def token_digest(token: str | None) -> str | None:
    """Return `ath` or `tth` of a token (RFC 9449, section 4.2)."""
    return None if token is None else digest(token.encode("utf-8", "surrogatepass"))


def bound_properties(properties: Properties) -> dict[str, str]:
    """Return the properties that are there, by name.

    RabbitMQ replaces the pseudo-queue of direct reply-to by one of its own for each client.
    """
    named = zip(Properties._fields, properties, strict=True)
    bound = {name: value for name, value in named if value}
    reply_to = bound.get("reply_to")
    if isinstance(reply_to, str) and reply_to.startswith(f"{_DIRECT_REPLY}."):
        bound["reply_to"] = _DIRECT_REPLY
    return bound


def bound_header(headers: Mapping[str, Any], name: str) -> str | None:
    """Return the digest of a header's canonical value, None where there is no such header.

    Raises:
        NotCanonical: its value has no canonical form.
    """
    return digest(canonical(headers[name])) if name in headers else None
