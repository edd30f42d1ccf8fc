"""What a consumer asks of a message besides its token.

Who published it, and when? Is it a copy of ours? Was it here before?

Nothing of this is believed from the message itself: a proof is signed by a publisher that the
consumer trusts, a seal is the consumer group's own, and a broker's stamp counts where the operator
declared that the broker writes it.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from math import inf
from uuid import uuid4

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.returning import (
    FRESH,
    KEPT,
    Marks,
    check_return,
    says_that_it_waited,
)
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import AUTHORIZATION, LETTER, TOKEN_SHA256, TXN_TOKEN, as_text, by_in
from busauth._amqp.publishing.copies import Carried
from busauth._amqp.publishing.sealing import copy_of
from busauth._messages.canonical import spelled
from busauth._messages.proof import HEADER, Proofs, Proven, SeenMessage, Signed
from busauth._messages.proof.routes import Route
from busauth._messages.provenance import BROKER_STAMP, Provenance, provenance_of, stamp_in
from busauth._messages.replay import NoMemory, Remembered, ReplayKey
from busauth._messages.seal import HEADER as SEAL
from busauth._messages.seal import PURPOSE, Purpose, Seal, Sealed, hinted_attempt
from busauth._messages.statements import authority_of
from busauth._messages.story import Chapter, longer
from busauth._redaction import redact
from busauth._tokens.encryption.encryption import KeptFor
from busauth._tokens.encryption.kept import LetterKeys
from busauth._tokens.keys.waiting import NotAtHand, found
from busauth.caller import Caller, FirstToken, first_token
from busauth.errors import BadMessage, Deferred, NotGenuine, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRules:
    """What one consumer asks.

    Attributes:
        proofs: whose proofs count, None where they are ignored.
        routes: how messages get to this consumer.
        seal: seals the copies of this group, None where they carry hints only.
        replay: tells redeliveries from copies, where something remembers.
        stamped: whether the broker overwrites `timestamp_in_ms`.
        header: the header that carries tokens.
        session_claim: the claim that names a token's session.
        queue: what is consumed.
        formerly: names that it had before.
        letters: open what its letters kept, None where they keep nothing for it.
    """

    proofs: Proofs | None = None
    routes: tuple[Route, ...] = ()
    seal: Seal | None = None
    replay: Remembered = field(default_factory=NoMemory)
    stamped: bool = False
    header: str = AUTHORIZATION
    session_claim: str = "sid"
    queue: str = ""
    formerly: tuple[str, ...] = ()
    letters: LetterKeys | None = None
    asks: bool = field(init=False)
    """Whether a message needs a look at all."""

    def __post_init__(self) -> None:
        asks = self.proofs is not None or self.seal is not None or self.stamped
        object.__setattr__(self, "asks", asks)

    def recall(self, delivery: Delivery) -> Signed | None:
        """Prove whose a delivery's proof is, with the keys at hand; None where none is needed.

        Raises:
            Refused: with the first rule that the proof breaks.
            NotAtHand: its publisher's keys must be fetched: `found`.
        """
        return None if self.proofs is None else self.proofs.recall(delivery.headers.get(HEADER))

    def is_proven(self, delivery: Delivery) -> bool:
        """Return whether a delivery's proof is its publisher's, by the keys at hand."""
        try:
            return self.recall(delivery) is not None
        except (Refused, NotAtHand):
            return False

    def says_nothing_false(self, case: Case) -> bool:
        """Return whether a delivery does not say that it was here before, or a seal holds."""
        if PURPOSE not in case.delivery.headers:
            return True
        return self.marks(case.delivery, case.token_sha256).code is None

    def came_by_its_own(self, case: Case) -> bool:
        """Return whether a delivery is a letter by the token that it had, as its seal says."""
        marks = self.marks(case.delivery, case.token_sha256)
        return marks.code is None and marks.sealed.purpose is Purpose.LETTER

    def opened(self, delivery: Delivery, kept: str) -> str:
        """Return the token that a letter kept, which is this one's. Whether it is, its seal says.

        Raises:
            NotGenuine: ``token.kept`` on what says nothing of having been a letter, else with what
                is wrong with it; ``token.encryption_key`` also where no key is here.
        """
        if self.letters is None:
            expected = "a consumer with Letters(keep_token=...)"
            raise NotGenuine("token.encryption_key", found="a kept token", expected=expected)
        headers = delivery.headers
        is_retried = headers.get(PURPOSE) == Purpose.RETRY and LETTER in headers
        if not (is_retried or says_that_it_waited(headers)):
            found, expected = "a kept token on what never was a letter", "its letter"
            raise NotGenuine("token.kept", found=found, expected=expected)
        letter = KeptFor(queue=self.queue, message_id=delivery.message_id, body=delivery.body)
        return self.letters.open(kept, letter, formerly=self.formerly)

    def carried(
        self,
        case: Case,
        token_sha256: str | None,
        purpose: Purpose | None,
        code: str = "",
    ) -> Carried:
        """Return what a copy of a delivery carries on.

        Args:
            case: the delivery.
            token_sha256: the hex SHA-256 of its token, None where it has none that can be read.
            purpose: what the copy is made for; None where nothing was decided, so that it stays
                what it was. A letter that was not compared with its marks counts as no redrive: a
                replay memory has not met it, and has to know it for the same one.
            code: why it becomes a letter, where it does.
        """
        came_by = authority_of(case.statement or "") if case.retried is not None else token_sha256
        marks = case.marks or self.marks(case.delivery, came_by)
        before, stamp, _, authority = marks
        if self.seal is None:
            return Carried(before, None)
        waits = purpose in (Purpose.LETTER, Purpose.PARKED)
        if case.statement is not None and not waits:
            token_sha256 = authority_of(case.statement)
        sealed = replace(
            before,
            purpose=purpose or before.purpose,
            published_at=stamp,
            origin=before.origin or redact(case.delivery.origin),
            first=before.first or (self.first(case.verified.caller) if case.verified else None),
            authority=authority,
        )
        if waits:
            sealed = self._as_letter(case, sealed, code)
        return Carried(sealed, partial(self.seal.seal, token_sha256=token_sha256))

    def _as_letter(self, case: Case, sealed: Sealed, code: str) -> Sealed:
        """Return what is sealed on a letter, whose story is a chapter longer."""
        by = case.operator or by_in(case.delivery.headers, case.token)
        by = by if sealed.authority else None
        attempt = case.attempt or 1
        chapter = Chapter.of(case.now, code, attempt, by=by, authority=sealed.authority)
        letter, story = sealed.letter or self._letter_id(case), longer(sealed.story, chapter)
        sealed = replace(sealed, letter=letter, story=story, authority=None)
        if case.marks is None:
            return sealed
        return replace(sealed, attempt=0, redrive=sealed.redrive + 1)

    def _letter_id(self, case: Case) -> str:
        """Return the id of a new letter: where its publisher proved it, the same each time.

        So what is refused once more, as its acknowledgement got lost, is not two letters.
        """
        proven = case.provenance.proven
        if proven is None:
            return uuid4().hex
        known = ["busauth-letter", self.queue, proven.root_publisher, proven.message_id]
        return sha256(spelled(known)).hexdigest()[:32]

    def letter(self, delivery: Delivery) -> Carried | None:
        """Return what a message carries on that was put away here, None for every other one.

        Its token is not there, and its seal names it: the seal holds for the digest that it covers.
        """
        if self.seal is None or not says_that_it_waited(delivery.headers):
            return None
        said = delivery.headers.get(TOKEN_SHA256)
        return self._carried_under(delivery, said if isinstance(said, str) else None)

    def retried(self, delivery: Delivery, statement: str) -> Carried | None:
        """Return what a retry carries on of what was accepted on a statement; None for all else.

        Its seal names the statement in place of a token.
        """
        carried = self._carried_under(delivery, authority_of(statement))
        is_retry = carried is not None and carried.sealed.purpose is Purpose.RETRY
        return carried if is_retry else None

    def _carried_under(self, delivery: Delivery, authority: str | None) -> Carried | None:
        sealed, code = self._sealed(delivery, authority)
        if self.seal is None or code is not None:
            return None
        return Carried(sealed, partial(self.seal.seal, token_sha256=authority))

    def first(self, caller: Caller) -> FirstToken:
        """Return the record of a caller's token."""
        return first_token(caller, self.session_claim)

    def marks(self, delivery: Delivery, token_sha256: str | None) -> Marks:
        """Return what is believed of the headers that only busauth writes."""
        sealed, code = self._sealed(delivery, token_sha256)
        authority = sealed.authority if code is None else None
        if code is None and sealed.purpose is not Purpose.RETRY:
            authority = KEPT if sealed.purpose is Purpose.LETTER else FRESH
        if not self.stamped:
            return Marks(replace(sealed, published_at=None), None, code, authority)
        first = sealed.published_at
        stamp = stamp_in(delivery.headers.get(BROKER_STAMP)) if first is None else first
        return Marks(sealed, stamp, code, authority)

    def _marks_of(self, delivery: Delivery, token_sha256: str, *, is_kept: bool) -> Marks:
        """Return the same of a message whose token was proven; a letter may have a fresh one.

        Then its seal holds for the token that it had, which is on it; whose that was, the sealed
        record says.
        """
        marks = self.marks(delivery, token_sha256)
        recorded = delivery.headers.get(TOKEN_SHA256)
        is_letter = delivery.headers.get(PURPOSE) == Purpose.LETTER
        if marks.code != "seal.mac" or is_kept or not is_letter or not isinstance(recorded, str):
            return marks
        before = self.marks(delivery, recorded)
        return marks if before.code is not None else before._replace(authority=FRESH)

    def _sealed(self, delivery: Delivery, token_sha256: str | None) -> tuple[Sealed, str | None]:
        """Read a seal; without a key, the attempt is a hint and all else is nothing."""
        if self.seal is None:
            return Sealed(attempt=hinted_attempt(delivery.headers)), "seal.missing"
        given = delivery.headers.get(SEAL)
        if given is None:
            return Sealed(), "seal.missing"
        copy = copy_of(delivery.raw, delivery.body, self.header)
        opened = self.seal.opened(given, copy, token_sha256=token_sha256)
        return opened.sealed or Sealed(), opened.code

    def provenance_of(
        self,
        delivery: Delivery,
        caller: Caller,
        signed: Signed | None,
        now: float,
        *,
        starts_at: float = -inf,
        is_kept: bool = False,
    ) -> tuple[Provenance, Marks]:
        """Compare a proof with its message, and return what that and the broker say of it.

        Args:
            delivery: as received.
            caller: whose it is, by a token that was proven genuine.
            signed: its proof, proven to be its publisher's.
            now: the one instant of this decision.
            starts_at: from when on its token counts.
            is_kept: whether its token came as a letter had kept it.

        Raises:
            Refused: the proof speaks of another message, or not for here or now, or the broker's
                stamp disagrees with it; or it comes back, and no seal says so.
        """
        marks = self._marks_of(delivery, caller.token_sha256, is_kept=is_kept)
        proven, skew = None, 0.0
        if signed is not None and self.proofs is not None:
            proven = self.proofs.judge(signed, _seen(delivery, caller), self.routes, now)
            skew = self.proofs.skew
        check_return(delivery.headers, signed, marks, caller, is_kept=is_kept)
        return provenance_of(proven, marks.stamp, skew=skew, starts_at=starts_at), marks

    def check_age(self, signed: Signed | None, now: float) -> None:
        """Refuse a proof that has become stale since it was compared.

        Raises:
            Untimely: ``proof.stale``.
        """
        if signed is not None and self.proofs is not None:
            self.proofs.check_age(signed, now)

    def may_return(self, case: Case) -> bool:
        """Return whether a letter may be sealed, so that it can be sent again.

        What was taken for a copy, or for another message than its proof's, must not: under a seal
        of ours it would be a message that nobody has seen.
        """
        if self.seal is None or case.marks is None:
            return False
        return self.replay_key(case.provenance, case.marks) is None or case.is_known

    def replay_key(self, provenance: Provenance, marks: Marks | None) -> ReplayKey | None:
        """Return what makes two deliveries this message, None where nothing is proven or kept."""
        return self.replay.key(provenance.proven, marks.sealed if marks is not None else Sealed())

    async def settled_as(self, case: Case, sealed: Sealed) -> ReplayKey | None:
        """Return as what a message was settled that comes without its token, None if it was not.

        Without a memory, a proof that is its own, or that one's keys, nothing is known of it.

        Args:
            case: the delivery, which was put away here once.
            sealed: what its seal says, which holds.

        Raises:
            Deferred: the memory cannot tell now.
        """
        return await self.replay.settled_as(partial(self._proven_tokenless, case), sealed)

    def judge_tokenless(
        self,
        delivery: Delivery,
        signed: Signed | None,
        caller: Caller,
        stamp: float | None,
        now: float,
    ) -> tuple[Provenance, Proven | None]:
        """Compare a proof with its message, whose token is gone; how old it is plays no part.

        Args:
            delivery: as received.
            signed: its proof, proven to be its publisher's, None where none was asked for.
            caller: whose its first token was.
            stamp: the broker's first one, None where there is none.
            now: the one instant of this decision.

        Raises:
            Refused: the proof speaks of another message or caller, or not for here.
        """
        if signed is None or self.proofs is None:
            return provenance_of(None, stamp, skew=0.0), None
        seen = delivery.seen(caller)
        proven = self.proofs.judge_tokenless(signed, seen, self.routes, now)
        return provenance_of(proven, stamp, skew=self.proofs.skew), proven

    async def _proven_tokenless(self, case: Case) -> Proven | None:
        if self.proofs is None:
            return None
        try:
            signed = await found(lambda: self.recall(case.delivery))
            if signed is None:
                return None
            seen = case.delivery.seen()
            return self.proofs.judge_tokenless(signed, seen, self.routes, case.now)
        except (Refused, Deferred):
            return None


def _seen(delivery: Delivery, caller: Caller) -> SeenMessage:
    if caller.transaction is not None:
        return delivery.seen(caller, token_sha256=caller.token_sha256, is_transaction=True)
    transaction_token = as_text(delivery.headers.get(TXN_TOKEN))
    if transaction_token is not None and not isinstance(transaction_token, str):
        found = f"{TXN_TOKEN} of type {type(transaction_token).__name__}"
        raise BadMessage("proof.token", found=found, expected="text")
    return delivery.seen(
        caller, token_sha256=caller.token_sha256, transaction_token=transaction_token
    )
