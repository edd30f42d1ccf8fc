"""How a service takes deliveries from one queue: in bulk, and one by one after a broken connection.

A message that the client library cannot read, or that kills the process, breaks the connection each
time it is delivered, and everything that was prefetched with it is counted as delivered once more.
With the full prefetch, one such message would drag its neighbours over the delivery limit. So a
restored consumer takes one message at a time, until it meets one that was never delivered before:
then it is past what was in hand when the connection broke.
"""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from typing import cast

from aio_pika.abc import (
    AbstractIncomingMessage,
    AbstractQueue,
    AbstractRobustChannel,
    AbstractRobustConnection,
)
from aiormq.channel import Channel

from busauth.amqp import topology
from busauth.amqp.consumer import GuardedConsumer
from busauth.amqp.delivery import Delivery
from busauth.amqp.options import BusOptions
from busauth.audit import LOGGER
from busauth.late.proof import Route

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Binding:
    """Lets a queue receive what is published to an exchange.

    Args:
        exchange: the exchange's name; declared durable.
        routing_key: the binding key; for a topic exchange a pattern.
        kind: the exchange's type.
    """

    exchange: str
    routing_key: str = "#"
    kind: str = "topic"

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
    """

    def __init__(
        self, consumer: GuardedConsumer, bindings: tuple[Binding, ...], options: BusOptions
    ) -> None:
        self.consumer = consumer
        self._bindings = bindings
        self._options = options
        self._channel: AbstractRobustChannel | None = None
        self._queue: AbstractQueue | None = None
        self._tag: str | None = None
        self._careful = False
        self._widening: asyncio.Task[None] | None = None

    async def open(self, connection: AbstractRobustConnection) -> None:
        """Declare the queues and consume, on a channel of their own.

        Raises:
            ConfigurationError: a queue exists with other arguments.
        """
        self.consumer.open()
        channel = self._channel = connection.channel()
        await channel.initialize()
        self._queue = await self.declare(channel)
        await channel.set_qos(prefetch_count=1)  # what a restored channel begins with
        channel.reopen_callbacks.add(self._reopened)
        await self._consume_in_bulk(channel, self._queue)

    async def declare(self, channel: AbstractRobustChannel) -> AbstractQueue:
        """Declare the queue, those around it, and the exchanges that it receives from.

        Raises:
            ConfigurationError: a queue exists with other arguments.
        """
        name = self.consumer.queue
        if self._options.declare:
            await topology.declare(channel, name, self._options, parks=self.consumer.parks)
        queue = await channel.get_queue(name)
        for binding in self._bindings:
            await channel.declare_exchange(binding.exchange, binding.kind, durable=True)
            await queue.bind(binding.exchange, binding.routing_key)
        return queue

    async def busy(self) -> bool:
        """Let the handlers finish, and return whether the queue has more for its consumer.

        Asked twice on the consumer's own channel: with the first answer, whatever the broker had
        delivered is on its way, and with the second it has arrived.
        """
        await self.consumer.idle()
        if self._channel is None or self.consumer.paused:
            return False
        channel = await self._channel.get_underlay_channel()
        await channel.queue_declare(self.consumer.queue, passive=True)
        declared = await channel.queue_declare(self.consumer.queue, passive=True)
        return bool(declared.message_count) or self.consumer.handling

    async def close(self) -> None:
        """Stop deliveries; a connection that is gone has stopped them already."""
        if self._widening is not None:
            self._widening.cancel()
        await self.consumer.close()
        queue, tag = self._queue, self._tag
        self._queue = self._tag = None
        if queue is None or tag is None or queue.channel.is_closed:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await queue.cancel(tag)
        except Exception as error:
            LOGGER.info("a consumer of %s could not be cancelled: %s", queue.name, error)

    async def leave(self) -> None:
        """Close the channel, behind every acknowledgement that is on its way."""
        channel, self._channel = self._channel, None
        if channel is None or channel.is_closed:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await channel.close()
        except Exception as error:
            LOGGER.info("a channel of %s was not closed: %s", self.consumer.queue, error)

    async def _consume_in_bulk(self, channel: AbstractRobustChannel, queue: AbstractQueue) -> None:
        """Set the prefetch below the robust channel, which would restore it."""
        underlay = await channel.get_underlay_channel()
        await underlay.basic_qos(prefetch_count=self._options.prefetch)
        take = self._take  # each look-up makes another bound method
        self._tag = tag = await queue.consume(take)
        self.consumer.handed_directly(cast("Channel", underlay), tag, take)

    def _reopened(self, *_: object) -> None:
        self._careful = True

    async def _take(self, message: AbstractIncomingMessage) -> None:
        if self._careful and not message.redelivered:
            self._careful = False
            loop = asyncio.get_running_loop()
            self._widening = loop.create_task(self._widen(), context=Context())
        await self.consumer.take(Delivery.of(message))

    async def _widen(self) -> None:
        """Consume in bulk again, and only then end the careful consumer: there is always one."""
        channel, queue, careful = self._channel, self._queue, self._tag
        if channel is None or queue is None or careful is None:
            return
        try:
            await self._consume_in_bulk(channel, queue)
            await queue.cancel(careful)
            self.consumer.forget(careful)
        except Exception as error:
            LOGGER.info("%s: still taking one message at a time: %s", queue.name, error)
