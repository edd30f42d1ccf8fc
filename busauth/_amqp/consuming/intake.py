"""How a service takes deliveries from one queue, and goes on when the broker has ended that.

Consuming ends with its connection or channel, with the queue, with a handler past the broker's
consumer timeout, or for a pause. Whatever it was, it begins again in one way: the queues are
declared, and consumed under a new tag, as a broker may hold on to the old one (docs/adr/0017).
Nothing is left to the client library's own recovery but the connection.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aiormq import spec
from aiormq.channel import Channel

from busauth._amqp import topology
from busauth._amqp.connecting.connect import below
from busauth._amqp.connecting.patience import GOODBYE, answered, closed
from busauth._amqp.connecting.rights import BIND, CONSUME, DECLARE_EXCHANGE, permitted
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.names import check_name
from busauth._amqp.options import BusOptions
from busauth._amqp.publishing.publisher import was_cancelled
from busauth._arguments import checked_class
from busauth._messages.proof import Route
from busauth.audit import LOGGER
from busauth.errors import Deferred

_DECLARING = 120.0
"""Seconds to wait for the broker's word; a channel without it is given up."""

_FIRST, _LONGEST = 1.0, 30.0
"""Seconds between attempts to consume again."""


@checked_class
@dataclass(frozen=True, slots=True)
class Binding:
    """Lets a queue receive what is published to an exchange.

    Args:
        exchange: the exchange's name; declared durable.
        routing_key: the binding key; for a topic exchange a pattern.
        kind: the exchange's type.

    Raises:
        ConfigurationError: no broker takes such a name; to the default exchange, whose name is
            empty, every queue is bound already.
    """

    exchange: str
    routing_key: str = "#"
    kind: str = "topic"

    def __post_init__(self) -> None:
        check_name("exchange", self.exchange)
        if self.routing_key:
            check_name("routing_key", self.routing_key)

    def route(self) -> Route:
        """Return which publications come this way."""
        if self.kind in ("direct", "topic"):
            return Route(self.exchange, self.routing_key, exact=self.kind == "direct")
        return Route(self.exchange, "#")  # fanout, headers: the key plays no part


class Intake:
    """One queue's deliveries to its guarded consumer.

    Args:
        consumer: what handles and settles them.
        bindings: exchanges that the queue receives from.
        options: prefetch, limits, whether to declare.

    Attributes:
        consumer, bindings: as given.
    """

    def __init__(
        self, consumer: Consumer[..., Any], bindings: tuple[Binding, ...], options: BusOptions
    ) -> None:
        self.consumer = consumer
        self.bindings = bindings
        self._options = options
        self._line: _Line | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def open(
        self, connection: AbstractRobustConnection, waits_for: Deferred | None = None
    ) -> None:
        """Declare the queues and consume, on a channel of their own.

        Args:
            connection: what is consumed on.
            waits_for: what must be there before anything is consumed; None for nothing.

        Raises:
            ConfigurationError: a queue exists with other arguments, or a right is missing.
        """
        self.consumer.open()
        line = None
        if waits_for is None:
            line = await self._begin(connection)
        else:
            await self.declare(connection)
            self.consumer.wait_for(waits_for)
        keeping = self._keep(connection, line)
        self._keeping = asyncio.get_running_loop().create_task(keeping, context=Context())

    async def declare(self, connection: AbstractRobustConnection) -> None:
        """Declare the queue, those around it, and the exchanges that it receives from.

        Where an operator does that, it is only looked whether the queue is there.

        Args:
            connection: on a channel that may be closed for it.

        Raises:
            ConfigurationError: a queue exists with other arguments, or is not there; or a right is
                missing.
            ConnectionError: the broker has not answered.
        """
        await answered(below(connection), self._declare(connection), _DECLARING)

    async def _declare(self, connection: AbstractRobustConnection) -> None:
        async with connection.channel() as channel:
            await self._declare_on(channel)

    async def _declare_on(self, channel: AbstractRobustChannel) -> None:
        name = self.consumer.queue
        if not self._options.declare:
            await topology.check(channel, name)
            return
        await topology.declare(channel, name, self._options, parks=self.consumer.parks)
        queue = await channel.get_queue(name)
        for binding in self.bindings:
            with permitted(DECLARE_EXCHANGE):
                await channel.declare_exchange(binding.exchange, binding.kind, durable=True)
            with permitted(BIND):
                await queue.bind(binding.exchange, binding.routing_key)

    def doubt(self) -> str | None:
        """Return why nothing is taken at this moment, for people; None where something is."""
        queue, reason = self.consumer.queue, self.consumer.waits_for
        if reason is not None:
            return f"the consumer of {queue!r} is paused: {reason}"
        if self._keeping is None:
            return f"the consumer of {queue!r} is starting or stopping"
        if self._line is None or not self._line.consumes:
            return f"the consumer of {queue!r} was ended, and begins again"
        return None

    async def busy(self) -> bool:
        """Let the handlers finish, and return whether the queue has more for its consumer.

        Asked twice on the consumer's own channel: with the first answer, whatever the broker had
        delivered is on its way, and with the second it has arrived.
        """
        await self.consumer.idle()
        if self._line is None or self.consumer.paused:
            return False
        channel = self._line.channel
        await answered(channel, channel.queue_declare(self.consumer.queue, passive=True))
        asked = channel.queue_declare(self.consumer.queue, passive=True)
        declared = await answered(channel, asked)
        return bool(declared.message_count) or self.consumer.handling

    async def close(self) -> None:
        """Stop deliveries; a connection that is gone has stopped them already."""
        self.consumer.stop()
        try:
            await self._stay_ended()
            if self._line is not None:
                await self._line.cancel()
        finally:
            self.consumer.stopped()

    async def leave(self) -> None:
        """Close the channel, behind every acknowledgement that is on its way."""
        await self._stay_ended()
        self.consumer.leave()
        line, self._line = self._line, None
        if line is not None:
            await line.close()
        await self.consumer.close()  # callers are asked to come back for as long as it drains

    async def _stay_ended(self) -> None:
        """Consume no more by itself; asked again where a deadline cut it off."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await self.consumer.close()

    async def _begin(self, connection: AbstractRobustConnection) -> "_Line":
        """Declare on a channel that may be closed for it; consume on the one that is there."""
        await self.declare(connection)
        if self._line is None or self._line.channel.is_closed:
            # Below aio-pika, which would restore the channel by itself.
            way = below(connection)
            channel = await answered(way, way.channel(publisher_confirms=False))
            self._line = _Line(cast("Channel", channel), self.consumer)
        with permitted(CONSUME):
            await self._line.consume(self._options.prefetch)
        return self._line

    async def _keep(self, connection: AbstractRobustConnection, line: "_Line | None") -> None:
        if line is None:
            line = await self._begin_again(connection)
            LOGGER.info("%s is consumed: what it waited for is there", self.consumer.queue)
        while True:
            await line.ended()
            line = await self._begin_again(connection)

    async def _begin_again(self, connection: AbstractRobustConnection) -> "_Line":
        delay = _FIRST
        while True:
            with _telling(f"{self.consumer.queue} is not consumed, tried again in {delay:g} s"):
                await self.consumer.ready()
                await connection.ready()
                return await self._begin(connection)
            await asyncio.sleep(delay)
            delay = min(_LONGEST, 2 * delay)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Tell what failed and go on; aiormq cancels what waits on a channel that was closed."""
    try:
        yield
    except asyncio.CancelledError:
        if was_cancelled():
            raise
        LOGGER.warning("%s: its channel was closed", what)
    except Exception as error:
        LOGGER.warning("%s: %s: %s", what, type(error).__name__, error)


class _Line:
    """One channel, and the one consumer on it at a time."""

    def __init__(self, channel: Channel, consumer: Consumer[..., Any]) -> None:
        self.channel = channel
        self._consumer = consumer
        self._queue = consumer.queue
        self._tag = ""
        self._begun = False
        self._ended = asyncio.Event()
        consumer.stopped_by_pause(self._ended.set)
        channel.closing.add_done_callback(lambda _: self._ended.set())
        channel.on_consumer_cancel_callbacks.add(self._cancelled)

    async def consume(self, prefetch: int) -> None:
        """Consume under a new tag."""
        self._begun = False
        self._ended.clear()
        self._tag = f"busauth.{uuid4().hex}"
        channel = self.channel
        await answered(channel, channel.basic_qos(prefetch_count=prefetch))
        received = self._consumer.received
        consuming = channel.basic_consume(self._queue, received, consumer_tag=self._tag)
        await answered(channel, consuming)
        self._begun = True

    @property
    def consumes(self) -> bool:
        """Return whether the broker has said that it delivers, and not ended that since."""
        return self._begun and not self._ended.is_set()

    async def ended(self) -> None:
        """Return once nothing more is delivered."""
        await self._ended.wait()

    async def cancel(self) -> None:
        """Stop deliveries, if the broker answers in time."""
        if self._tag not in self.channel.consumers or self.channel.is_closed:
            return
        with _telling(f"a consumer of {self._queue} was not cancelled"):
            await answered(self.channel, self.channel.basic_cancel(self._tag), GOODBYE)

    async def close(self) -> None:
        """Close the channel, if the broker answers in time."""
        with _telling(f"a channel of {self._queue} was not closed"):
            await closed(self.channel)

    def _cancelled(self, frame: spec.Basic.Cancel) -> None:
        """The queue is gone, or a handler took longer than the broker waits."""
        if frame.consumer_tag != self._tag:
            return
        LOGGER.warning("%s: the broker has ended its consumer; it is consumed again", self._queue)
        self._consumer.taken_back(self._tag)
        self._ended.set()
