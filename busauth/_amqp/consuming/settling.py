"""How a delivery is settled, once it was judged: every way that a message can end, in one place.

The copy comes first, and is confirmed as routed; then what is done is noted in the replay memory;
then the delivery is acknowledged, and once the broker is told, so is the auditor. Whatever cuts
this off leaves the delivery unsettled: `consumer` has the table.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.misdirected import Directions
from busauth._amqp.consuming.pipeline import Pipeline
from busauth._amqp.consuming.returning import CameBack, homes_of
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.headers import TOKEN
from busauth._amqp.options import OnError
from busauth._amqp.publishing.copies import Carried, Keep, Refusal
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.returns import Returns
from busauth._decision import DeadLettered, Discarded, Parked
from busauth._messages.replay import Duplicate
from busauth._messages.seal import Purpose
from busauth._tokens.compact import is_signed, split
from busauth._tokens.encryption.encryption import KeptFor, TokenEncryption
from busauth.audit import EventKind
from busauth.errors import Deferred, HandlerFailed, Refused, Untimely


class Settling:
    """Settles one queue's deliveries.

    Args:
        rules: on what terms they are consumed.
        context: what all consumers of a guard share.
        disposal: publishes copies.
        returns: how often each came back.
        directions: what was genuine, and for somebody else.
        pipeline: reads tokens that were not read yet.
        release: is called once the broker was told.
    """

    def __init__(
        self,
        rules: ConsumerRules,
        context: GuardContext,
        disposal: Disposal,
        *,
        returns: Returns,
        directions: Directions,
        pipeline: Pipeline,
        release: Callable[[Case], None],
    ) -> None:
        self._rules = rules
        self._messages = rules.messages
        self._context = context
        self._disposal = disposal
        self._returns = returns
        self._directions = directions
        self._pipeline = pipeline
        self._release = release

    async def settle(self, case: Case, outcome: Refused | None) -> None:
        """Settle what was handled, or why it was not.

        Raises:
            Deferred: that cannot be done now.
        """
        delivery = case.delivery
        if case.marks is not None and case.marks.broken is not None:
            self._context.auditor.tell(case, EventKind.SEAL_BROKEN, detail=case.marks.broken)
        if not delivery.is_open:
            await self._leave(case, outcome)
        elif outcome is None:
            if case.replay_key is not None:
                await self._remember(case)
            self._done(case, EventKind.HANDLED, detail=_as_whom(case))
            self._returns.handled += 1
        else:
            await self._settle_unhandled(case, outcome)

    async def _leave(self, case: Case, outcome: Refused | None) -> None:
        """Leave alone what its channel or its handler settled; what that put back comes again."""
        if case.delivery.is_lost:
            self._tell_lost(case)
            return
        self._context.acks.settled(case.delivery)
        if not case.delivery.is_returned:
            await self._remember(case)
        elif case.replay_key is not None:
            with suppress(Deferred):  # in flight for ever, it comes again as well
                await self._messages.replay.forget(case.replay_key, holder=case.holder)
        self.tell_left(case, outcome)

    def tell_left(self, case: Case, outcome: Refused | None = None) -> None:
        """Tell of a message that its handler has settled itself; with a refusal, it failed too."""
        detail = "put back" if case.delivery.is_returned else None
        self._context.auditor.tell(case, EventKind.SETTLED_BY_HANDLER, outcome, detail=detail)

    def _tell_lost(self, case: Case) -> None:
        detail = "its channel was closed; it comes again"
        self._context.auditor.tell(case, EventKind.ABANDONED, detail=detail)

    async def _settle_unhandled(self, case: Case, outcome: Refused) -> None:
        match outcome:
            case Discarded():
                self._done(case, EventKind.DISCARDED, outcome)
            case Duplicate():
                self._done(case, EventKind.DUPLICATE, outcome)
            case Parked() if self._messages.seal is not None:
                await self._park(case, outcome)
            case CameBack() if case.letter is not None:
                await self._send_home(case, outcome, case.letter)
            case HandlerFailed():
                await self._failed(case, outcome)
            case _:
                await self.refuse(case, outcome)

    async def _remember(self, case: Case) -> None:
        """Note that the message is done, once nothing but the acknowledgement is left to do."""
        if case.replay_key is not None:
            case.is_known = False  # cut off from here on, it may be done
            await self._messages.replay.done(case.replay_key)

    async def _failed(self, case: Case, failed: HandlerFailed) -> None:
        carried = self._carried(case, Purpose.RETRY)
        if self._rules.on_error is OnError.RETRY:
            await self._wait(failed, carried.sealed.attempt)
        if case.delivery.is_lost:
            self._tell_lost(case)
            return
        rung = await self._retried(case, failed, carried)
        if rung is None:
            await self.refuse(case, failed)
        else:
            await self._remember(case)
            self._done(case, EventKind.RETRIED, failed, detail=rung)

    async def _wait(self, failed: HandlerFailed, attempt: int) -> None:
        """Hold a failed message for a while, where no queue delays it."""
        if self._disposal.rung(failed, attempt) is not None:
            options = self._context.options
            seconds = min(options.pause_longest, options.pause_first * 2.0 ** min(attempt, 32))
            await self._context.clock.sleep(seconds)

    async def _retried(self, case: Case, failed: HandlerFailed, carried: Carried) -> str | None:
        """Return where the message waits for its next attempt, None where none is due.

        Without its delay queue, its handler would run again with each return: after some, it is
        refused.
        """
        try:
            return await self._disposal.retry(case.delivery, failed, carried)
        except Deferred:
            if self._returns.are_too_many(case.delivery):
                return None
            raise

    async def refuse(self, case: Case, refused: Refused) -> None:
        """Publish a message with its refusal to where its kind goes, and acknowledge it.

        What was handed over as nobody, and could not be handled, is put away as strict would have
        put it away: it is as little proven now as before.

        Raises:
            Deferred: the broker did not confirm.
        """
        if case.retried is not None and case.replay_key is None:
            # where nobody vouches for it any more, nothing has asked yet whether it was here before
            key = await self._messages.settled_as(case, case.retried.sealed)
            if key is not None:
                self._done(case, EventKind.DUPLICATE, Duplicate.of(key))
                return
            case.is_known = True  # as a message that was never settled
        failed, refused = refused, case.shadowed or refused
        refusal = self._refusal(case, refused, Purpose.LETTER)
        name = await self._disposal.dead_letter(case.delivery, refusal)
        await self._remember(case)
        why = refused.detail if failed is refused else f"{refused.detail}; then {failed.detail}"
        self._done(case, EventKind.REFUSED, refused, detail=f"{why} -> {name}")
        await self._context.replies.answer(self._disposal.outlet, case.delivery, refused)

    async def _park(self, case: Case, parked: Parked) -> None:
        refusal = self._refusal(case, parked, Purpose.PARKED)
        name = await self._disposal.park(case.delivery, refusal)
        if name is None:
            found = f"{parked.found}, and it cannot wait whole"
            await self.refuse(case, Untimely(parked.code, found=found, expected="in time"))
            return
        await self._remember(case)
        self._done(case, EventKind.PARKED, parked, detail=f"{parked.detail} -> {name}")

    async def _send_home(self, case: Case, came_back: CameBack, letter: Carried) -> None:
        """Put a letter, or what was parked, back where it was; nobody asks anything of it here.

        What was sent again and settled since waits for nobody: there it could only be refused.
        """
        key = await self._messages.settled_as(case, letter.sealed)
        if key is not None:
            self._done(case, EventKind.DUPLICATE, Duplicate.of(key))
            return
        if case.replay_key is not None:  # sent again by an operator, it may be once more
            await self._messages.replay.forget(case.replay_key, holder=case.holder)
            case.replay_key = None
        homes = homes_of(case.delivery.headers, letter.sealed.purpose, self._rules.queue)
        home = await self._disposal.put_back(case.delivery, letter, homes)
        if home is None:
            await self.refuse(case, came_back)
            return
        self._done(case, EventKind.RETURNED, came_back, detail=f"{came_back.detail} -> {home}")

    async def put_off(self, case: Case) -> bool:
        """Let a copy wait in place of an undecided message; return whether one does.

        It must not be taken for the copy of a message in flight, or done.

        Raises:
            Exception: the program's own.
        """
        case.has_begun = True
        delivery = case.delivery
        # as a retry, what was sent again would be a letter no more
        letter = case.letter or self._messages.letter(delivery)
        try:
            if case.replay_key is not None and not case.is_known:
                return False
            if case.replay_key is not None:
                await self._messages.replay.forget(case.replay_key, holder=case.holder)
            carried = letter or self._carried(case, None)
            is_there = await self._disposal.postpone(
                delivery, carried, is_letter=letter is not None
            )
        except Deferred:
            return False
        if is_there:  # nobody is told: the message waits elsewhere, undecided
            self._acknowledge(case, lambda _: self._release(case))
        return is_there

    def _carried(self, case: Case, purpose: Purpose | None, code: str = "") -> Carried:
        """Return what a copy carries on; the seal names its token, which may not be read yet."""
        if case.token is None and case.statement is None:
            with suppress(Refused):
                self._pipeline.read(case)
        return self._messages.carried(case, case.token_sha256, purpose, code)

    def _refusal(self, case: Case, refused: Refused, purpose: Purpose) -> Refusal:
        messages, whose = self._messages, self._whose(case, refused)
        transaction = case.caller.transaction if case.caller else None
        keeper = self._keeper(case, refused) if whose is not None else None
        misdirected = keeper is not None and not refused.genuine
        seals = misdirected or (refused.genuine and messages.may_return(case))
        return Refusal(
            refused=refused,
            queue=self._rules.queue,
            at=case.now,
            whose=whose,
            token=case.token,
            token_sha256=case.token_sha256,
            proven=case.proven is not None
            or ((misdirected or case.retried is not None) and messages.is_proven(case.delivery)),
            keep=_keeping(case, keeper, self._rules.queue) if seals else None,
            carried=self._carried(case, purpose, refused.code) if seals else None,
            transaction=transaction.txn if transaction else None,
        )

    def _whose(self, case: Case, refused: Refused) -> tuple[str, str] | None:
        """Return whose message it is: its caller's; or whom a trusted issuer signed for another."""
        if case.caller is not None:
            return case.caller.issuer, case.caller.subject
        if case.token is None or not self._directions.are_wrong_for(case, refused):
            return None
        claims = split(case.token, max_bytes=self._context.options.max_token_bytes).payload
        return str(claims.get("iss", "")), str(claims.get("sub", ""))

    def _keeper(self, case: Case, refused: Refused) -> TokenEncryption | None:
        """Return for whom a letter keeps its token: by its policy's word, else for the consumer."""
        letters = self._messages.letters
        own = None if letters is None else letters.encryption
        if isinstance(refused, DeadLettered) and refused.keep_token is not None:
            return refused.keep_token
        if refused.genuine:
            return own
        keeper = self._rules.callers.policies.keeper or own
        return keeper if self._messages.says_nothing_false(case) else None

    def _done(
        self,
        case: Case,
        kind: EventKind,
        refused: Refused | None = None,
        *,
        detail: str | None = None,
    ) -> None:
        """Acknowledge, and tell what has become of the message once the broker is told."""
        if self._returns.are_remembered:
            self._returns.forget(case.delivery, retried=kind is EventKind.RETRIED)
        self._acknowledge(case, partial(self._told, case, kind, refused, detail))

    def _acknowledge(self, case: Case, told: Callable[[bool], None]) -> None:
        """Have the delivery acknowledged; it is held until the broker is told."""
        case.is_acknowledged = True
        self._context.acks.add(case.delivery, told)

    def _told(
        self,
        case: Case,
        kind: EventKind,
        refused: Refused | None,
        detail: str | None,
        was_told: bool,  # noqa: FBT001 -- a callback's one argument
    ) -> None:
        if not was_told:
            kind, detail = EventKind.ABANDONED, "not acknowledged; it comes again"
        try:
            self._context.auditor.tell(case, kind, refused, detail=detail)
        finally:
            self._release(case)


def _as_whom(case: Case) -> str | None:
    return None if case.shadowed is None else f"as nobody, despite {case.shadowed.code}"


def _keeping(case: Case, keeper: TokenEncryption | None, queue: str) -> Keep | None:
    """Return how the letter keeps its token, None where no policy said so."""
    token, kept = case.token, case.delivery.headers.get(TOKEN)
    if case.statement is not None:  # what the letter had kept before, bound to it as it still is
        return (lambda *_: kept) if isinstance(kept, str) else None
    if keeper is None or token is None or not is_signed(token):
        return None  # a reference is nothing that a redrive could verify

    def keep(message_id: str, body: bytes) -> str:
        return keeper.seal_for_redrive(
            token, KeptFor(queue=queue, message_id=message_id, body=body)
        )

    return keep
