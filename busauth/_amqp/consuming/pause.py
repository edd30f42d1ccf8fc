"""A consumer that cannot decide stops consuming, gives back what it holds, and comes back later.

While keys or queues are out of reach, a consumer that kept its deliveries would run into the
broker's timeout, and one that only gave them back would get them again at once. So it is cancelled
first; what it holds goes back after that, once; and it consumes again when the fault is gone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass

import aiormq.exceptions
from aio_pika.exceptions import ChannelInvalidStateError
from aiormq.abc import ConsumerCallback
from aiormq.channel import Channel

from busauth._amqp.connecting.patience import answered
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing.publisher import was_cancelled
from busauth._retold import words_of
from busauth.audit import Auditor, Event, EventKind
from busauth.clock import Clock
from busauth.errors import Deferred

PutBack = Callable[[], Awaitable[None]]
"""Puts an undecided delivery back, once its consumer was cancelled."""

_PROBE_SECONDS = 60.0
"""Seconds to wait for the broker's word; a channel without it is given up."""

_GONE = (ChannelInvalidStateError, aiormq.exceptions.AMQPError, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Cancelled:
    """A consumer as it was before it was cancelled."""

    channel: Channel
    tag: str
    callback: ConsumerCallback


class Pause:
    """The pauses of one guarded consumer.

    Args:
        queue: what is consumed.
        first, longest: seconds of the shortest and the longest pause.
        clock: what the pauses are slept on.
        auditor: is told of each pause and each resumption.

    Attributes:
        reason: what the consumer waits for; None while it consumes.
        since: when it began to wait, seconds since the epoch; None while it consumes.
        streak: how many pauses followed each other; 0 once messages were decided for a while.
    """

    def __init__(
        self, queue: str, *, first: float, longest: float, clock: Clock, auditor: Auditor
    ) -> None:
        self._queue = queue
        self._first = first
        self._longest = longest
        self._clock = clock
        self._tell = auditor
        self.streak = 0
        self._deferred_at = 0.0
        self._cancelled: list[_Cancelled] = []
        self._stopping: dict[tuple[Channel, str], asyncio.Task[None]] = {}
        self._resuming: set[asyncio.Task[None]] = set()
        self.reason: Deferred | None = None
        self.since: float | None = None
        self._consuming = asyncio.Event()
        self._consuming.set()
        self._stopped_owner: Callable[[], None] | None = None
        self._closed = False

    async def over(self) -> None:
        """Return once it consumes, or may."""
        await self._consuming.wait()

    def owned_by(self, stopped: Callable[[], None]) -> None:
        """Leave it to somebody else to consume again once the pause is `over`.

        Args:
            stopped: is called when a consumer was cancelled for a pause.
        """
        self._stopped_owner = stopped

    def begin(self, deferred: Deferred) -> None:
        """Pause before anything came."""
        if self.reason is None and not self._closed:
            self._begin(deferred)

    def progressed(self) -> None:
        """Note that a message could be decided: after a while, pauses are short again."""
        if self._clock.monotonic() - self._deferred_at > self._longest:
            self.streak = 0

    async def hold_off(self, delivery: Delivery, deferred: Deferred, put_back: PutBack) -> None:
        """Stop consuming, and only then put this delivery back."""
        self.begin(deferred)
        channel, tag = delivery.channel, delivery.consumer_tag
        if channel is None or delivery.is_lost:
            return  # the broker has taken the delivery back already
        if tag is not None:
            await asyncio.shield(self._stopped(channel, tag))
        await put_back()

    def open(self) -> None:
        """Allow pauses to end by consuming again; those before `close` are forgotten."""
        self._closed = False
        self._consuming = asyncio.Event()  # the last one may belong to another loop
        self._end()
        self._cancelled.clear()
        self._stopping.clear()
        self._resuming.clear()

    async def close(self) -> None:
        """End the pause without resuming, this one and later ones: the consumer is going away."""
        self._closed = True
        resuming = tuple(self._resuming)
        for task in resuming:
            task.cancel()
        await asyncio.gather(*resuming, return_exceptions=True)

    def _begin(self, deferred: Deferred) -> None:
        self.reason, self.since = deferred, self._clock.now()
        self._consuming.clear()
        self._deferred_at = self._clock.monotonic()
        self._say(EventKind.DEFERRED, deferred.reason)
        resuming = asyncio.get_running_loop().create_task(self._resume(), context=Context())
        self._resuming.add(resuming)
        resuming.add_done_callback(self._resuming.discard)

    def _end(self) -> None:
        self.reason = self.since = None
        self._consuming.set()

    def _stopped(self, channel: Channel, tag: str) -> "asyncio.Task[None]":
        """Stop it once; again where a client library has brought it back in the meantime."""
        key = (channel, tag)
        stopping = self._stopping.get(key)
        if stopping is None or (stopping.done() and tag in channel.consumers):
            # Of closed channels nothing is kept: in a long pause, each reconnection leaves some.
            self._stopping = {
                at: each for at, each in self._stopping.items() if not at[0].is_closed
            }
            self._cancelled = [each for each in self._cancelled if not each.channel.is_closed]
            loop = asyncio.get_running_loop()
            stopping = loop.create_task(self._stop(channel, tag), context=Context())
            self._stopping[key] = stopping
        return stopping

    async def _stop(self, channel: Channel, tag: str) -> None:
        callback = channel.consumers.get(tag)
        if callback is None:
            return
        try:
            await answered(channel, channel.basic_cancel(tag), None)
        except _GONE:
            return  # the channel is closed: nothing is delivered on it any more
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            return  # as above, in aiormq's words
        if self._stopped_owner is not None:
            self._stopped_owner()
        else:
            self._cancelled.append(_Cancelled(channel, tag, callback))

    async def _resume(self) -> None:
        while True:
            delay = min(self._longest, self._first * 2.0 ** min(self.streak, 32))
            self.streak += 1
            # With jitter, so that replicas do not come back as one; it guards nothing.
            await self._clock.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 -- see above
            if await self._fault_is_gone():
                break
        while unfinished := [task for task in self._stopping.values() if not task.done()]:
            await asyncio.wait(unfinished)  # more may have begun by the time that these are done
        cancelled, self._cancelled = self._cancelled, []
        self._stopping.clear()
        self._say(EventKind.RESUMED, None)
        self._end()
        for consumer in cancelled:
            await self._consume_again(consumer)

    async def _fault_is_gone(self) -> bool:
        probe = self.reason.probe if self.reason else None
        if probe is None:
            return True
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await probe()
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            return False  # something that it awaited was cancelled: no answer
        except Exception as error:
            self._say(EventKind.DEFERRED, words_of(error) or type(error).__name__)
            return False
        return True

    async def _consume_again(self, consumer: _Cancelled) -> None:
        channel = consumer.channel
        if channel.is_closed or consumer.tag in channel.consumers:
            return  # a robust connection has restored the consumer on a new channel by itself
        try:
            consuming = channel.basic_consume(
                self._queue, consumer.callback, consumer_tag=consumer.tag
            )
            await answered(channel, consuming, None)
        except Exception as error:
            self._say(EventKind.ABANDONED, f"could not consume again: {words_of(error)}")

    def _say(self, kind: EventKind, detail: str | None) -> None:
        self._tell(Event(kind=kind, queue=self._queue, at=self._clock.now(), detail=detail))
