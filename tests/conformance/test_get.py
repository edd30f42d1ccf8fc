"""basic.get."""

import pytest
from pamqp.commands import Basic, Channel, Queue

from tests.conformance.client import Content, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import (
    ack,
    filled,
    hold,
    next_bodies,
    publish,
    reject,
)
from tests.conformance.lettering import consume, queue, take
from tests.conformance.refusals import locked, queue_at, refused
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_get(server: Server, channel: RawChannel, kind: str) -> None:
    """get-ok tells where the message came from and how many more are ready."""
    exchange = await server.exchange(channel, "topic")
    name = await queue(server, channel, queue_type=kind)
    await channel.call(Queue.Bind(queue=name, exchange=exchange, routing_key="#"))
    for key in ("a.b", "c"):
        channel.publish(key.encode(), key, exchange)
    await publish(channel, name, b"last")
    for number, source in enumerate(((exchange, "a.b"), (exchange, "c"), ("", name)), start=1):
        method = (await take(channel, name)).method
        assert (method.exchange, method.routing_key) == source
        assert (method.delivery_tag, method.redelivered) == (number, False)
        assert method.message_count == 3 - number


@pytest.mark.parametrize("no_ack", [False, True])
async def test_empty(server: Server, channel: RawChannel, no_ack: bool) -> None:
    """get-empty says that nothing is ready, and takes no number."""
    name = await server.queue(channel)
    for _ in range(2):
        reply = await channel.call(Basic.Get(queue=name, no_ack=no_ack))
        assert isinstance(reply, Basic.GetEmpty)
    await publish(channel, name, b"x")
    assert await hold(channel, name, 1) == [1]
    assert isinstance(await channel.call(Basic.Get(queue=name)), Basic.GetEmpty)


async def test_counts_ready_ones(server: Server, channel: RawChannel) -> None:
    """Messages that somebody holds do not count."""
    name = await filled(server, channel, b"0", b"1", b"2", b"3")
    await hold(channel, name, 2)
    content = await channel.get(name)
    assert content is not None
    assert (content.body, content.method.message_count) == (b"2", 1)


async def test_no_ack(server: Server, channel: RawChannel) -> None:
    """What was taken with no-ack is gone."""
    name = await filled(server, channel, b"0")
    content = await channel.get(name, no_ack=True)
    assert content is not None
    assert content.method.redelivered is False
    await channel.call(Channel.Close(200, "", 0, 0))
    assert await (await channel.connection.channel()).get(name) is None


async def test_redelivered(server: Server, channel: RawChannel) -> None:
    """A message that was taken before and came back is redelivered; the others are not."""
    name = await filled(server, channel, b"0", b"1")
    await hold(channel, name, 1)
    reject(channel, 1)
    found = [await channel.get(name) for _ in range(2)]
    assert [(each.body, each.method.redelivered) for each in found if each is not None] == [
        (b"0", True),
        (b"1", False),
    ]


@pytest.mark.parametrize("nothing", [True, False])
async def test_missing_queue(channel: RawChannel, nothing: bool) -> None:
    """To take from a queue that does not exist closes the channel."""
    text = f"NOT_FOUND - no {queue_at('no.such.queue')}"
    await refused(channel, Basic.Get(queue="no.such.queue", no_ack=nothing), 404, text)


async def test_exclusive_queue_elsewhere(server: Server, channel: RawChannel) -> None:
    """An exclusive queue gives nothing to other connections, even when it is empty."""
    name = await server.queue(channel, exclusive=True)
    other = await (await server.connect()).channel()
    await refused(other, Basic.Get(queue=name), 405, locked(name))


async def test_last_queue(server: Server, channel: RawChannel) -> None:
    """An empty name means the queue that was declared last on the channel."""
    await filled(server, channel, b"x")
    assert await hold(channel, "", 1) == [1]


async def test_after_consumers(server: Server, channel: RawChannel) -> None:
    """basic.get takes what no consumer was served, whatever the channel's prefetch count."""
    name = await server.queue(channel)
    await channel.call(Basic.Qos(prefetch_count=1))
    await consume(channel, name)
    await publish(channel, name, b"0", b"1", b"2")
    assert await next_bodies(channel, 1) == [b"0"]
    found = [await channel.get(name) for _ in range(2)]
    assert [each.body for each in found if isinstance(each, Content)] == [b"1", b"2"]
    ack(channel, 3)
    await publish(channel, name, b"3")
    assert await server.count(channel, name) == 1
    ack(channel, 1)
    assert await next_bodies(channel, 1) == [b"3"]


async def test_several_at_once(server: Server, channel: RawChannel) -> None:
    """Calls that do not wait for each other are answered in their order."""
    first = await filled(server, channel, b"0", b"1", name="first")
    second = await filled(server, channel, b"2", name="second")
    for name in (first, second, second, first):
        channel.send(Basic.Get(queue=name, no_ack=True))
    replies = [await channel.replies.get() for _ in range(4)]
    assert [getattr(each, "body", None) for each in replies] == [b"0", b"2", None, b"1"]
