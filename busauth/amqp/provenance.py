"""What a consumer asks of a message besides its token.

Who published it, and when? Is it a copy of ours? Was it here before?

Nothing of this is believed from the message itself: a proof is signed by a publisher that the
consumer trusts, a seal is the consumer group's own, and a broker's stamp counts where the operator
declared that the broker writes it.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from busauth.amqp.copies import Carried
from busauth.amqp.delivery import Delivery
from busauth.amqp.headers import TXN_TOKEN
from busauth.audit import LOGGER
from busauth.caller import Caller
from busauth.errors import BadMessage, Deferred
from busauth.late.proof import HEADER, Proofs, SeenMessage, Signed
from busauth.late.proof.routes import Route
from busauth.late.published import BROKER_STAMP, Origin, origin_of, stamp_in
from busauth.late.replay import ReplayKey, ReplayMemory, Standing, admitted
from busauth.late.seal import Seal, Sealed, hinted


class Marks(NamedTuple):
    """What busauth wrote on a copy, as far as it is believed.

    Attributes:
        sealed: attempt, redrive and the like; the values of a first delivery where nothing is
            believed.
        stamp: the broker's first stamp, seconds since the epoch, None where there is none.
        code: why a seal does not hold, None where it does or where there is none.
    """

    sealed: Sealed
    stamp: float | None
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What one consumer asks.

    Attributes:
        group: the consumer group: the queue's name.
        proofs: whose proofs count, None where they are ignored.
        routes: how messages get to this consumer.
        seal: seals the copies of this group, None where they carry hints only.
        replay: tells redeliveries from copies, None where nothing does.
        stamped: whether the broker overwrites `timestamp_in_ms`.
    """

    group: str
    proofs: Proofs | None = None
    routes: tuple[Route, ...] = ()
    seal: Seal | None = None
    replay: ReplayMemory | None = None
    stamped: bool = False
    asks: bool = field(init=False)
    """Whether a message needs a look at all."""

    def __post_init__(self) -> None:
        asks = self.proofs is not None or self.seal is not None or self.stamped
        object.__setattr__(self, "asks", asks)

    def recall(self, delivery: Delivery) -> Signed | None:
        """Prove whose a delivery's proof is, with the keys at hand; None where none is needed.

        Raises:
            Refused: with the first rule that the proof breaks.
            KeyMissing: its publisher's keys must be fetched: `authenticate`.
        """
        return None if self.proofs is None else self.proofs.recall(delivery.headers.get(HEADER))

    async def authenticate(self, delivery: Delivery) -> Signed | None:
        """Prove whose a delivery's proof is.

        Raises:
            Refused: with the first rule that the proof breaks.
            Deferred: its publisher's keys are out of reach.
        """
        if self.proofs is None:
            return None
        return await self.proofs.authenticate(delivery.headers.get(HEADER))

    def carried(self, delivery: Delivery, token_sha256: str | None, marks: Marks | None) -> Carried:
        """Return what a copy of a delivery carries on."""
        sealed, stamp, _ = marks or self.marks(delivery, token_sha256)
        if self.seal is None:
            return Carried(sealed, None)
        origin = sealed.origin or delivery.origin
        kept = replace(sealed, published_at=stamp, origin=origin)
        return Carried(kept, partial(self.seal.seal, token_sha256=token_sha256))

    def marks(self, delivery: Delivery, token_sha256: str | None) -> Marks:
        """Return what is believed of the headers that only busauth writes."""
        sealed, code = self._sealed(delivery, token_sha256)
        if not self.stamped:
            return Marks(replace(sealed, published_at=None), None, code)
        first = sealed.published_at
        stamp = stamp_in(delivery.headers.get(BROKER_STAMP)) if first is None else first
        return Marks(sealed, stamp, code)

    def _sealed(self, delivery: Delivery, token_sha256: str | None) -> tuple[Sealed, str | None]:
        """Read a seal; without a key, attempts are a hint and an instant is nothing."""
        if self.seal is None:
            return replace(hinted(delivery.headers), published_at=None), None
        opened = self.seal.opened(
            delivery.headers,
            message_id=delivery.message_id,
            body=delivery.body,
            token_sha256=token_sha256,
        )
        code = None if opened.code == "seal.missing" else opened.code
        return opened.sealed or Sealed(), code

    def origin(
        self, delivery: Delivery, caller: Caller, signed: Signed | None, now: float
    ) -> tuple[Origin, Marks | None]:
        """Compare a proof with its message, and return what that and the broker say of it.

        Args:
            delivery: as received.
            caller: whose it is, by a token that was proven genuine.
            signed: its proof, proven to be its publisher's.
            now: the one instant of this decision.

        Raises:
            Refused: the proof speaks of another message, or not for here or now, or the broker's
                stamp disagrees with it.
        """
        marks = None
        if self.seal is not None or self.stamped:
            marks = self.marks(delivery, caller.token_sha256)
        stamp = marks.stamp if marks is not None else None
        if signed is None or self.proofs is None:
            return origin_of(None, stamp, skew=0.0), marks
        seen = _seen(delivery, caller)
        proven = self.proofs.judge(signed, seen, self.routes, now)
        return origin_of(proven, stamp, skew=self.proofs.skew), marks

    def replay_key(self, origin: Origin, marks: Marks | None) -> ReplayKey | None:
        """Return what makes two deliveries this message, None where nothing is proven of it."""
        if self.replay is None or origin.proven is None:
            return None
        sealed = marks.sealed if marks is not None else Sealed()
        return ReplayKey(
            group=self.group,
            publisher=origin.proven.publisher,
            message_id=origin.proven.message_id,
            attempt=sealed.attempt,
            redrive=sealed.redrive,
        )

    async def is_new(self, key: ReplayKey, *, redelivered: bool, now: float) -> bool:
        """Put a message in flight; False for one that was done, and is delivered again.

        Raises:
            Forbidden: ``replay.copy``.
            Deferred: the memory cannot tell now.
        """
        if self.replay is None:
            return True
        standing = await admitted(self.replay, key, redelivered=redelivered, now=now)
        return standing is not Standing.DUPLICATE

    async def forget(self, key: ReplayKey) -> None:
        """Take a message that is in flight back: a copy of it takes over, undecided.

        Raises:
            Deferred: the memory is out of reach.
        """
        if self.replay is not None:
            await self.replay.forget(key)

    async def done(self, key: ReplayKey, now: float) -> None:
        """Note that a message was settled; what cannot be noted is told, and changes nothing."""
        if self.replay is None:
            return
        try:
            await self.replay.done(key, now)
        except Deferred as deferred:
            LOGGER.warning("%s: a redelivery would be handled again: %s", self.group, deferred)


def _seen(delivery: Delivery, caller: Caller) -> SeenMessage:
    transaction_token = delivery.headers.get(TXN_TOKEN)
    if transaction_token is not None and not isinstance(transaction_token, str):
        found = f"{TXN_TOKEN} of type {type(transaction_token).__name__}"
        raise BadMessage("proof.token", found=found, expected="text")
    return SeenMessage(
        token_sha256=caller.token_sha256,
        transaction_token=transaction_token,
        body=delivery.body,
        message_id=delivery.message_id,
        properties=delivery.properties,
        headers=delivery.headers,
        issuer=caller.issuer,
        subject=caller.subject,
    )
