"""Queues that belong to a connection, and queues that go with their last consumer."""

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Queue

from tests.conformance.client import ChannelClosed, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.lettering import eventually
from tests.conformance.refusals import locked, queue_exists, refused, same
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


async def gone(channel: RawChannel, queue: str) -> None:
    """Wait until a queue is deleted."""
    await eventually(lambda: queue_exists(channel, queue), lambda found: not found)


@pytest.mark.parametrize(
    "method",
    [
        Queue.Declare(exclusive=True),
        Queue.Declare(),
        Queue.Declare(passive=True),
        Queue.Bind(exchange="amq.direct"),
        Queue.Purge(),
        Queue.Delete(),
        Basic.Get(),
        Basic.Consume(),
    ],
    ids=lambda method: str(method.name),
)
async def test_exclusive_elsewhere(server: Server, channel: RawChannel, method: Frame) -> None:
    """An exclusive queue is locked for every other connection."""
    name = await server.queue(channel, exclusive=True)
    other = await (await server.connect()).channel()
    setattr(method, "queue", name)  # noqa: B010 - mypy: a Frame has no queue
    await refused(other, method, 405, locked(name))


async def test_exclusive_unbind_elsewhere(server: Server, channel: RawChannel) -> None:
    """An exclusive queue is locked for queue.unbind too, if there is such a binding at all."""
    name = await server.queue(channel, exclusive=True)
    exchange = await server.exchange(channel)
    await channel.call(Queue.Bind(queue=name, exchange=exchange, routing_key="k"))
    other = await (await server.connect()).channel()
    method = Queue.Unbind(queue=name, exchange=exchange, routing_key="other")
    assert isinstance(await other.call(method), Queue.UnbindOk)
    method = Queue.Unbind(queue=name, exchange=exchange, routing_key="k")
    await refused(other, method, 405, locked(name))


async def test_exclusive_in_use(server: Server, channel: RawChannel) -> None:
    """Every channel of its connection may use an exclusive queue."""
    name = await server.queue(channel, exclusive=True)
    second = await channel.connection.channel()
    await second.call(Basic.Consume(queue=name))
    channel.publish(b"x", name)
    assert (await second.deliveries.get()).body == b"x"


async def test_exclusive_is_published_to(server: Server, channel: RawChannel) -> None:
    """Every connection may publish to an exclusive queue."""
    name = await server.queue(channel, exclusive=True)
    other = await (await server.connect()).channel()
    other.publish(b"x", name)
    content = await eventually(lambda: channel.get(name))
    assert content.body == b"x"


async def test_exclusive_long_text(server: Server, channel: RawChannel) -> None:
    """A text longer than 255 bytes is cut, and ends with three dots."""
    name = await server.queue(channel, "q" * 100, exclusive=True)
    other = await (await server.connect()).channel()
    text = locked(name)[:252] + "..."
    await refused(other, Queue.Purge(queue=name), 405, text)


async def test_exclusive_after_its_channel(server: Server, channel: RawChannel) -> None:
    """An exclusive queue outlives the channel that declared it."""
    name = await server.queue(channel, exclusive=True)
    await channel.call(Channel.Close(200, "", 0, 0))
    again = await channel.connection.channel()
    assert (await again.call(Queue.Purge(queue=name))).message_count == 0


async def test_exclusive_after_its_connection(server: Server, channel: RawChannel) -> None:
    """An exclusive queue is gone by the time its connection is closed."""
    connection = await server.connect()
    name = await server.queue(await connection.channel(), exclusive=True, durable=True)
    await connection.__aexit__(None, None, None)
    assert not await queue_exists(channel, name)


async def test_exclusive_after_a_cut(server: Server, channel: RawChannel) -> None:
    """An exclusive queue goes with its connection even when that hangs up without a word."""
    connection = await server.connect()
    name = await server.queue(await connection.channel(), exclusive=True)
    await connection.hang_up()

    async def is_free() -> bool:
        asking = await channel.connection.channel()
        try:
            await asking.call(Queue.Declare(queue=name))
        except ChannelClosed as error:
            same(error, (405, locked(name), (50, 10)))
            return False
        return True

    await eventually(is_free)


async def test_exclusive_name_is_free_again(server: Server, channel: RawChannel) -> None:
    """The name of an exclusive queue can be declared by others once the queue is deleted."""
    name = await server.queue(channel, exclusive=True)
    await channel.call(Queue.Delete(queue=name))
    other = await (await server.connect()).channel()
    assert (await other.call(Queue.Declare(queue=name, exclusive=True))).queue == name


async def test_auto_delete_cancel(server: Server, channel: RawChannel) -> None:
    """An auto-delete queue goes with its last consumer, and what is in it with it."""
    name = await server.queue(channel, auto_delete=True)
    for tag in ("1", "2"):
        await channel.call(Basic.Consume(queue=name, consumer_tag=tag))
    channel.publish(b"x", name)
    await channel.deliveries.get()
    await channel.call(Basic.Cancel(consumer_tag="1"))
    assert await queue_exists(channel, name)
    await channel.call(Basic.Cancel(consumer_tag="2"))
    await gone(channel, name)
    await channel.call(Queue.Declare(queue=name))
    assert await channel.get(name) is None


async def test_auto_delete_channel(server: Server, channel: RawChannel) -> None:
    """An auto-delete queue goes with the channel of its last consumer."""
    name = await server.queue(channel, auto_delete=True)
    second = await channel.connection.channel()
    await second.call(Basic.Consume(queue=name))
    await second.call(Channel.Close(200, "", 0, 0))
    await gone(channel, name)


async def test_auto_delete_connection(server: Server, channel: RawChannel) -> None:
    """An auto-delete queue goes with the connection of its last consumer."""
    name = await server.queue(channel, auto_delete=True)
    connection = await server.connect()
    await (await connection.channel()).call(Basic.Consume(queue=name))
    await connection.hang_up()
    await gone(channel, name)


async def test_auto_delete_unused(server: Server, channel: RawChannel) -> None:
    """An auto-delete queue that nobody consumed from stays without its connection."""
    connection = await server.connect()
    first = await connection.channel()
    name = await server.queue(first, auto_delete=True)
    first.publish(b"x", name)
    assert await first.get(name, no_ack=True) is not None
    await connection.__aexit__(None, None, None)
    assert await queue_exists(channel, name)


async def test_auto_delete_bindings(server: Server, channel: RawChannel) -> None:
    """An auto-delete queue takes its bindings with it, and an auto-delete exchange with them."""
    exchange = await server.exchange(channel, "fanout", auto_delete=True)
    name = await server.queue(channel, auto_delete=True)
    await channel.call(Queue.Bind(queue=name, exchange=exchange))
    await channel.call(Basic.Consume(queue=name, consumer_tag="tag"))
    await channel.call(Basic.Cancel(consumer_tag="tag"))
    await gone(channel, name)
    channel.publish(exchange=exchange)
    error = await channel.closed()
    same(error, (404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'", (60, 40)))
