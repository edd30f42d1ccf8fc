"""What the cases about expiry, limits, dead letters, quorum queues and streams share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pamqp.commands import Basic, Confirm, Queue

from tests.conformance.client import SECONDS, Content, RawChannel
from tests.conformance.conftest import Server

CLASSIC = {"x-queue-type": "classic"}
QUORUM = {"x-queue-type": "quorum"}
STREAM = {"x-queue-type": "stream"}
TYPES = ("classic", "quorum")


async def queue(server: Server, channel: RawChannel, name: str = "q", /, **arguments: Any) -> str:
    """Declare a durable queue; `message_ttl=5` is the argument `x-message-ttl`."""
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return await server.queue(channel, name, durable=True, arguments=table)


async def bind(channel: RawChannel, queue: str, exchange: str, key: str = "") -> None:
    await channel.call(Queue.Bind(queue=queue, exchange=exchange, routing_key=key))


async def sink(server: Server, channel: RawChannel, name: str = "dead") -> tuple[str, str]:
    """A fanout exchange and the one queue that is bound to it."""
    exchange = await server.exchange(channel, "fanout", f"{name}.x")
    dead = await queue(server, channel, name)
    await bind(channel, dead, exchange)
    return exchange, dead


async def eventually(ask: Callable[[], Awaitable[Any]], wanted: Callable[[Any], Any] = bool) -> Any:
    """Ask until the answer is as wanted, and return it."""
    async with asyncio.timeout(SECONDS):
        while not wanted(answer := await ask()):
            await asyncio.sleep(0.005)
    return answer


async def arrival(channel: RawChannel, queue: str) -> Content:
    """The queue's next message, waited for and acknowledged."""
    content = await eventually(lambda: channel.get(queue, no_ack=True))
    assert isinstance(content, Content)
    return content


async def until_count(server: Server, channel: RawChannel, queue: str, count: int) -> None:
    """Wait until so many messages are ready."""
    await eventually(lambda: server.count(channel, queue), lambda found: found == count)


async def consume(channel: RawChannel, queue: str, **values: Any) -> str:
    """Start a consumer and return its tag."""
    reply = await channel.call(Basic.Consume(queue=queue, **values))
    return str(reply.consumer_tag)


async def confirming(channel: RawChannel) -> RawChannel:
    await channel.call(Confirm.Select())
    return channel


async def take(channel: RawChannel, queue: str) -> Content:
    """The queue's next message, waited for and left unacknowledged."""
    content = await eventually(lambda: channel.get(queue))
    assert isinstance(content, Content)
    return content


def reject(channel: RawChannel, content: Content, *, requeue: bool = False) -> None:
    channel.send(Basic.Reject(delivery_tag=content.method.delivery_tag, requeue=requeue))


def deaths(content: Content) -> list[tuple[str, str, int]]:
    """(queue, reason, count) of each entry of x-death."""
    return [(e["queue"], e["reason"], e["count"]) for e in content.headers["x-death"]]
