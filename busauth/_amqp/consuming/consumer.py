"""One guarded consumer: what happens to a delivery, from its arrival to its settlement.

Who holds the message, wherever something is awaited. *Again*: the broker, which delivers it again,
as its channel is gone; where the task alone was cancelled, by a watchdog of the handler's perhaps,
and the channel lives on, it is given back (`_cut_off`). *Error*: one that is neither a refusal nor
somebody's who is out of reach.

=======================  =======================  ========================  ======================
awaited                  in                       cut, cancelled, killed    error
=======================  =======================  ========================  ======================
are its queues there?    Surroundings.check       again                     given back
keys, a slot             outcome                  again                     refused: check.failed;
                                                                            the program's:
                                                                            given back
policies, keys again     _decided                 again                     refused: token.expired,
                                                                            check.failed
the replay memory        _check_new, admit        again                     refused: check.failed
was it settled since?    _send_home, settled_as   again                     given back
the handler              _run                     again                     retried, or refused
a pause before a retry   _wait                    again                     given back
a connection             _reasoned,               again                     given back
                         _publish_whole
the copy's confirmation  _publish                 again, perhaps a copy     given back, perhaps a
                                                  as well                   copy as well
what is done is noted    _remember                again and a copy; where   given back
                                                  handled, again
what was put back is     _leave, _forget          as its handler settled    as its handler settled
forgotten
the consumer cancelled   _hold_off                again                     given back
a copy for later         _postpone                again, perhaps a copy     given back, perhaps a
                                                  as well                   copy as well
cancelled often          _failed_at_last          again, perhaps a copy     given back, perhaps a
                                                  as well                   copy as well
given back               _put_back, _give_back,   again                     again
                         give_back
its consumer ended       end_and_give_back        again                     given back
an answer                _refuse                  acknowledged, or again    acknowledged
                                                  and a copy
=======================  =======================  ========================  ======================

An acknowledgement is not awaited: what is cut off before its frame is written (`acks`) comes again.
A service that stops cuts off what has not begun, and gives it back once nothing more is delivered.
So everything happens at least once, and nothing is lost; cancelled means unsettled or given back,
never settled, and whatever else happens, the consumer goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from functools import partial

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from busauth._amqp.consuming.attempt import Attempts
from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.misdirected import Directions, Misdirected
from busauth._amqp.consuming.pause import Pause
from busauth._amqp.consuming.returning import CameBack, homes_of
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.delivery import Delivery, channel_of, handed_directly
from busauth._amqp.handling.guarded import GuardedConsumer, P, R
from busauth._amqp.handling.plan import CallPlan
from busauth._amqp.options import OnError
from busauth._amqp.publishing.copies import Carried, Keep, Refusal
from busauth._amqp.publishing.publisher import raise_if_ending
from busauth._amqp.settling import settlement
from busauth._amqp.settling.acks import Told
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.returns import Returns
from busauth._callables import documentation_of, short_name_of
from busauth._decision import DeadLettered, Discarded, Parked
from busauth._messages.replay import Duplicate
from busauth._messages.seal import Purpose
from busauth._retold import retold
from busauth._tokens.compact import is_signed
from busauth._tokens.encryption.encryption import KeptFor, TokenEncryption
from busauth.audit import LOGGER, EventKind
from busauth.errors import (
    BadMessage,
    ConfigurationError,
    Deferred,
    HandlerFailed,
    Refused,
    Untimely,
    evidence,
)


class Consumer(GuardedConsumer[P, R]):
    """A guarded handler, as its intake sees it.

    Attributes:
        parks: whether its late messages may wait for their callers.
        taken: how many deliveries it was given.
    """

    def __init__(
        self,
        plan: CallPlan,
        rules: ConsumerRules,
        context: GuardContext,
        disposal: Disposal,
        returns: Returns,
    ) -> None:
        self.handler = plan.handler
        self.queue = rules.queue
        self.parks = rules.callers.policies.parks
        self.taken = 0
        self.__name__ = short_name_of(plan.handler)
        self.__doc__ = documentation_of(plan.handler)
        self._rules = rules
        self._context = context
        self._disposal = disposal
        self._returns = returns
        self._directions = Directions(rules.queue, rules.issued)
        self._running: dict[int, Case] = {}
        self._attempts = Attempts(plan, rules, context, self._running)
        self._tell = self._attempts.tell
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._taken_back: frozenset[str | None] = frozenset()
        self._has_left = self._is_stopping = self._is_elsewhere = False
        self._may_return = asyncio.Event()
        self._may_return.set()
        options = context.options
        self._pause = Pause(
            rules.queue,
            first=options.pause_first,
            longest=options.pause_longest,
            clock=context.clock,
            auditor=context.auditor,
        )

    async def __call__(
        self, message: AbstractIncomingMessage, *others: object, **named: object
    ) -> None:
        """Take one delivery from aio-pika.

        Raises:
            TypeError: called with something else; call `handler` in a unit test.
            ConfigurationError: consumed with ``no_ack``, so that nothing could be given back.
        """
        self._check_delivery(message, bool(others or named))
        self.handed_directly(channel_of(message), message.consumer_tag, self)
        await self.take(Delivery.of(message))

    def handed_directly(self, channel: Channel | None, tag: str | None, registered: object) -> None:
        """Have further deliveries to a consumer tag come past aio-pika; see `delivery`."""
        handed_directly(channel, tag, registered, self._take_directly)

    async def _take_directly(self, delivered: DeliveredMessage) -> None:
        await self.take(Delivery(delivered))

    async def take(self, delivery: Delivery) -> None:
        """Take one delivery; the broker is told what became of it soon after this has returned."""
        if self._loop is not asyncio.get_running_loop():
            try:
                self.open()
            except ConfigurationError as error:
                await self._elsewhere(delivery, error)
                return
        self.taken += 1
        if delivery.redelivered and self._goes_on_as(delivery):
            return
        case = Case(delivery, self._context.clock.now(), task=asyncio.current_task())
        self._idle.clear()
        self._held.add(id(case))
        self._running[id(case)] = case
        try:
            await self._receive(case)
        except asyncio.CancelledError:
            if delivery.is_settled:
                self._context.acks.settled(delivery)
            elif self._is_left_alone(case):
                await asyncio.shield(self._cut_off(case))  # cancelled again, it goes on
            raise
        finally:
            if case.returning is None:
                self._over(case)

    async def _elsewhere(self, delivery: Delivery, error: ConfigurationError) -> None:
        """End a consumer in another thread's loop, which nobody may handle anything for."""
        if not self._is_elsewhere:
            self._is_elsewhere = True
            LOGGER.error(
                "%s is consumed twice, and no more by the second one: %s", self.queue, error
            )
        await settlement.end_and_give_back(delivery)

    def _is_left_alone(self, case: Case) -> bool:
        """Return whether nobody would settle a message whose task ends: its channel lives on."""
        return not (case.is_acknowledged or case.delivery.is_lost or self._has_left)

    def _cut_off(self, case: Case) -> "asyncio.Task[None]":
        """Give back, as nobody: somebody has cancelled the handler's task, or what came after."""
        is_failure = self._is_cut_off_often(case)
        if not is_failure and (case.has_begun or not self._is_stopping):
            self._returns.add(case.delivery)
            self._tell(case, EventKind.ABANDONED, detail="its task was cancelled; it comes again")
        away = self._failed_at_last(case) if is_failure else self._put_back(case)
        loop = asyncio.get_running_loop()
        case.returning = loop.create_task(self._returned(case, away), context=Context())
        return case.returning

    def _is_cut_off_often(self, case: Case) -> bool:
        """Return whether its handler fails so: cancelled from inside, and not by a service's stop.

        What a replay memory may know as done is no failure.
        """
        if self._is_stopping or not case.has_begun:
            return False
        may_be_done = case.replay_key is not None and not case.is_known
        return not may_be_done and self._returns.is_cut_off_often(case.delivery)

    async def _failed_at_last(self, case: Case) -> None:
        found = "its task was cancelled, time after time"
        failed = HandlerFailed("handler.failed", found=found, retry=True, error="CancelledError")
        try:
            await self._settle(case, failed)
        except Deferred:
            self._returns.add(case.delivery)
            await self._put_back(case)

    async def _returned(self, case: Case, away: Awaitable[None]) -> None:
        try:
            await self._surely(case, away)
        finally:
            self._over(case)

    def _over(self, case: Case) -> None:
        self._running.pop(id(case), None)
        if not case.is_acknowledged:
            self._release(case)

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was held in a loop that has ended is the broker's again."""
        self._loop = loop
        self._running.clear()
        self._held.clear()
        self._idle, self._may_return = asyncio.Event(), asyncio.Event()
        self._idle.set()

    def _goes_on_as(self, again: Delivery) -> bool:
        """Let a handler that still runs settle its message as it has come back.

        The broker took the message back, as its handler took longer than the consumer timeout; to
        run it once more beside itself would do the work twice.
        """
        for case in self._running.values():
            lost = case.delivery.is_lost or case.delivery.consumer_tag in self._taken_back
            goes = case.is_acknowledged or case.is_leaving
            if lost and not goes and case.delivery.is_like(again):
                self._context.acks.settled(case.delivery)
                return case.delivery.goes_on_as(again)
        return False

    def taken_back(self, tag: str) -> None:
        """Note that the broker has ended a consumer: what it holds may be delivered again."""
        held = {case.delivery.consumer_tag for case in self._running.values()}
        self._taken_back = (self._taken_back & held) | {tag}

    def _release(self, case: Case) -> None:
        self._held.discard(id(case))
        if not self._held:
            self._idle.set()

    @property
    def handling(self) -> bool:
        """Return whether a delivery is being handled."""
        return bool(self._held)

    @property
    def paused(self) -> bool:
        """Return whether it has stopped consuming until a fault is gone."""
        return self._pause.reason is not None

    @property
    def waits_for(self) -> str | None:
        """Return what it waits for while it is paused, for people; None while it consumes."""
        reason = self._pause.reason
        return None if reason is None else evidence(reason.reason)

    async def idle(self) -> None:
        """Return once no delivery is being handled."""
        await self._idle.wait()

    async def ready(self) -> None:
        """Return once it does not pause."""
        await self._pause.over()

    def stopped_by_pause(self, stopped: Callable[[], None]) -> None:
        """Have somebody told when a pause has cancelled a consumer; they consume again after it."""
        self._pause.owned_by(stopped)

    def open(self) -> None:
        """Begin anew after `close` and `leave`, in the running loop.

        Raises:
            ConfigurationError: another thread's loop has this guard's consumers.
        """
        self._context.loop.claim(f"the consumer of {self.queue!r}")
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._move(loop)
        self._has_left = self._is_stopping = False
        self._may_return.set()
        self._directions.begin()
        self._pause.open()

    def wait_for(self, deferred: Deferred) -> None:
        """Begin with a pause."""
        self._pause.begin(deferred)

    def stop(self) -> None:
        """Begin nothing more; what has not begun is given back once `stopped` was called."""
        self._is_stopping = True
        self._may_return.clear()
        for case in self._running.values():
            if case.task is not None and not case.has_begun:
                case.task.cancel()

    def stopped(self) -> None:
        """Let go of what has not begun: nothing more is delivered here."""
        self._may_return.set()

    async def close(self) -> None:
        """End a pause for good; the consumer will not come back by itself."""
        await self._pause.close()

    def leave(self) -> None:
        """Give nothing back any more: the channel is about to be closed, and says it all."""
        self._has_left = True

    def _check_delivery(self, message: AbstractIncomingMessage, more: bool) -> None:  # noqa: FBT001
        if more or not isinstance(message, AbstractIncomingMessage):
            raise TypeError(
                f"{self.__name__} is guarded and takes deliveries from aio-pika; to call the bare "
                f"function, as in a unit test, use {self.__name__}.handler(...)"
            )
        if message.processed:
            raise ConfigurationError(
                f"{self.queue}: consumed with no_ack=True; a guard needs acknowledgements"
            )

    async def _receive(self, case: Case) -> None:
        if self._is_stopping:
            await self._surely(case, self._put_back(case))
            return
        reason = self._pause.reason
        if reason is not None and not isinstance(reason, Misdirected):
            await self._hold_off(case, reason)
            return
        deferred = await self._settled(case)
        if deferred is None:
            self._pause.progressed()
        elif not case.is_acknowledged:
            self._returns.add(case.delivery)
            await self._hold_off(case, deferred)

    async def _settled(self, case: Case) -> Deferred | None:
        """Settle a delivery; return why that is not possible now.

        An error while settling, or one that `Attempts` raises, is this program's, and no message is
        refused for it: it would be the whole backlog.
        """
        try:
            if self._disposal.around.unseen:
                await self._disposal.around.check(case.delivery)
            outcome = await self._attempts.outcome(case)
            self._directions.check(case, outcome)
            case.has_begun = True
            await self._settle(case, outcome)
        except Deferred as deferred:
            return deferred
        except BaseException as error:
            raise_if_ending(error)
            return await self._put_away(case, self._fault(case, error), error)
        return None

    async def _put_away(
        self, case: Case, deferred: Deferred, error: BaseException
    ) -> Deferred | None:
        """Refuse what fails again and again while others are handled; put all else off.

        It is a letter then, so that it holds nobody up, and its bytes are there to be looked at.
        """
        delivery = case.delivery
        if case.is_acknowledged or not self._returns.is_of_itself(delivery) or delivery.is_settled:
            return deferred
        found = f"{type(error).__name__}, with this message each time"
        try:
            await self._refuse(case, BadMessage("check.failed", found=found, expected="no error"))
        except Deferred as also:
            return also
        except BaseException as another:
            raise_if_ending(another)
            return self._fault(case, another)
        return None

    def _fault(self, case: Case, error: BaseException) -> Deferred:
        if self._context.auditor.lines.admit("settling failed", self.queue):
            what = "%s: a message is given back, the program failed"
            LOGGER.error(what, self.queue, exc_info=retold(error))
        name = type(error).__name__
        self._tell(case, EventKind.FAULT, detail=f"{name}, not the message's fault; see the log")
        return Deferred(f"a message of {self.queue!r} was not settled: {name}")

    async def _hold_off(self, case: Case, deferred: Deferred) -> None:
        """Stop consuming and give back."""
        put_back = partial(self._put_back, case)
        await self._surely(case, self._pause.hold_off(case.delivery, deferred, put_back))

    async def _surely(self, case: Case, giving_back: Awaitable[None]) -> None:
        """Await what gives back; whatever goes wrong with it, it is done."""
        try:
            await giving_back
        except BaseException as error:
            raise_if_ending(error)
            self._fault(case, error)
            await self._give_back(case)

    async def _put_back(self, case: Case) -> None:
        """Give back; a copy takes over from what was given back often, behind all others."""
        await self._may_return.wait()
        delivery = case.delivery
        if delivery.is_lost or delivery.is_settled or self._has_left:
            return
        if self._returns.are_often(delivery) and await self._postpone(case):
            self._acknowledge(case, partial(self._postponed, case))
        else:
            await self._give_back(case)

    async def _give_back(self, case: Case) -> None:
        case.is_leaving = True
        if await settlement.give_back(case.delivery):
            self._context.acks.settled(case.delivery)

    async def _postpone(self, case: Case) -> bool:
        """Let a copy wait; it must not be taken for the copy of a message in flight, or done."""
        case.has_begun = True
        try:
            carried = self._carried(case, None)
            if case.letter is not None:  # as a retry it would be a letter no more
                return await self._disposal.postpone(case.delivery, case.letter, is_letter=True)
            if case.replay_key is not None:
                if not case.is_known:
                    return False
                await self._rules.messages.replay.forget(case.replay_key, holder=case.holder)
            return await self._disposal.postpone(case.delivery, carried)
        except Deferred:
            return False
        except Exception as error:
            self._fault(case, error)
            return False

    def _carried(self, case: Case, purpose: Purpose | None) -> Carried:
        """Return what a copy carries on; the seal names its token, which may not be read yet."""
        if case.token is None:
            with suppress(Refused):
                self._attempts.read(case)
        return self._rules.messages.carried(case, case.token_sha256, purpose)

    async def _settle(self, case: Case, outcome: Refused | None) -> None:
        delivery = case.delivery
        if case.marks is not None and case.marks.broken is not None:
            self._tell(case, EventKind.SEAL_BROKEN, detail=case.marks.broken)
        if delivery.is_lost:
            self._tell(case, EventKind.ABANDONED, detail="its channel was closed; it comes again")
        elif delivery.is_settled:
            await self._leave(case, outcome)
        elif outcome is None:
            if case.replay_key is not None:
                await self._remember(case)
            self._done(case, EventKind.HANDLED)
            self._returns.handled()
        else:
            await self._settle_unhandled(case, outcome)

    async def _leave(self, case: Case, outcome: Refused | None) -> None:
        """Leave alone what its handler settled; what that put back comes again, to be handled."""
        self._context.acks.settled(case.delivery)
        if case.delivery.is_returned:
            await self._forget(case)
        else:
            await self._remember(case)
        detail = "put back" if case.delivery.is_returned else None
        self._tell(case, EventKind.SETTLED_BY_HANDLER, outcome, detail=detail)

    async def _settle_unhandled(self, case: Case, outcome: Refused) -> None:
        match outcome:
            case Discarded():
                self._done(case, EventKind.DISCARDED, outcome)
            case Duplicate():
                self._done(case, EventKind.DUPLICATE, outcome)
            case Parked() if self._rules.messages.seal is not None:
                await self._park(case, outcome)
            case CameBack() if case.letter is not None:
                await self._send_home(case, outcome, case.letter)
            case HandlerFailed():
                await self._failed(case, outcome)
            case _:
                await self._refuse(case, outcome)

    async def _remember(self, case: Case) -> None:
        """Note that the message is done, once nothing but the acknowledgement is left to do."""
        if case.replay_key is not None:
            case.is_known = False  # cut off from here on, it may be done
            await self._rules.messages.replay.done(case.replay_key)

    async def _forget(self, case: Case) -> None:
        """Let the message come again; in flight for ever, it does so as well."""
        if case.replay_key is not None:
            with suppress(Deferred):
                await self._rules.messages.replay.forget(case.replay_key, holder=case.holder)

    async def _failed(self, case: Case, failed: HandlerFailed) -> None:
        carried = self._carried(case, Purpose.RETRY)
        if self._rules.on_error is OnError.RETRY:
            await self._wait(failed, carried.sealed.attempt)
        if case.delivery.is_lost:
            self._tell(case, EventKind.ABANDONED, detail="its channel was closed; it comes again")
            return
        rung = await self._retried(case, failed, carried)
        if rung is None:
            await self._refuse(case, failed)
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

    async def _refuse(self, case: Case, refused: Refused) -> None:
        refusal = self._refusal(case, refused, Purpose.LETTER)
        name = await self._disposal.dead_letter(case.delivery, refusal)
        await self._remember(case)
        self._done(case, EventKind.REFUSED, refused, detail=f"{refused.detail} -> {name}")
        await self._context.replies.answer(self._disposal.outlet, case.delivery, refused)

    async def _park(self, case: Case, parked: Parked) -> None:
        refusal = self._refusal(case, parked, Purpose.PARKED)
        name = await self._disposal.park(case.delivery, refusal)
        if name is None:
            found = f"{parked.found}, and it cannot wait whole"
            await self._refuse(case, Untimely(parked.code, found=found, expected="in time"))
            return
        await self._remember(case)
        self._done(case, EventKind.PARKED, parked, detail=f"{parked.detail} -> {name}")

    async def _send_home(self, case: Case, came_back: CameBack, letter: Carried) -> None:
        """Put a letter, or what was parked, back where it was; nobody asks anything of it here.

        What was sent again and settled since waits for nobody: there it could only be refused.
        """
        key = await self._rules.messages.settled_as(case, letter.sealed)
        if key is not None:
            self._done(case, EventKind.DUPLICATE, Duplicate.of(key))
            return
        homes = homes_of(case.delivery.headers, letter.sealed.purpose, self.queue)
        home = await self._disposal.put_back(case.delivery, letter, homes)
        if home is None:
            await self._refuse(case, came_back)
            return
        self._done(case, EventKind.RETURNED, came_back, detail=f"{came_back.detail} -> {home}")

    def _refusal(self, case: Case, refused: Refused, purpose: Purpose) -> Refusal:
        provenance, keeper = self._rules.messages, self._keeper(case, refused)
        misdirected = keeper is not None and case.marks is None
        seals = misdirected or (refused.genuine and provenance.may_return(case))
        return Refusal(
            refused=refused,
            queue=self.queue,
            at=case.now,
            caller=case.caller,
            token=case.token,
            token_sha256=case.token_sha256,
            proven=case.provenance.proven is not None
            or (misdirected and provenance.is_proven(case.delivery)),
            keep=_keeping(case, keeper, self.queue) if seals else None,
            carried=self._carried(case, purpose) if seals else None,
        )

    def _keeper(self, case: Case, refused: Refused) -> TokenEncryption | None:
        """Return for whom a letter keeps its token: a late one, or one for somebody else."""
        if isinstance(refused, DeadLettered):
            return refused.keep_token
        keeper = self._rules.callers.policies.keeper
        if keeper is None or not self._directions.are_wrong_for(case, refused):
            return None
        return keeper if self._rules.messages.says_nothing_false(case) else None

    def _done(
        self,
        case: Case,
        kind: EventKind,
        refused: Refused | None = None,
        *,
        detail: str | None = None,
    ) -> None:
        """Acknowledge, and tell what has become of the message once the broker is told."""
        self._returns.forget(case.delivery, retried=kind is EventKind.RETRIED)
        self._acknowledge(case, partial(self._told, case, kind, refused, detail))

    def _acknowledge(self, case: Case, told: Told) -> None:
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
            self._tell(case, kind, refused, detail=detail)
        finally:
            self._release(case)

    def _postponed(self, case: Case, _was_told: bool) -> None:  # noqa: FBT001 -- as above
        """Tell nobody: the message waits elsewhere, undecided."""
        self._release(case)


def _keeping(case: Case, keeper: TokenEncryption | None, queue: str) -> Keep | None:
    """Return how the letter keeps its token, None where no policy said so."""
    token = case.token
    if keeper is None or token is None or not is_signed(token):
        return None  # a reference is nothing that a redrive could verify

    def keep(message_id: str, body: bytes) -> str:
        return keeper.seal_for_redrive(
            token, KeptFor(queue=queue, message_id=message_id, body=body)
        )

    return keep
