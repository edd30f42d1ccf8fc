"""What the tests with a real broker share: names, an audit trail, hostile messages, waiting."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import aio_pika
import aiormq
import pamqp.frame
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pydantic import BaseModel

from busauth import (
    BusOptions,
    Clock,
    Event,
    Guard,
    RetryOptions,
    StaticKeys,
    Verifier,
)
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.topology import arguments_of
from busauth.testing import Issuer

QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
LADDERS = [
    RetryOptions(),
    *(RetryOptions(limit=3, first=first) for first in (0.05, 0.5, 1.2)),
]
"""The ladders of delays that tests use, so that their queues can be deleted."""


class Order(BaseModel):
    """A typed body."""

    id: int


def amqp_url() -> str:
    """Return the broker's address; a missing broker fails, it never skips."""
    url = os.environ.get("BUSAUTH_AMQP_URL")
    if not url:
        pytest.fail("no broker: run `make test`, or set BUSAUTH_AMQP_URL", pytrace=False)
    return url


@dataclass
class Trail:
    """An auditor that remembers, and that can be waited on."""

    events: list[Event] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def kinds(self, queue: str | None = None) -> list[str]:
        """Return what happened, in order."""
        return [event.kind for event in self.events if queue is None or event.queue == queue]

    async def until(
        self, kind: str, *, count: int = 1, seconds: float = 20, message_id: str | None = None
    ) -> list[Event]:
        """Return the events of a kind once there are so many; those of one message if it says."""

        def found() -> list[Event]:
            kinds = (event for event in self.events if event.kind == kind)
            return [event for event in kinds if message_id in (None, event.message_id)]

        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: len(found()) >= count)
        except TimeoutError:
            pytest.fail(f"{len(found())} of {count} {kind!r} in {seconds} s: {self.events}")
        return found()


def guard_for(
    issuer: Issuer, trail: Trail, *, clock: Clock | None = None, **settings: Any
) -> Guard:
    """Return a guard that trusts one issuer's keys as they are now."""
    verifier = Verifier(
        StaticKeys(issuer.jwks()), issuer=issuer.url, audience=issuer.audience, leeway=0
    )
    return Guard(verifier, clock=clock, auditor=trail, **settings)


@dataclass(frozen=True)
class Broker:
    """A connection to the real broker, and queues that are gone after the test."""

    url: str
    connection: aio_pika.abc.AbstractRobustConnection
    channel: AbstractRobustChannel
    prefix: str
    names: list[str] = field(default_factory=list)

    def name(self, queue: str) -> str:
        """Return a name that no other test uses; its queues are deleted after the test."""
        name = f"{self.prefix}.{queue}"
        self.names.append(name)
        return name

    async def clean(self) -> None:
        """Delete every queue around the names that were given out.

        What a test left to consume again and again may have the test's own connection ended just
        now (RabbitMQ 3.10): then by another one, as what is left would be in everybody's way.
        """
        try:
            await self._clean(self.connection)
        except (
            aio_pika.exceptions.AMQPConnectionError,
            aio_pika.exceptions.ChannelInvalidStateError,
        ):
            async with await aio_pika.connect(self.url) as another:
                await self._clean(another)

    async def _clean(self, connection: aio_pika.abc.AbstractConnection) -> None:
        async with await connection.channel() as channel:
            for name in self.names:
                for retry in LADDERS:
                    for neighbour in arguments_of(name, BusOptions(retry=retry), parks=True):
                        await channel.queue_delete(neighbour)
                await channel.queue_delete(f"{name}.history")

    async def declare(self, queue: str, **arguments: Any) -> str:
        """Declare a quorum queue with its two neighbours, as an operator would."""
        name = self.name(queue)
        for each in (name, f"{name}.dead", f"{name}.rejected"):
            extra = arguments if each == name else {}
            await self.channel.declare_queue(each, durable=True, arguments={**QUORUM, **extra})
        return name

    async def publish(
        self,
        queue: str,
        body: bytes = b'{"id": 1}',
        *,
        token: str | None = None,
        headers: dict[str, Any] | None = None,
        **properties: Any,
    ) -> None:
        """Publish as anybody could, past busauth."""
        identity = {} if token is None else {"authorization": f"Bearer {token}"}
        message = aio_pika.Message(body, headers={**identity, **(headers or {})}, **properties)
        await self.channel.default_exchange.publish(message, queue)

    async def count(self, queue: str) -> int:
        """Return how many messages are ready in a queue."""
        channel = await self.channel.get_underlay_channel()
        return (await channel.queue_declare(queue, passive=True)).message_count or 0

    async def settles_at(self, queue: str, count: int, *, seconds: float = 15) -> None:
        """Wait until a queue holds so many ready messages: the broker counts them now and then."""
        found = -1
        try:
            async with asyncio.timeout(seconds):
                while (found := await self.count(queue)) != count:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{queue} holds {found} messages: expected {count}")

    async def take(self, queue: str) -> list[AbstractIncomingMessage]:
        """Remove and return what is in a queue."""
        found = []
        source = await self.channel.get_queue(queue)
        while (message := await source.get(fail=False)) is not None:
            await message.ack()
            found.append(message)
        return found

    async def one(self, queue: str) -> AbstractIncomingMessage:
        """Wait for a queue's only message, and take it."""
        await self.settles_at(queue, 1)
        (message,) = await self.take(queue)
        return message


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Broker]:
    """Connect, and delete every queue that was named after this connection's prefix."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        broker = Broker(url, connection, channel, f"t{uuid4().hex[:10]}")
        try:
            yield broker
        finally:
            await broker.clean()


@asynccontextmanager
async def consuming(
    broker: Broker, queue: str, callback: Callable[[AbstractIncomingMessage], Awaitable[None]]
) -> AsyncIterator[None]:
    """Consume a queue the plain aio-pika way, the guarded ones as from their second delivery on."""
    channel = await broker.connection.channel()
    await channel.set_qos(prefetch_count=100)
    source = await channel.get_queue(queue)
    tag = await source.consume(callback)
    if isinstance(callback, Consumer):
        underlay = cast("Channel", await channel.get_underlay_channel())
        callback.handed_directly(underlay, tag, callback)
    try:
        yield
        if isinstance(callback, Consumer) and not channel.is_closed:
            await source.cancel(tag)
            async with asyncio.timeout(3):
                await callback.idle()
    finally:
        await channel.close()


def short_string(raw: bytes) -> bytes:
    """Encode a short string (AMQP 0-9-1, section 4.2.5.3)."""
    return bytes([len(raw)]) + raw


def long_table(raw: bytes) -> bytes:
    """Encode a table from its encoded members."""
    return struct.pack(">I", len(raw)) + raw


async def publish_raw(
    url: str, key: str | bytes, flags: int, properties: bytes, *, exchange: str = ""
) -> None:
    """Publish a message whose bytes no client library would write."""
    connection = await aiormq.connect(url)
    channel = cast("Channel", await connection.channel(publisher_confirms=False))
    body = b"{}"
    payload = struct.pack(">HHQH", 60, 0, len(body), flags) + properties
    header = struct.pack(">BHI", 2, channel.number, len(payload)) + payload + b"\xce"
    frames = (
        raw_publish(channel.number, exchange, key),
        header,
        pamqp.frame.marshal(ContentBody(body), channel.number),
    )
    await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False))
    await channel.basic_qos(prefetch_count=1)  # answered after the publication was read
    await connection.close()


def raw_publish(channel: int, exchange: str, key: str | bytes) -> bytes:
    """Encode a publication with any bytes for a routing key."""
    raw = key.encode() if isinstance(key, str) else key
    method = struct.pack(">IH", Basic.Publish.index, 0)
    payload = method + short_string(exchange.encode()) + short_string(raw) + b"\0"
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def all_text(messages: Iterable[AbstractIncomingMessage]) -> str:
    """Return everything that messages carry outside of their bodies, as text."""
    return "\n".join(repr(message.info()) for message in messages)
