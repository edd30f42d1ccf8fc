"""By whose authority a letter goes again: what makes the copy that its consumer judges.

Each authority has a name, which the letter's story tells, and makes of one letter the copy that
goes back, or refuses. What the consumer has sealed goes back as it is; whether it holds, and
whether the authority suffices, is the consumer's question alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aio_pika.abc import AbstractIncomingMessage

from busauth._amqp import headers
from busauth._amqp.consuming.returning import MISDIRECTED
from busauth._amqp.delivery import Delivery
from busauth._amqp.desks import OperatorToken
from busauth._amqp.guard import Guard
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import check_frame
from busauth._arguments import checked_class
from busauth._messages.first import HEADER as FIRST
from busauth._messages.first import read
from busauth._messages.proof import Original, OutgoingMessage, Proofs, ProofSigner, Route
from busauth._messages.seal import PURPOSE, Purpose, is_seal
from busauth._messages.statements import StatedLetter
from busauth._tokens.encryption.encryption import Decryption, KeptFor
from busauth._tokens.encryption.kept import check_kept, key_id_of
from busauth._tokens.keys.waiting import found
from busauth.caller import Caller, FirstToken
from busauth.errors import (
    BadMessage,
    ConfigurationError,
    Forbidden,
    NotGenuine,
    PublishError,
    evidence,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What letters of one queue go again with, whoever's authority it is.

    Attributes:
        guard: who publishes and tells.
        queue: the consumer's queue.
        purpose: what its consumer sealed those for that go: letters, or what was parked.
        by: who sends them, as a short word that proves nothing; None says nobody.
        recipient: for whom tokens are encrypted, where there are several.
        routes: how messages get to that queue, next to its name on the default exchange.
        proofs: instead of the guard's.
    """

    guard: Guard
    queue: str
    purpose: Purpose = Purpose.LETTER
    by: str | None = None
    recipient: str | None = None
    routes: tuple[Route, ...] = ()
    proofs: Proofs | None = None

    def __post_init__(self) -> None:
        if self.by is not None and headers.by_in({headers.BY: self.by}) != self.by:
            found = evidence(self.by)
            raise ConfigurationError(f"by={found!r}: expected a short printable word, and no token")

    def names(self) -> tuple[str, ...]:
        """Return the names that the queue has and had."""
        return (self.queue, *self.guard.options.of(self.queue).formerly)

    def bearing(self, token: str) -> dict[str, str]:
        """Return the header of a token that travels as any other does."""
        return self.guard.core.outbox.bearer(token, self.recipient)

    def copy(
        self, message: AbstractIncomingMessage, identity: Mapping[str, str], frame_max: int
    ) -> Outgoing:
        """Return the copy of a letter that goes back.

        Args:
            message: as it waited.
            identity: the headers of its token and of its proof.
            frame_max: the negotiated frame, in bytes.

        Raises:
            BadMessage: ``message.too_large``: it does not fit a frame with those.
        """
        said = {} if self.by is None else {headers.BY: self.by}
        outgoing = copies.again(Delivery.of(message), {**identity, **said})
        try:
            check_frame(outgoing, frame_max)
        except PublishError as error:
            raise BadMessage("message.too_large", found=error.reason) from error
        return outgoing


class Renewing(Protocol):
    """One authority, on one errand."""

    @property
    def name(self) -> str:
        """Return what the letter's story calls it."""
        ...

    @property
    def caller(self) -> Caller | None:
        """Return on whose behalf, where that is one for all."""
        ...

    @property
    def publisher(self) -> str | None:
        """Return who signs, where somebody does."""
        ...

    def concerns(self, message: AbstractIncomingMessage) -> bool:
        """Return whether a letter is one for this authority, by its own words."""
        ...

    async def renewed(self, message: AbstractIncomingMessage, frame_max: int) -> Outgoing:
        """Return the copy of a letter that goes back, within a frame of so many bytes.

        Raises:
            Refused: it stays.
            Deferred: that cannot be told now.
        """
        ...


@checked_class
@dataclass(frozen=True, slots=True)
class KeptToken:
    """By the token that each letter has kept.

    It goes back as it was kept, encrypted for the consumer, which alone opens it.

    Attributes:
        keys: open what letters keep for a redrive's own key (`DeadLetter`); what has another
            key's id goes back unopened.
    """

    keys: Decryption | None = None


@checked_class
@dataclass(frozen=True, slots=True)
class FreshToken:
    """By a fresh token of the caller whose letters they are.

    Attributes:
        token: raw; it is verified as any other.
    """

    token: str = field(repr=False)


Authority = KeptToken | FreshToken | OperatorToken
"""By what letters go again."""


async def renewing(authority: Authority, errand: Errand) -> Renewing:
    """Return what makes the copies of an errand's letters.

    Raises:
        Refused: a fresh token, or an operator's, is not genuine, late, revoked, or allows too
            little.
        Deferred: keys are out of reach.
        ConfigurationError: proofs are looked at, and the guard has no signer, or its consumers
            would refuse what that signs.
    """
    match authority:
        case KeptToken(keys):
            return _Kept(errand, keys)
        case FreshToken(token):
            headers.check_alone(token)
            caller = await errand.guard.authenticate(errand.guard.core.header.value(token))
            return _Fresh(errand, token, caller, Relaying.of(errand))
        case OperatorToken():
            await authority.check(errand.queue)
            return _Stated(errand, authority)


@dataclass(frozen=True, slots=True)
class _Kept:
    errand: Errand
    keys: Decryption | None
    name: str = "kept"
    caller: Caller | None = None
    publisher: str | None = None

    def concerns(self, message: AbstractIncomingMessage) -> bool:
        return message.headers.get(headers.TOKEN) is not None

    async def renewed(self, message: AbstractIncomingMessage, frame_max: int) -> Outgoing:
        """Return the copy that goes back.

        Raises:
            NotGenuine: what was kept is no token of this letter's.
            Forbidden: its consumer has not sealed it as a letter.
            Untimely: its first token was revoked.
            Deferred: what knows of revocations is out of reach.
        """
        kept = message.headers.get(headers.TOKEN)
        if not isinstance(kept, str):
            kind = f"{headers.TOKEN} of type {type(kept).__name__}"
            raise NotGenuine("header.not_text", found=kind, expected="a kept token")
        identity = self._identity(kept, self._letter(message))
        # what its consumer would only refuse again stays here, where it is seen
        first = recorded_first(message, Purpose.LETTER)
        if first is not None:
            self.errand.guard.core.check_first(first)
        elif message.headers.get(headers.REFUSAL) not in MISDIRECTED:
            raise _unsealed("no record of its first token")
        proof = message.headers.get(headers.PROOF)
        if isinstance(proof, str):
            identity[headers.PROOF] = proof
        return self.errand.copy(message, identity, frame_max)

    def _identity(self, kept: str, letter: KeptFor) -> dict[str, str]:
        """Return the token as it was kept, or opened where it was kept for a key that is here."""
        check_kept(kept, letter)
        if self.keys is None or not self.keys.knows(key_id_of(kept)):
            header = self.errand.guard.core.header
            return {header.name: header.value(kept)}
        return self.errand.bearing(self.keys.open_for_redrive(kept, letter))

    def _letter(self, message: AbstractIncomingMessage) -> KeptFor:
        """A kept token is bound to its queue's name of that day, which it has or had."""
        said = message.headers.get(headers.QUEUE)
        is_own = isinstance(said, str) and said in self.errand.names()
        queue = str(said) if is_own else self.errand.queue
        return KeptFor(queue=queue, message_id=message.message_id, body=message.body)


@dataclass(frozen=True, slots=True)
class Relaying:
    """Signs a release's proof, which embeds the first one.

    Attributes:
        proofs: what first proofs are checked with.
        signer: who signs the new ones.
        routes: how messages get to the queue.
    """

    proofs: Proofs
    signer: ProofSigner
    routes: tuple[Route, ...]

    @classmethod
    def of(cls, errand: Errand) -> "Relaying | None":
        """Return what signs on an errand, None where nobody looks at proofs.

        Raises:
            ConfigurationError: the guard has no signer, or consumers would refuse what it signs.
        """
        said = errand.guard.options.of(errand.queue)
        proofs = errand.guard.messages.proofs_for(errand.proofs, said)
        return None if proofs is None else cls._with(errand, proofs)

    @classmethod
    def needed(cls, errand: Errand) -> "Relaying":
        """Return the same where proofs are looked at without fail.

        Raises:
            ConfigurationError: as above, or the guard knows no proofs.
        """
        relaying = cls.of(errand)
        if relaying is None:
            raise _nobody_signs()
        return relaying

    @classmethod
    def _with(cls, errand: Errand, proofs: Proofs) -> "Relaying":
        guard, signer = errand.guard, errand.guard.messages.signer
        if signer is None:
            raise _nobody_signs()
        if not proofs.relays(signer.name):
            raise ConfigurationError(
                f"signer {signer.name!r} is not trusted to relay: expected "
                f"TrustedPublisher({signer.name!r}, ..., relays=True) among the proofs' "
                "publishers, or relays = true in [messages.proofs]"
            )
        rules = guard.core.message_rules(errand.queue, proofs, errand.routes)
        return cls(proofs, signer, rules.routes)

    async def proof(
        self, message: AbstractIncomingMessage, caller: Caller, token: str, now: float
    ) -> str:
        """Return the proof that releases a message to its caller.

        Raises:
            Refused: the first proof does not speak of this message and this caller.
            Deferred: its publisher's keys are out of reach.
        """
        recorded = str(message.headers.get(headers.TOKEN_SHA256))
        first_proof = message.headers.get(headers.PROOF)
        waiting = Delivery.of(message).seen(caller)
        # may wait for keys, as no check does after it
        await found(lambda: self.proofs.recall(first_proof))
        first = self.proofs.check_original(first_proof, waiting, recorded, self.routes, now)
        binding = OutgoingMessage(
            token=token,
            is_transaction=caller.transaction is not None,
            body=waiting.body,
            message_id=waiting.message_id,
            properties=waiting.properties,
            headers=waiting.headers,
            issuer=caller.issuer,
            subject=caller.subject,
            exchange=first.exchange,
            routing_key=first.routing_key,
        )
        original = Original.of(str(first_proof), recorded)
        try:
            return self.signer.sign(binding, now, original=original)
        except PublishError as error:  # this message's fault: the caller's others go all the same
            raise BadMessage("message.too_large", found=error.reason) from error


@dataclass(frozen=True, slots=True)
class _Fresh:
    errand: Errand
    token: str = field(repr=False)
    caller: Caller
    relaying: Relaying | None
    name: str = "fresh"

    @property
    def publisher(self) -> str | None:
        return None if self.relaying is None else self.relaying.signer.name

    def concerns(self, message: AbstractIncomingMessage) -> bool:
        """Theirs by its own words; that it is, its proof or its seal has to show."""
        said = message.headers.get(headers.ISSUER), message.headers.get(headers.SUBJECT)
        return said == (evidence(self.caller.issuer), evidence(self.caller.subject))

    async def renewed(self, message: AbstractIncomingMessage, frame_max: int) -> Outgoing:
        """Return the copy that goes back, with the fresh token and a proof of its own.

        Raises:
            Refused: the first proof does not speak of this message and this caller, its consumer
                has not sealed it, or its first token was revoked.
            Deferred: its publisher's keys are out of reach, or what knows of revocations.
        """
        guard, identity = self.errand.guard, self.errand.bearing(self.token)
        is_proven = headers.PROOF in message.headers
        if self.relaying is not None and (is_proven or not _is_letter(message)):
            now = guard.clock.now()
            signed = await self.relaying.proof(message, self.caller, self.token, now)
            identity[headers.PROOF] = signed
        # nothing goes for a message that its consumer would refuse over its first token
        first = sealed_first(message, self.errand.purpose)
        if (first.issuer, first.subject) != (self.caller.issuer, self.caller.subject):
            found = "another caller's first token"
            raise BadMessage("seal.caller", found=found, expected="this caller's")
        guard.core.check_first(first)
        return self.errand.copy(message, identity, frame_max)


@dataclass(frozen=True, slots=True)
class _Stated:
    errand: Errand
    operator: OperatorToken
    name: str = "operator"
    caller: Caller | None = None
    publisher: str | None = None

    def concerns(self, message: AbstractIncomingMessage) -> bool:
        """Any; which cannot go by an operator's word is refused, and told."""
        return True

    async def renewed(self, message: AbstractIncomingMessage, frame_max: int) -> Outgoing:
        """Return the copy that goes back, with a desk's statement and without any token.

        Raises:
            Refused: its consumer has not sealed it as a letter of somebody's, its first token was
                revoked, or the desk refuses.
            Deferred: the desk is out of reach, or what knows of revocations.
        """
        self.errand.guard.core.check_first(sealed_first(message, Purpose.LETTER))
        letter = StatedLetter.of(message.headers, message.body, self.errand.queue)
        identity = {headers.STATEMENT: await self.operator.state(letter)}
        # what it kept stays on it: where this is refused, it goes back as it was
        for name in (headers.PROOF, headers.TOKEN):
            value = message.headers.get(name)
            if isinstance(value, str):
                identity[name] = value
        return self.errand.copy(message, identity, frame_max)


def _is_letter(message: AbstractIncomingMessage) -> bool:
    return bool(message.headers.get(PURPOSE) == Purpose.LETTER)


def sealed_first(message: AbstractIncomingMessage, purpose: Purpose) -> FirstToken:
    """Return the record of the first token of a message that waits, as it stands there.

    Whether the seal holds is its consumer's question, who alone has the key. What has none at all,
    or one for something else, would only be refused: it stays.

    Raises:
        Forbidden: ``seal.missing`` or ``seal.purpose``.
    """
    first = recorded_first(message, purpose)
    if first is None:
        raise _unsealed("no record of its first token")
    return first


def recorded_first(message: AbstractIncomingMessage, purpose: Purpose) -> FirstToken | None:
    """Return the same, None where there is no record: that token was nobody's for its consumer.

    Raises:
        Forbidden: as above.
    """
    if not is_seal(message.headers.get(headers.SEAL)):
        raise _unsealed("no seal of its consumer's, as on what an earlier version wrote")
    said = message.headers.get(PURPOSE)
    if said != purpose.value:
        raise Forbidden("seal.purpose", found=said, expected=purpose.value)
    return read(message.headers.get(FIRST))


def _unsealed(found: str) -> Forbidden:
    return Forbidden("seal.missing", found=found, expected="one, with a first token's record")


def _nobody_signs() -> ConfigurationError:
    return ConfigurationError(
        "a release signs a proof and checks the first one: expected "
        "Guard(messages=MessageSecurity(proofs=..., signer=...)), or [messages.proofs] and "
        "[messages.signer] in a settings file"
    )
