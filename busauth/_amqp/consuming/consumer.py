"""One guarded consumer: it holds each delivery, from its arrival until the broker is told.

`pipeline` judges and handles it, `settling` settles it.

Who holds the message, wherever something is awaited. *Again*: the broker, which delivers it again,
as its channel is gone; where the task alone was cancelled, by a watchdog of the handler's perhaps,
and the channel lives on, it is given back (`_cut_off`). *Error*: one that is neither a refusal nor
somebody's who is out of reach.

=======================  =======================  ========================  ======================
awaited                  in                       cut, cancelled, killed    error
=======================  =======================  ========================  ======================
are its queues there?    Surroundings.check       again                     given back
keys, a slot             outcome, _prove,         again                     refused: check.failed;
                         _prove_genuine                                     the program's:
                                                                            given back
policies, a fresh token, _decided, _accepted      again                     refused: token.expired,
keys again                                                                  exchange.answer,
                                                                            check.failed
the replay memory        _check_new, admit        again                     refused: check.failed
was it settled since?    _send_home, settled_as   again                     given back
not settled, forgotten   _send_home, forget       again                     given back
the handler              _run                     again                     retried, or refused; no
                                                                            token goes on now:
                                                                            given back
a handler that blocks    _run (`threads`)         as it returns, or again   retried, or refused
                                                  once its thread has ended
a pause before a retry   _wait                    again                     given back
a connection             _reasoned,               again                     given back
                         _publish_whole
the copy's confirmation  _publish                 again, perhaps a copy     given back, perhaps a
                                                  as well                   copy as well
what is done is noted    _remember                again and a copy; where   given back
                                                  handled, again
what was put back is     _leave                   as its handler settled    as its handler settled
forgotten
the consumer cancelled   _hold_off                again                     given back
a copy for later         put_off                  again, perhaps a copy     given back, perhaps a
                                                  as well                   copy as well
cancelled often          _failed_at_last          again, perhaps a copy     given back, perhaps a
                                                  as well                   copy as well
given back               _put_back, _give_back,   again                     again
                         give_back
its consumer ended       end_and_give_back        again                     given back
an answer                refuse                   acknowledged, or again    acknowledged
                                                  and a copy
=======================  =======================  ========================  ======================

A token that was had for a message and is not used, as its decision was cut off, is nobody's: what
comes again has the message's own token, and is exchanged again.

What is handed over as nobody, in shadow, is held as whatever else is handled.

What somebody else has in hand (`judged`) is theirs throughout, and settled by nobody here.

A thread cannot be cancelled. While one runs, its task holds the message, unsettled, and its slot,
whatever happens: at a deadline, cancelled by a watchdog, its channel closed, and when a service has
no more time to drain. A message that comes back meanwhile, as its channel was lost, is settled as
it has come back (`_goes_on_as`). Once the thread has returned it is handled; where it has raised,
it has failed at its deadline, and is given back where its task was cancelled otherwise. A process
that is killed leaves it to the broker.

An acknowledgement is not awaited: what is cut off before its frame is written (`acks`) comes again.
A service that stops cuts off what has not begun, and gives it back once nothing more is delivered.
So everything happens at least once, and nothing is lost; cancelled means unsettled or given back,
never settled, unless a thread has done its work; whatever else happens, the consumer goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from functools import partial

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.misdirected import Directions, Misdirected
from busauth._amqp.consuming.pause import Pause
from busauth._amqp.consuming.pipeline import Pipeline
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.consuming.settling import Settling
from busauth._amqp.delivery import Delivery, channel_of, handed_directly
from busauth._amqp.handling.guarded import GuardedConsumer, P, R
from busauth._amqp.handling.plan import CallPlan
from busauth._amqp.publishing.publisher import raise_if_ending
from busauth._amqp.publishing.watching import Watcher
from busauth._amqp.settling import settlement
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.returns import Returns
from busauth._callables import documentation_of, short_name_of
from busauth._retold import retold
from busauth.audit import LOGGER, EventKind
from busauth.errors import (
    BadMessage,
    ConfigurationError,
    Deferred,
    HandlerFailed,
    evidence,
)

Course = Callable[[CallPlan, ConsumerRules, GuardContext, Mapping[int, Case]], Pipeline]
"""Makes what deliveries pass."""


class Consumer(GuardedConsumer[P, R]):
    """A guarded handler, as its intake sees it.

    Attributes:
        parks: whether its late messages may wait for their callers.
        blocks: whether its handler runs in threads, which nobody can cancel.
        taken: how many deliveries it was given.
        plan, rules: how its handler is called, and on what terms.
    """

    def __init__(
        self,
        plan: CallPlan,
        rules: ConsumerRules,
        context: GuardContext,
        disposal: Disposal,
        returns: Returns,
        *,
        course: Course = Pipeline,
    ) -> None:
        self.handler: Callable[P, R] = plan.handler
        self.blocks = plan.blocks
        self.plan, self.rules = plan, rules
        self.queue = rules.queue
        self.concurrency = rules.concurrency
        self.parks = rules.callers.policies.parks
        self.taken = 0
        self.__name__ = short_name_of(plan.handler)
        self.__doc__ = documentation_of(plan.handler)
        self._context = context
        self._around = disposal.around
        self._returns = returns
        self._directions = Directions(rules.queue, rules.issued)
        self._running: dict[int, Case] = {}
        self._pipeline = course(plan, rules, context, self._running)
        self._settling = Settling(
            rules,
            context,
            disposal,
            returns=returns,
            directions=self._directions,
            pipeline=self._pipeline,
            release=self._release,
        )
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

    def __repr__(self) -> str:
        return f"<guarded consumer {self.__name__} of {self.queue!r}>"

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
        handed_directly(channel, tag, registered, self.received)

    async def received(self, delivered: DeliveredMessage) -> None:
        """Take one delivery as aiormq hands it over."""
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
        now, task = self._context.clock.now(), asyncio.current_task()
        case = Case(delivery, now, self.queue, delivery.message_id, task=task)
        self._idle.clear()
        self._held.add(id(case))
        self._running[id(case)] = case
        try:
            await self._receive(case)
        except asyncio.CancelledError:
            if delivery.is_settled:
                self._left_settled(case)
            elif not (case.is_acknowledged or delivery.is_lost or self._has_left):
                # Nobody else would settle it: its task ends, and its channel lives on.
                await asyncio.shield(self._cut_off(case))  # cancelled again, it goes on
            raise
        finally:
            if case.returning is None:
                self._over(case)

    async def judged(self, case: Case) -> Deferred | None:
        """Judge and settle what somebody else has in hand; return why that is not possible now.

        Its handler, its copies and its acknowledgement are theirs (`busauth._amqp.judging`).

        Raises:
            ConfigurationError: another thread's loop has this guard's consumers.
        """
        if self._loop is not asyncio.get_running_loop():
            self.open()
        self._running[id(case)] = case
        try:
            deferred = await self._watched(case)
            if deferred is not None:
                self._returns.add(case.delivery)
                self._context.auditor.tell(case, EventKind.DEFERRED, detail=deferred.reason)
        except asyncio.CancelledError:
            self._context.auditor.tell(case, EventKind.ABANDONED, detail="its task was cancelled")
            raise
        finally:
            self._over(case)
        return deferred

    async def _elsewhere(self, delivery: Delivery, error: ConfigurationError) -> None:
        """End a consumer in another thread's loop, which nobody may handle anything for."""
        if not self._is_elsewhere:
            self._is_elsewhere = True
            LOGGER.error(
                "%s is consumed twice, and no more by the second one: %s", self.queue, error
            )
        await settlement.end_and_give_back(delivery)

    def _left_settled(self, case: Case) -> None:
        """Tell of a handler that settled its message itself, and was cancelled after that."""
        self._context.acks.settled(case.delivery)
        if case.has_begun and not (case.is_acknowledged or case.is_leaving):
            self._settling.tell_left(case)

    def _cut_off(self, case: Case) -> "asyncio.Task[None]":
        """Give back, as nobody: somebody has cancelled the handler's task, or what came after."""
        is_failure = self._is_cut_off_often(case)
        if not is_failure and (case.has_begun or not self._is_stopping):
            self._returns.add(case.delivery)
            self._context.auditor.tell(
                case, EventKind.ABANDONED, detail="its task was cancelled; it comes again"
            )
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
            await self._settling.settle(case, failed)
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
        self._pipeline.begin()
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
        if case.watch is not None:
            self._context.watching.let_go(case)

    @property
    def handling(self) -> bool:
        """Return whether a delivery is being handled."""
        return bool(self._held)

    @property
    def held(self) -> int:
        """Return how many deliveries the broker was not told about yet."""
        return len(self._held)

    @property
    def paused(self) -> bool:
        """Return whether it has stopped consuming until a fault is gone."""
        return self._pause.reason is not None

    @property
    def waits_for(self) -> str | None:
        """Return what it waits for while it is paused, for people; None while it consumes."""
        reason = self._pause.reason
        return None if reason is None else evidence(reason.reason)

    @property
    def paused_since(self) -> float | None:
        """Return when it was paused, seconds since the epoch; None while it consumes."""
        return self._pause.since

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
        deferred = await self._watched(case)
        if deferred is None:
            if self._pause.streak:
                self._pause.progressed()
        elif not case.is_acknowledged:
            self._returns.add(case.delivery)
            await self._hold_off(case, deferred)

    def _watched(self, case: Case) -> Awaitable[Deferred | None]:
        """Settle a delivery, before the eyes of whoever watches: usually of nobody."""
        watcher = self._context.watching.watcher
        return self._settled(case) if watcher is None else self._seen(case, watcher)

    async def _seen(self, case: Case, watcher: Watcher) -> Deferred | None:
        with self._context.watching.handling(case, watcher):
            return await self._settled(case)

    async def _settled(self, case: Case) -> Deferred | None:
        """Settle a delivery; return why that is not possible now.

        An error while settling, or one that the pipeline raises, is this program's, and no message
        is refused for it: it would be the whole backlog.
        """
        try:
            if self._around.unseen:
                await self._around.check(case.delivery)
            outcome = case.outcome = await self._pipeline.outcome(case)
            if not self._directions.are_known:
                self._directions.check(case, outcome)
            case.has_begun = True
            await self._settling.settle(case, outcome)
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
        refused = case.outcome = BadMessage("check.failed", found=found, expected="no error")
        try:
            await self._settling.refuse(case, refused)
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
        self._context.auditor.tell(
            case, EventKind.FAULT, detail=f"{name}, not the message's fault; see the log"
        )
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
        if not (self._returns.are_often(delivery) and await self._put_off(case)):
            await self._give_back(case)

    async def _give_back(self, case: Case) -> None:
        case.is_leaving = True
        if await settlement.give_back(case.delivery):
            self._context.acks.settled(case.delivery)

    async def _put_off(self, case: Case) -> bool:
        try:
            return await self._settling.put_off(case)
        except Exception as error:
            self._fault(case, error)
            return False
