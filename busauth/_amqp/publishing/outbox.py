"""What a service publishes: its body, and on whose behalf."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, ClassVar, Final, Protocol
from uuid import uuid4

from aio_pika.message import Message
from pamqp.commands import Basic
from pydantic import BaseModel

from busauth._amqp import headers as names
from busauth._amqp.handling.kinds import told
from busauth._amqp.handling.writing import writer_of
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.rewriting import PERSISTENT
from busauth._messages.proof import OutgoingMessage, ProofSigner, Properties
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.compact import is_signed, split
from busauth._tokens.encryption.encryption import TokenEncryption
from busauth._tokens.profiles.profile import TXN_JWT, media_type_of
from busauth._tokens.verifier import Verifiers
from busauth.caller import Lease, cause_in_scope, current_lease
from busauth.clock import Clock
from busauth.errors import CallerError, ConfigurationError, NotGenuine, PublishError, Untimely


class Anonymous(Enum):
    """Nobody, said out loud."""

    ANONYMOUS = "anonymous"


ANONYMOUS: Final = Anonymous.ANONYMOUS
"""Said out loud as ``token=ANONYMOUS``: this message is nobody's."""

Token = str | Anonymous | None
"""On whose behalf: a raw token, ANONYMOUS, or None for the caller in scope."""


class Dataclass(Protocol):
    """Whatever `dataclasses.dataclass` has made."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Body = (
    BaseModel
    | Dataclass
    | Mapping[Any, Any]
    | Sequence[Any]
    | AbstractSet[Any]
    | str
    | bytes
    | Message
)
"""What can be published; texts and bytes go as they are, a message as its own, the rest as JSON."""


class Outbox:
    """Prepares publications.

    Args:
        header: where tokens travel.
        verifiers: what a token that is handed in is held against.
        clock: what its expiry is compared with.
        signer: signs a proof of each message that has a token, None for none.
        encryption: encrypts each token for its consumer, None where it travels plain.
    """

    def __init__(
        self,
        *,
        header: names.TokenHeader,
        verifiers: Authenticator,
        clock: Clock,
        signer: ProofSigner | None = None,
        encryption: TokenEncryption | None = None,
    ) -> None:
        self._header = header
        self._verifiers = verifiers
        self._clock = clock
        self._signer = signer
        self._encryption = encryption

    def prepare(
        self,
        body: Body,
        token: Token,
        *,
        body_type: Any = None,
        exchange: str = "",
        routing_key: str = "",
        recipient: str | None = None,
        must_route: bool = True,
        instead: str | None = None,
    ) -> Outgoing:
        """Return the message with its identity.

        Args:
            body: see `Body`.
            token: on whose behalf.
            body_type: what its consumer has it annotated as; None for its own type.
            exchange: where it will be published to, which a proof says.
            routing_key: with which key, which a proof says.
            recipient: for whom the token is encrypted, where there are several.
            must_route: False where nobody need listen: then it is no error that no queue takes it.
            instead: a raw token that was had for `token` and goes along in its place.

        Raises:
            CallerError: no caller is in scope and no token was given, or the handler has ended; or
                a caller with an access token is in scope where transaction tokens travel, or the
                reverse.
            NotGenuine, Untimely: the given token is malformed, or has expired; or what goes in its
                place is of another kind than travels here.
            PublishError: the message carries headers that only busauth may write, nothing that a
                proof can say, or a body that would not come back equal.
            ConfigurationError: no such recipient, or nothing of that type can be a body.
        """
        now = self._clock.now()
        message = as_message(body, now, body_type)
        _check_free(message.headers, self._header)
        properties = message.properties
        properties.delivery_mode = PERSISTENT
        sent = {**message.headers, **_caused(properties)}
        if token is ANONYMOUS:  # there is no token that a proof could speak of
            properties.headers = sent
            return Outgoing(message.body, properties, must_route)
        lease = self._lease(token)
        raw = lease.token()  # of one that has ended since, nothing goes on either
        if instead is not None:
            names.check_alone(instead)
            self._check_kind(instead)
            raw = instead
        outgoing = Outgoing(message.body, properties, must_route, raw)
        properties.headers = {**sent, **self.bearer(raw, recipient)}
        if token is None:  # because of a message: one hop further than that was
            properties.headers[names.HOP] = lease.hop + 1
        if self._signer is not None:
            properties.message_id = properties.message_id or uuid4().hex  # which a proof names
            binding = self._binding(outgoing, raw, exchange, routing_key)
            properties.headers[names.PROOF] = self._signer.sign(
                binding, now, root_published_at=lease.published_at
            )
        return outgoing

    def _lease(self, token: Token) -> Lease:
        """Return the right to act: the one in scope, or one for what was handed in."""
        if token is None:
            return self._fitting(current_lease())
        if not isinstance(token, str):
            raise TypeError(
                f"token of type {type(token).__name__}: expected a raw token such as "
                "caller.bearer(), ANONYMOUS, or None for the caller in scope"
            )
        # what could only be refused later is refused here; whether genuine, its consumers ask
        names.check_alone(token)
        expires_at = self._verifiers.check_shape(token)
        now = self._clock.now()
        if expires_at is None or now >= expires_at:
            found = "no exp" if expires_at is None else f"{now - expires_at:.0f} s past exp"
            raise Untimely("token.expired", found=found, expected="a token that is still valid")
        return Lease(token)

    def _check_kind(self, token: str) -> None:
        """Hold a token that was had to what travels here; whoever gives it may not know.

        Raises:
            NotGenuine: ``token.type``.
        """
        typ = media_type_of(token)
        if (typ == TXN_JWT) != self._header.is_transactions:
            expected = "a transaction token" if self._header.is_transactions else "an access token"
            raise NotGenuine("token.type", found=typ or "no typ", expected=f"{expected} to go on")

    def _fitting(self, lease: Lease) -> Lease:
        """Hold a lease to what travels here: a token of another kind would only be refused."""
        lease.token()  # first: where there is none, nobody can do anything about its kind
        if lease.is_proven and lease.is_transaction != self._header.is_transactions:
            kinds = ("a transaction token", "an access token")
            has, needs = kinds if lease.is_transaction else kinds[::-1]
            raise CallerError(
                f"the caller in scope has {has}, and {needs} travels here: have one for it, and "
                "publish with token=..."
            )
        return lease

    def _binding(
        self, outgoing: Outgoing, token: str, exchange: str, routing_key: str
    ) -> OutgoingMessage:
        """Return what a proof says of a message; whose token it is, where that can be read."""
        said = outgoing.properties
        headers = said.headers or {}
        beside = names.as_text(headers.get(names.TXN_TOKEN))
        issuer, subject = self._whose(token)
        return OutgoingMessage(
            token=token,
            transaction_token=beside if isinstance(beside, str) else None,
            is_transaction=self._header.is_transactions,
            body=outgoing.body,
            message_id=said.message_id,
            properties=Properties(
                said.message_type,
                said.content_type,
                said.content_encoding,
                said.reply_to,
                said.correlation_id,
            ),
            headers=headers,
            issuer=issuer,
            subject=subject,
            exchange=exchange,
            routing_key=routing_key,
        )

    def _whose(self, token: str) -> tuple[str | None, str | None]:
        """Return whom a token names; where it names no issuer, its trust domain's service."""
        if not isinstance(self._verifiers, Verifiers) or not self._header.is_transactions:
            return named_caller(token)
        compact = split(token, max_bytes=self._verifiers.max_token_bytes)
        verifier, subject = self._verifiers.named(compact), compact.payload.get("sub")
        if verifier is None or not isinstance(subject, str):
            return None, None
        return verifier.issuer, subject

    def bearer(self, token: str, recipient: str | None = None) -> dict[str, str]:
        """Return the header of a token, as it travels.

        Raises:
            NotGenuine: it is to be encrypted, and no compact JWS.
            ConfigurationError: no such recipient.
        """
        if self._encryption is not None:
            token = self._encryption.encrypt(token, recipient)
        return {self._header.name: self._header.value(token)}


def _caused(properties: Basic.Properties) -> dict[str, str]:
    """Say on which message led to this one, whoever it is published for; ids decide nothing."""
    cause = cause_in_scope()
    if cause is None:
        return {}
    if properties.correlation_id is None:
        properties.correlation_id = cause.correlation_id or cause.message_id
    return {} if cause.message_id is None else {names.PARENT: cause.message_id}


def named_caller(token: str) -> tuple[str | None, str | None]:
    """Return the issuer and subject that a JWS names, None each for anything else.

    It proves nothing: a consumer compares them with what the token turned out to be.
    """
    if not is_signed(token):
        return None, None
    claims = split(token, max_bytes=len(token)).payload
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not isinstance(issuer, str) or not isinstance(subject, str):
        return None, None
    return issuer, subject


def as_message(body: Body, now: float, body_type: Any = None) -> Message:
    """Return an aio-pika message: texts, bytes and messages as they are, all else as JSON.

    The timestamp is for people: no consumer takes a sender's word for when something was sent.

    Args:
        body: see `Body`.
        now: seconds since the epoch.
        body_type: what its consumer has it annotated as; None for its own type.

    Raises:
        PublishError: a body that would not come back equal.
        ConfigurationError: a body of another type than can be published, or than was said.
    """
    if body_type is None:
        if isinstance(body, Message):
            return body
        body_type = type(body)
    try:
        writer = writer_of(body_type)
    except TypeError as error:
        what = f"a body of type {told(body_type)}"
        raise ConfigurationError(f"{what}: {error}, or a Message of your own") from error
    return Message(writer.write(body), content_type=writer.content_type, timestamp=now)


def _check_free(headers: dict[str, Any], token_header: names.TokenHeader) -> None:
    taken = {token_header.name.lower()}
    if token_header.is_transactions:  # a live access token beside it would undo what it is for
        taken.add(names.AUTHORIZATION)
    for name in headers:
        if name.lower() in taken or name.lower().startswith(names.PREFIX):
            raise PublishError(
                f"the header {name!r} is busauth's: leave it out, and say token=... for an identity"
            )
