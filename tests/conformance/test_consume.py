"""basic.consume and basic.cancel."""

import pytest
from pamqp.commands import Basic, Channel, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import (
    ACK,
    CONSUME,
    ack,
    came,
    closes,
    filled,
    hold,
    nack,
    next_bodies,
    next_taken,
    order,
    publish,
    settled,
    taken,
)
from tests.conformance.lettering import consume, queue, take
from tests.conformance.refusals import (
    closes_the_connection,
    locked,
    queue_at,
    refused,
    works,
)
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


async def test_delivery(server: Server, channel: RawChannel) -> None:
    """A delivery tells its consumer's tag, a number that counts from 1, and where it came from."""
    exchange = await server.exchange(channel, "topic")
    name = await server.queue(channel)
    await channel.call(Queue.Bind(queue=name, exchange=exchange, routing_key="#"))
    assert await consume(channel, name, consumer_tag="mine") == "mine"
    for number, key in enumerate(("a.b", "c"), start=1):
        channel.publish(key.encode(), key, exchange)
        content = await channel.deliveries.get()
        method = content.method
        assert content.body == key.encode()
        assert (method.consumer_tag, method.delivery_tag, method.redelivered) == (
            "mine",
            number,
            False,
        )
        assert (method.exchange, method.routing_key) == (exchange, key)


async def test_consume_ok_first(server: Server, channel: RawChannel) -> None:
    """consume-ok comes before the deliveries, which come in the order of the queue."""
    name = await filled(server, channel, b"0", b"1", b"2")
    names = order(channel)
    await consume(channel, name)
    assert await next_bodies(channel, 3) == [b"0", b"1", b"2"]
    assert names == ["Basic.ConsumeOk", *["Basic.Deliver"] * 3]


async def test_server_named(server: Server, channel: RawChannel) -> None:
    """A consumer without a tag gets a fresh one that starts with amq.ctag-."""
    name = await server.queue(channel)
    tags = {await consume(channel, name) for _ in range(3)}
    assert len(tags) == 3
    assert all(tag.startswith("amq.ctag-") and len(tag) == 31 for tag in tags)


@pytest.mark.parametrize("tag", ["t" * 255, "ä€ 1", " ", "amq.ctag-mine", "'\"\n"])
async def test_tags(server: Server, channel: RawChannel, tag: str) -> None:
    """Any short string is a tag."""
    name = await filled(server, channel, b"x")
    assert await consume(channel, name, consumer_tag=tag) == tag
    assert (await channel.deliveries.get()).method.consumer_tag == tag


async def test_tag_reused(server: Server, channel: RawChannel) -> None:
    """A tag that is in use on the channel closes the connection, whatever the queue."""
    name = await server.queue(channel)
    await consume(channel, name, consumer_tag="mine")
    method = Basic.Consume(queue="no.such.queue", consumer_tag="mine")
    text = "NOT_ALLOWED - attempt to reuse consumer tag 'mine'"
    await closes_the_connection(server, channel, method, 530, text)


async def test_tag_elsewhere(server: Server, channel: RawChannel) -> None:
    """Other channels may use the same tag, and the same channel once it is cancelled."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    await consume(channel, name, consumer_tag="mine")
    await consume(other, name, consumer_tag="mine")
    await channel.call(Basic.Cancel(consumer_tag="mine"))
    await consume(channel, name, consumer_tag="mine")


async def test_nowait(server: Server, channel: RawChannel) -> None:
    """With no-wait there is no consume-ok, and there are deliveries."""
    name = await filled(server, channel, b"x")
    channel.send(Basic.Consume(queue=name, consumer_tag="mine", nowait=True))
    assert await next_taken(channel) == (b"x", 1, False)
    await works(channel)


async def test_nowait_unnamed(server: Server, channel: RawChannel) -> None:
    """With no-wait and without a tag the tag is told by the deliveries alone."""
    name = await filled(server, channel, b"x")
    channel.send(Basic.Consume(queue=name, nowait=True))
    tag = (await channel.deliveries.get()).method.consumer_tag
    assert tag.startswith("amq.ctag-")
    assert (await channel.call(Basic.Cancel(consumer_tag=tag))).consumer_tag == tag


@pytest.mark.parametrize("nowait", [False, True])
async def test_missing_queue(channel: RawChannel, nowait: bool) -> None:
    """To consume from a queue that does not exist closes the channel."""
    method = Basic.Consume(queue="no.such.queue", nowait=nowait)
    await refused(channel, method, 404, f"NOT_FOUND - no {queue_at('no.such.queue')}")


async def test_last_queue(server: Server, channel: RawChannel) -> None:
    """An empty name means the queue that was declared last on the channel."""
    await server.queue(channel, "first")
    name = await server.queue(channel, "last")
    await publish(channel, name, b"x")
    await consume(channel, "")
    assert await next_taken(channel) == (b"x", 1, False)


async def test_exclusive_queue_elsewhere(server: Server, channel: RawChannel) -> None:
    """An exclusive queue has no consumers on other connections."""
    name = await server.queue(channel, exclusive=True)
    other = await (await server.connect()).channel()
    await refused(other, Basic.Consume(queue=name), 405, locked(name))


async def test_no_ack(server: Server, channel: RawChannel) -> None:
    """What is delivered with no-ack is gone and cannot be acknowledged."""
    name = await filled(server, channel, b"0", b"1")
    await consume(channel, name, no_ack=True)
    assert await next_bodies(channel, 2) == [b"0", b"1"]
    ack(channel, 1)
    await closes(channel, 406, "PRECONDITION_FAILED - unknown delivery tag 1", ACK)
    assert await server.count(await channel.connection.channel(), name) == 0


async def test_numbers_are_the_channels(server: Server, channel: RawChannel) -> None:
    """Every delivery of a channel takes the next number, with no-ack and with basic.get too."""
    first = await filled(server, channel, b"0", name="first")
    second = await filled(server, channel, b"1", b"2", name="second")
    third = await filled(server, channel, b"3", name="third")
    await consume(channel, first)
    assert await next_taken(channel) == (b"0", 1, False)
    assert await hold(channel, second, 1) == [2]
    await channel.get(second, no_ack=True)
    await consume(channel, third, no_ack=True)
    assert await next_taken(channel) == (b"3", 4, False)


async def test_round_robin(server: Server, channel: RawChannel) -> None:
    """Consumers take turns, the first one first, on whatever channel they are."""
    name = await server.queue(channel)
    other = await (await server.connect()).channel()
    tags = [await consume(each, name) for each in (channel, other, channel)]
    await publish(channel, name, *(b"%d" % number for number in range(9)))
    await settled(name, channel, other)
    turns: dict[str, list[bytes]] = {tag: [] for tag in tags}
    for content in [*channel.deliveries.items, *other.deliveries.items]:
        turns[content.method.consumer_tag].append(content.body)
    assert list(turns.values()) == [
        [b"0", b"3", b"6"],
        [b"1", b"4", b"7"],
        [b"2", b"5", b"8"],
    ]


async def test_round_robin_passes_over(server: Server, channel: RawChannel) -> None:
    """A consumer whose prefetch count is reached is passed over until it acknowledges."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    await channel.call(Basic.Qos(prefetch_count=1))
    for each in (channel, other):
        await consume(each, name)
    await publish(channel, name, b"0", b"1", b"2", b"3")
    await settled(name, channel, other)
    assert (came(channel), came(other)) == ([b"0"], [b"1", b"2", b"3"])
    ack(channel, 1)
    await publish(channel, name, b"4", b"5")
    await settled(name, channel, other)
    assert (came(channel), came(other)) == ([b"5"], [b"4"])


async def test_no_local(server: Server, channel: RawChannel) -> None:
    """The flag no-local has no effect."""
    name = await server.queue(channel)
    await consume(channel, name, no_local=True)
    await publish(channel, name, b"x")
    assert await next_taken(channel) == (b"x", 1, False)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_cancel(server: Server, channel: RawChannel, kind: str) -> None:
    """After cancel-ok there are no more deliveries; what was delivered stays unacknowledged."""
    name = await queue(server, channel, queue_type=kind)
    await publish(channel, name, b"0", b"1")
    await consume(channel, name, consumer_tag="mine")
    assert await next_bodies(channel, 2) == [b"0", b"1"]
    assert (await channel.call(Basic.Cancel(consumer_tag="mine"))).consumer_tag == "mine"
    await publish(channel, name, b"2")
    await settled(name, channel)
    assert came(channel) == []
    assert await server.count(channel, name) == 1
    ack(channel, 1)
    nack(channel, 2, requeue=False)
    assert [taken(await take(channel, name))] == [(b"2", 3, False)]
    ack(channel, 2)
    await closes(channel, 406, "PRECONDITION_FAILED - unknown delivery tag 2", ACK)


async def test_cancel_unknown(server: Server, channel: RawChannel) -> None:
    """To cancel what is no consumer of the channel is answered, and does nothing."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    await consume(other, name, consumer_tag="mine")
    for tag in ("mine", "nobody's", ""):
        assert (await channel.call(Basic.Cancel(consumer_tag=tag))).consumer_tag == tag
    await publish(channel, name, b"x")
    assert await next_taken(other) == (b"x", 1, False)


async def test_cancel_nowait(server: Server, channel: RawChannel) -> None:
    """With no-wait there is no cancel-ok."""
    name = await server.queue(channel)
    await consume(channel, name, consumer_tag="mine")
    for tag in ("mine", "nobody's"):
        channel.send(Basic.Cancel(consumer_tag=tag, nowait=True))
    await publish(channel, name, b"x")
    assert await server.count(channel, name) == 1
    assert came(channel) == []


async def test_cancel_ok_last(server: Server, channel: RawChannel) -> None:
    """What the queue delivered before it heard of the cancel comes before cancel-ok."""
    name = await filled(server, channel, *(b"%d" % number for number in range(50)))
    names = order(channel)
    await consume(channel, name, consumer_tag="mine", no_ack=True)
    await channel.call(Basic.Cancel(consumer_tag="mine"))
    deliveries = len(channel.deliveries.items)
    await works(channel)
    assert names[-2:] == ["Basic.CancelOk", "Basic.QosOk"]
    assert len(channel.deliveries.items) == deliveries
    assert await server.count(channel, name) == 50 - deliveries


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_notified(server: Server, channel: RawChannel, kind: str) -> None:
    """When a queue is deleted, a client with consumer_cancel_notify is told for each consumer."""
    name = await queue(server, channel, queue_type=kind)
    other = await (await server.connect()).channel()
    for each, tag in ((other, "a"), (other, "b"), (channel, "c")):
        await consume(each, name, consumer_tag=tag)
    await channel.call(Queue.Delete(queue=name))
    cancels = [await other.cancels.get(), await other.cancels.get(), await channel.cancels.get()]
    assert sorted((each.consumer_tag, each.nowait) for each in cancels) == [
        ("a", True),
        ("b", True),
        ("c", True),
    ]


@pytest.mark.parametrize("capabilities", [{}, {"consumer_cancel_notify": False}])
async def test_not_notified(
    server: Server, channel: RawChannel, capabilities: dict[str, bool]
) -> None:
    """A client without consumer_cancel_notify is not told that its queue was deleted."""
    name = await server.queue(channel)
    client = await server.connect(capabilities=capabilities)
    other = await client.channel()
    await consume(other, name, consumer_tag="mine")
    await consume(channel, name)
    await channel.call(Queue.Delete(queue=name))
    await channel.cancels.get()
    second = await filled(server, other, b"x", name="second")
    await consume(other, second, consumer_tag="second")
    assert await next_taken(other) == (b"x", 1, False)
    assert not other.cancels.items


async def test_after_the_queue(server: Server, channel: RawChannel) -> None:
    """What a deleted queue delivered can be acknowledged, and its consumer's tag used again."""
    name = await filled(server, channel, b"x")
    await consume(channel, name, consumer_tag="mine")
    await channel.deliveries.get()
    await channel.call(Queue.Delete(queue=name))
    await channel.cancels.get()
    ack(channel, 1)
    second = await filled(server, channel, b"y", name="second")
    await consume(channel, second, consumer_tag="mine")
    assert await next_taken(channel) == (b"y", 2, False)


@pytest.mark.parametrize("value", [True, False])
async def test_cancel_on_ha_failover(server: Server, channel: RawChannel, value: bool) -> None:
    """x-cancel-on-ha-failover has no effect where nothing fails over."""
    name = await filled(server, channel, b"x")
    await consume(channel, name, arguments={"x-cancel-on-ha-failover": value})
    await channel.deliveries.get()
    await channel.call(Queue.Delete(queue=name))
    await channel.cancels.get()


async def test_unknown_arguments(server: Server, channel: RawChannel) -> None:
    """Arguments that no queue type knows are ignored."""
    name = await filled(server, channel, b"x")
    await consume(channel, name, arguments={"x-no-such-argument": {"a": 1}, "": None})
    assert await next_taken(channel) == (b"x", 1, False)


async def test_declared_in_between(server: Server, channel: RawChannel) -> None:
    """A queue that is declared again after its deletion has none of its former consumers."""
    name = await server.queue(channel)
    await consume(channel, name)
    await channel.call(Queue.Delete(queue=name))
    await channel.cancels.get()
    reply = await channel.call(Queue.Declare(queue=name))
    assert reply.consumer_count == 0


async def test_closed_channel(server: Server, channel: RawChannel) -> None:
    """A closed channel has no consumers any more."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    await consume(other, name)
    await other.call(Channel.Close(200, "", 0, 0))
    reply = await channel.call(Queue.Declare(queue=name, passive=True))
    assert reply.consumer_count == 0


async def test_error_takes_its_consumers(server: Server, channel: RawChannel) -> None:
    """A channel that the broker closes has no consumers any more, and what it held is ready."""
    name = await filled(server, channel, b"x")
    other = await channel.connection.channel()
    await consume(other, name)
    await other.deliveries.get()
    other.send(Basic.Ack(delivery_tag=7))
    await other.closed()
    reply = await channel.call(Queue.Declare(queue=name, passive=True))
    assert (reply.message_count, reply.consumer_count) == (1, 0)


async def test_refused_consumer_is_none(server: Server, channel: RawChannel) -> None:
    """basic.consume that is refused leaves no consumer behind."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    other.send(Basic.Consume(queue=name, arguments={"x-priority": "high"}))
    await closes(
        other,
        406,
        f"PRECONDITION_FAILED - invalid arg 'x-priority' for {queue_at(name)}:"
        ' "expected integer, got longstr"',
        CONSUME,
    )
    assert (await channel.call(Queue.Declare(queue=name, passive=True))).consumer_count == 0
