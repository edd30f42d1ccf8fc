"""Judges messages that somebody else has in hand, by the very course of a consumer.

The course is `Consumer.judged`: what a consumer does with a delivery, from its token to its copy,
and to what is noted as done. Where it calls its handler, the block of ``async with`` stands; where
it publishes a copy, whoever has the message does. Nothing is decided here.
"""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Annotated, Any

from aio_pika.abc import AbstractIncomingMessage

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.handling.plan import compile_plan
from busauth._amqp.judging.course import Course, needed
from busauth._amqp.judging.received import InHand, Received, in_hand
from busauth._amqp.judging.standing_in import (
    HandedOn,
    SettledByOthers,
    Unanswered,
    with_frames_of,
)
from busauth._amqp.judging.verdicts import Accepted, Copy, Held, Judge, NotNow, Outcome, Refusal
from busauth._amqp.publishing.publisher import Publisher
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.returns import Returns
from busauth._amqp.settling.surroundings import Surroundings
from busauth._amqp.topology import Tail, parked_queue
from busauth._arguments import Range, kind_of
from busauth._decision import Parked
from busauth._messages.proof import Proven
from busauth._messages.replay import Duplicate
from busauth.caller import Caller
from busauth.errors import ConfigurationError, Deferred, PublishError

FrameBytes = Annotated[int, Range(unit="bytes", least=4096)]
FRAME: FrameBytes = 131_072
"""Bytes of a frame that RabbitMQ and most clients agree on by themselves."""


class ConsumersJudge(Judge):
    """Judges as the consumer of its queue would.

    Args:
        rules: on what terms.
        context: what all consumers of a guard share.
        waiting: where what failed waits for another attempt.
        frame_max: bytes of a frame on the connection that copies are published on.
    """

    def __init__(
        self, rules: ConsumerRules, context: GuardContext, waiting: Tail, *, frame_max: int
    ) -> None:
        self.queue = rules.queue
        self._options, self._clock = context.options, context.clock
        unanswered = Unanswered((), per_second=1.0, clock=context.clock, publisher=Publisher())
        alone = replace(
            context,
            acks=SettledByOthers(),
            replies=unanswered,
            auditor=context.auditor.noting("settled by who had it in hand"),
        )
        disposal = Disposal(
            queue=rules.queue,
            token_header=context.header,
            publisher=HandedOn(),
            outlet=with_frames_of(frame_max),
            retries=waiting,
            around=Surroundings(rules.queue),
        )
        # How long somebody's block may take is for them to say: `asyncio.timeout` does.
        unhurried = replace(rules, deadline=None)
        plan = compile_plan(_in_block)
        self._consumer: Consumer[..., None] = Consumer(
            plan, unhurried, alone, disposal, Returns(counted=False)
        )
        self._streak = 0

    def __call__(self, message: Received | AbstractIncomingMessage) -> "Judgement":
        """Return what judges one message as it is entered: ``async with judge(message) as judged``.

        Raises:
            ConfigurationError: it was settled already, came from another queue, or is no message.
        """
        return Judgement(self, in_hand(message, self.queue), self._clock.now())

    def course(self, case: Case) -> Coroutine[Any, Any, Deferred | None]:
        """Return what judges a delivery, and goes on until it is done."""
        return self._consumer.judged(case)

    def decided(self) -> None:
        """Begin with a short pause again: a message could be decided."""
        self._streak = 0

    def told(self, case: Case, copy: Copy) -> Outcome:
        """Return what became of a message that a copy takes over from."""
        self.decided()
        refused = case.outcome
        code, detail = (refused.code, refused.detail) if refused is not None else ("", "")
        if isinstance(refused, Parked) and copy.queue == parked_queue(self.queue):
            return Held(code=code, detail=detail, copy=copy)
        return Refusal(code=code, detail=detail, copy=copy)

    def told_without_copy(self, case: Case, deferred: Deferred | None) -> Outcome:
        """Return what became of a message that nothing takes over from."""
        if deferred is not None:
            return self._not_now(deferred)
        self.decided()
        refused = case.outcome or Duplicate("replay.duplicate")
        return Refusal(code=refused.code, detail=refused.detail, copy=None)

    def _not_now(self, deferred: Deferred) -> NotNow:
        options = self._options
        longest = min(options.pause_longest, options.pause_first * 2.0 ** min(self._streak, 32))
        self._streak += 1
        # With jitter, so that replicas do not come back as one; it guards nothing.
        seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311 -- see above
        return NotNow(reason=deferred.reason, seconds=seconds)


class Judgement(AbstractAsyncContextManager[Outcome]):
    """One message, judged as its block is entered."""

    def __init__(self, judge: ConsumersJudge, delivery: InHand, now: float) -> None:
        self._judge = judge
        self._delivery = delivery
        self._case = Case(delivery, now, judge.queue, delivery.message_id)
        self._course = Course(partial(judge.course, self._case))
        self._is_accepted = False
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Outcome:
        """Judge it.

        Raises:
            ConfigurationError: it was entered already, or the guard's consumers run in another
                thread's event loop.
        """
        if self._course.has_begun:
            raise ConfigurationError("judged already: expected one block for each delivery")
        self._task = asyncio.current_task()
        need = await self._course.go_on()
        if not isinstance(need, _Block):
            return self._told(need)
        self._is_accepted = True
        self._judge.decided()
        return Accepted(
            caller=need.caller,
            proven=need.proven,
            attempt=self._case.attempt or 1,
            _failed=self._failed,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note as done what was done.

        Raises:
            Deferred: the program failed at that: give the message back.
            ConfigurationError: this is another task than the one that has entered it.
        """
        course = self._course
        if course.is_over:
            return
        self._check_task()
        try:
            await course.go_on(self._seen_by_course(error))
            while not course.is_over:  # a copy more, of which nobody hears any more
                await course.go_on(PublishError("the block of its message is over"))
        except BaseException as raised:
            if raised is not error:
                raise
        if error is None and course.result is not None:
            raise course.result

    def _seen_by_course(self, error: BaseException | None) -> BaseException | None:
        """Return what an error in the block is to the course: the handler's, or a copy's."""
        if error is None:
            return None
        if self._is_accepted:
            self._delivery.put_back()
            return error
        if not isinstance(error, Exception):
            return error
        unconfirmed = PublishError(f"its copy was not confirmed: {type(error).__name__}")
        unconfirmed.__cause__ = error
        return unconfirmed

    async def _failed(self, error: Exception) -> Outcome:
        if not isinstance(error, BaseException):  # None would be a block that did its work
            raise ConfigurationError(
                f"failed(...): got {kind_of(error)}, expected the exception that its work raised"
            )
        if self._course.is_over or not self._is_accepted:
            raise ConfigurationError(
                "failed(...): expected it once, inside of the block of an accepted message"
            )
        self._check_task()
        self._is_accepted = False
        return self._told(await self._course.go_on(error))

    def _check_task(self) -> None:
        """The caller is in one task's context, and can be taken out again in no other one."""
        if asyncio.current_task() is not self._task:
            raise ConfigurationError(
                "judged in another task: expected one task from `async with` to its end"
            )

    def _told(self, copy: Copy | None) -> Outcome:
        if copy is None:
            return self._judge.told_without_copy(self._case, self._course.result)
        return self._judge.told(self._case, copy)


class _Block:
    """What a course needs in place of a handler.

    Attributes:
        caller, proven: what a handler would be called with.
    """

    def __init__(self, caller: Caller, proven: Proven | None) -> None:
        self.caller, self.proven = caller, proven


async def _in_block(caller: Caller, proven: Proven | None) -> None:
    """Be the handler: somebody else's block is."""
    await needed(_Block(caller, proven))
