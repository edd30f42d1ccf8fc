"""What the cases about refusals share: the whole close is told, and that nothing more is closed."""

from collections.abc import Iterable
from typing import Any

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Exchange, Queue

from tests.conformance.client import ChannelClosed, Closed, ConnectionClosed, RawChannel
from tests.conformance.conftest import Server


class AnyQueueDeclare(Queue.Declare):
    """queue.declare with whatever name fits a short string."""

    def validate(self) -> None:
        """Let the broker judge."""


class AnyExchangeDeclare(Exchange.Declare):
    """exchange.declare with whatever name fits a short string."""

    def validate(self) -> None:
        """Let the broker judge."""


class AnyQueueDelete(Queue.Delete):
    """queue.delete with whatever name fits a short string."""

    def validate(self) -> None:
        """Let the broker judge."""


class AnyExchangeDelete(Exchange.Delete):
    """exchange.delete with whatever name fits a short string."""

    def validate(self) -> None:
        """Let the broker judge."""


def method_id(method: Any) -> tuple[int, int]:
    """The class and the method, as a close tells them."""
    return method.index >> 16, method.index & 0xFFFF


def same(error: Closed, expected: tuple[int, str, tuple[int, int]]) -> None:
    """Compare everything that a close says."""
    found = error.code, error.text, error.method
    assert found == expected, f"\n{found} is not\n{expected}"


async def works(channel: RawChannel) -> None:
    """Say that a channel still answers."""
    assert isinstance(await channel.call(Basic.Qos(prefetch_count=0)), Basic.QosOk)


async def refused(channel: RawChannel, method: Frame, code: int, text: str) -> None:
    """The method closes its channel with this code and text, and no other channel."""
    neighbour = await channel.connection.channel()
    with pytest.raises(ChannelClosed) as caught:
        await channel.call(method)
    same(caught.value, (code, text, method_id(method)))
    await works(neighbour)


async def closes_the_connection(
    server: Server, channel: RawChannel, method: Frame, code: int, text: str
) -> None:
    """The method closes its whole connection with this code and text, and no other connection."""
    other = await (await server.connect()).channel()
    with pytest.raises(ConnectionClosed) as caught:
        await channel.call(method)
    same(caught.value, (code, text, method_id(method)))
    await works(other)


async def _exists(channel: RawChannel, method: Frame, what: str) -> bool:
    asking = await channel.connection.channel()
    try:
        await asking.call(method)
    except ChannelClosed as error:
        same(error, (404, f"NOT_FOUND - no {what}", method_id(method)))
        return False
    await asking.call(Channel.Close(200, "", 0, 0))
    return True


async def exchange_exists(channel: RawChannel, name: str) -> bool:
    """Ask on a channel of its own whether there is such an exchange."""
    method = Exchange.Declare(exchange=name, passive=True)
    return await _exists(channel, method, exchange_at(name))


async def queue_exists(channel: RawChannel, name: str) -> bool:
    """Ask on a channel of its own whether there is such a queue."""
    return await _exists(channel, Queue.Declare(queue=name, passive=True), queue_at(name))


async def bodies(channel: RawChannel, queue: str) -> list[bytes]:
    """Take everything that is ready in a queue."""
    taken = []
    while (content := await channel.get(queue, no_ack=True)) is not None:
        taken.append(content.body)
    return taken


async def who_got(channel: RawChannel, queues: Iterable[str]) -> list[int]:
    """How many messages are ready in each queue, which are purged."""
    return [(await channel.call(Queue.Purge(queue=queue))).message_count for queue in queues]


def inequivalent(argument: str, what: str, difference: str) -> str:
    """The text about a declaration that does not mean the same as the first one."""
    return f"PRECONDITION_FAILED - inequivalent arg '{argument}' for {what}: {difference}"


def queue_at(name: str) -> str:
    """A queue, as texts name it."""
    return f"queue '{name}' in vhost '/'"


def exchange_at(name: str) -> str:
    """An exchange, as texts name it."""
    return f"exchange '{name}' in vhost '/'"


def locked(queue: str) -> str:
    """The text about a queue that is exclusive to somebody else, or not to us."""
    return (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked {queue_at(queue)}. It could "
        "be originally declared on another connection or the exclusive property value does not "
        "match that of the original declaration."
    )
