"""Consumers of one queue: exclusive ones, priorities, a single active one."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import (
    ack,
    came,
    filled,
    next_bodies,
    next_taken,
    publish,
    settled,
)
from tests.conformance.lettering import consume, eventually, queue
from tests.conformance.refusals import queue_at, refused, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


def in_use(name: str) -> str:
    return f"ACCESS_REFUSED - {queue_at(name)} in exclusive use"


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("where", ["channel", "connection", "elsewhere"])
async def test_exclusive(server: Server, channel: RawChannel, second: bool, where: str) -> None:
    """Beside an exclusive consumer there is no other one, not even on the same channel."""
    name = await server.queue(channel)
    await consume(channel, name, exclusive=True)
    other = channel
    if where == "connection":
        other = await channel.connection.channel()
    elif where == "elsewhere":
        other = await (await server.connect()).channel()
    await refused(other, Basic.Consume(queue=name, exclusive=second), 403, in_use(name))


async def test_exclusive_is_not_alone(server: Server, channel: RawChannel) -> None:
    """A consumer cannot be exclusive where there is one already, which stays."""
    name = await server.queue(channel)
    await consume(channel, name)
    other = await (await server.connect()).channel()
    await refused(other, Basic.Consume(queue=name, exclusive=True), 403, in_use(name))
    await publish(channel, name, b"x")
    assert await next_taken(channel) == (b"x", 1, False)


async def test_exclusive_consumer_only(server: Server, channel: RawChannel) -> None:
    """An exclusive consumer keeps nobody from anything but consuming."""
    name = await server.queue(channel)
    await channel.call(Basic.Qos(prefetch_count=1))
    await consume(channel, name, exclusive=True)
    other = await (await server.connect()).channel()
    await publish(other, name, b"0", b"1")
    content = await other.get(name)
    assert content is not None
    assert content.body == b"1"
    reply = await other.call(Queue.Declare(queue=name))
    assert (reply.message_count, reply.consumer_count) == (0, 1)
    await other.call(Queue.Purge(queue=name))


@pytest.mark.parametrize("end", ["cancel", "close", "cut"])
async def test_exclusive_is_over(server: Server, channel: RawChannel, end: str) -> None:
    """A queue is free again when its exclusive consumer is gone."""
    name = await server.queue(channel)
    connection = await server.connect()
    first = await connection.channel()
    tag = await consume(first, name, exclusive=True)
    if end == "cancel":
        await first.call(Basic.Cancel(consumer_tag=tag))
    elif end == "close":
        await first.call(Channel.Close(200, "", 0, 0))
    else:
        await connection.hang_up()
        asking = Queue.Declare(queue=name, passive=True)
        await eventually(lambda: channel.call(asking), lambda reply: reply.consumer_count == 0)
    await consume(channel, name, exclusive=True)


async def served(name: str, *channels: RawChannel) -> list[list[bytes]]:
    """What was delivered to each channel."""
    await settled(name, *channels)
    return [came(each) for each in channels]


async def with_priorities(
    server: Server, channel: RawChannel, *priorities: Any
) -> list[RawChannel]:
    """A channel for each consumer, with prefetch count 2, in this order of registration."""
    channels = []
    for priority in priorities:
        channels.append(await channel.connection.channel())
        await channels[-1].call(Basic.Qos(prefetch_count=2))
        arguments = {} if priority is None else {"x-priority": priority}
        await consume(channels[-1], server.queues[0], arguments=arguments)
    return channels


async def test_priority(server: Server, channel: RawChannel) -> None:
    """The consumer with the highest priority is served until it has all it may have."""
    name = await server.queue(channel)
    consumers = await with_priorities(server, channel, 1, 10, 5)
    await publish(channel, name, b"0", b"1", b"2", b"3", b"4")
    assert await served(name, channel, *consumers) == [
        [],
        [b"4"],
        [b"0", b"1"],
        [b"2", b"3"],
    ]
    for consumer in reversed(consumers):
        ack(consumer, 1)
        await works(consumer)
    await publish(channel, name, b"5", b"6", b"7")
    assert await served(name, channel, *consumers) == [[], [b"7"], [b"5"], [b"6"]]


async def test_priority_of_none(server: Server, channel: RawChannel) -> None:
    """A consumer without a priority has the priority 0, and there are lower ones."""
    name = await server.queue(channel)
    consumers = await with_priorities(server, channel, -1, None, 0, 1)
    await publish(channel, name, *(b"%d" % number for number in range(8)))
    assert await served(name, channel, *consumers) == [
        [],
        [b"6", b"7"],
        [b"2", b"4"],
        [b"3", b"5"],
        [b"0", b"1"],
    ]


async def test_priority_of_equals(server: Server, channel: RawChannel) -> None:
    """Consumers of the same priority take turns."""
    name = await server.queue(channel)
    consumers = await with_priorities(server, channel, 7, 3, 7)
    await publish(channel, name, b"0", b"1", b"2", b"3", b"4")
    assert await served(name, channel, *consumers) == [
        [],
        [b"0", b"2"],
        [b"4"],
        [b"1", b"3"],
    ]


async def test_priority_of_a_late_one(server: Server, channel: RawChannel) -> None:
    """A consumer with a higher priority is preferred from its first moment on."""
    name = await server.queue(channel)
    low, *_ = await with_priorities(server, channel, 0)
    await publish(channel, name, b"0")
    assert await next_bodies(low, 1) == [b"0"]
    high, *_ = await with_priorities(server, channel, 2**31 - 1)
    await publish(channel, name, b"1", b"2", b"3")
    assert await served(name, channel, low, high) == [[], [b"3"], [b"1", b"2"]]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("10", "longstr"),
        (1.5, "float"),
        (True, "bool"),
        (None, "void"),
        ({}, "table"),
        ([], "array"),
        (Decimal("1.5"), "decimal"),
    ],
)
async def test_no_priority(server: Server, channel: RawChannel, value: Any, kind: str) -> None:
    """A priority is an integer."""
    name = await server.queue(channel)
    text = (
        f"PRECONDITION_FAILED - invalid arg 'x-priority' for {queue_at(name)}:"
        f' "expected integer, got {kind}"'
    )
    method = Basic.Consume(queue=name, arguments={"x-priority": value})
    await refused(channel, method, 406, text)


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize(
    ("kind", "argument", "value", "fault"),
    [
        ("classic", "x-cancel-on-ha-failover", 1, ": {unacceptable_type,byte}"),
        ("quorum", "x-cancel-on-ha-failover", 1, " of queue type rabbit_quorum_queue"),
        ("stream", "x-cancel-on-ha-failover", True, " of queue type rabbit_stream_queue"),
        ("stream", "x-priority", "high", " of queue type rabbit_stream_queue"),
    ],
)
async def test_arguments(
    server: Server, channel: RawChannel, kind: str, argument: str, value: Any, fault: str
) -> None:
    """Each type of queue has its own arguments for consumers, and looks at no other's value."""
    name = await queue(server, channel, queue_type=kind)
    await channel.call(Basic.Qos(prefetch_count=1))
    text = f"PRECONDITION_FAILED - invalid arg '{argument}' for {queue_at(name)}{fault}"
    await refused(channel, Basic.Consume(queue=name, arguments={argument: value}), 406, text)


async def single(server: Server, channel: RawChannel, count: int = 3) -> list[RawChannel]:
    """The channels of the consumers of a queue with a single active consumer."""
    name = await queue(server, channel, single_active_consumer=True)
    channels = [await channel.connection.channel() for _ in range(count)]
    for each in channels:
        await consume(each, name, consumer_tag="mine")
    return channels


async def test_single_active(server: Server, channel: RawChannel) -> None:
    """Of a single active consumer queue's consumers the first one is served, and no other."""
    consumers = await single(server, channel)
    name = server.queues[0]
    await publish(channel, name, b"0", b"1", b"2")
    assert await served(name, channel, *consumers) == [[], [b"0", b"1", b"2"], [], []]
    reply = await channel.call(Queue.Declare(queue=name, passive=True))
    assert reply.consumer_count == 3


async def cancel(consumer: RawChannel) -> None:
    await consumer.call(Basic.Cancel(consumer_tag="mine"))


async def close(consumer: RawChannel) -> None:
    await consumer.call(Channel.Close(200, "", 0, 0))


End = Callable[[RawChannel], Awaitable[None]]


@pytest.mark.parametrize("end", [cancel, close])
async def test_single_active_next(server: Server, channel: RawChannel, end: End) -> None:
    """When the active consumer goes, the one that waited longest takes over."""
    first, second, third = await single(server, channel)
    name = server.queues[0]
    await end(first)
    await publish(channel, name, b"0")
    assert await served(name, channel, second, third) == [[], [b"0"], []]
    ack(second, 1)
    await end(second)
    await publish(channel, name, b"1")
    assert await served(name, channel, third) == [[], [b"1"]]


async def test_single_active_waiting_ones(server: Server, channel: RawChannel) -> None:
    """A consumer that goes while it waits changes nothing for the active one."""
    first, second, third = await single(server, channel)
    name = server.queues[0]
    await cancel(second)
    await publish(channel, name, b"0")
    assert await served(name, channel, first, third) == [[], [b"0"], []]
    await cancel(first)
    await publish(channel, name, b"1")
    assert await served(name, channel, third) == [[], [b"1"]]


async def test_single_active_is_full(server: Server, channel: RawChannel) -> None:
    """What the active consumer may not have yet waits for it, and goes to no other."""
    name = await queue(server, channel, single_active_consumer=True)
    channels = [await channel.connection.channel() for _ in range(2)]
    for each in channels:
        await each.call(Basic.Qos(prefetch_count=1))
        await consume(each, name)
    await publish(channel, name, b"0", b"1")
    assert await served(name, channel, *channels) == [[], [b"0"], []]
    assert await server.count(channel, name) == 1
    ack(channels[0], 1)
    assert await next_bodies(channels[0], 1) == [b"1"]


async def test_single_active_leaves_messages(server: Server, channel: RawChannel) -> None:
    """What the active consumer held when its channel closed goes to the next one."""
    first, second, third = await single(server, channel)
    name = server.queues[0]
    await publish(channel, name, b"0", b"1")
    assert await next_bodies(first, 2) == [b"0", b"1"]
    ack(first, 1)
    await close(first)
    assert await next_taken(second) == (b"1", 1, True)
    assert await served(name, channel, second, third) == [[], [], []]


async def test_single_active_keeps_messages(server: Server, channel: RawChannel) -> None:
    """What the active consumer held when it was cancelled it still holds."""
    first, second, _ = await single(server, channel)
    name = server.queues[0]
    await publish(channel, name, b"0")
    assert await next_bodies(first, 1) == [b"0"]
    await cancel(first)
    await publish(channel, name, b"1")
    assert await served(name, channel, first, second) == [[], [], [b"1"]]
    first.send(Basic.Reject(delivery_tag=1))
    assert await next_taken(second) == (b"0", 2, True)


async def test_single_active_comes_back(server: Server, channel: RawChannel) -> None:
    """A consumer that comes back waits behind the others."""
    first, second, third = await single(server, channel)
    name = server.queues[0]
    await cancel(first)
    await consume(first, name)
    await publish(channel, name, b"0")
    assert await served(name, channel, first, second, third) == [[], [], [b"0"], []]


async def test_single_active_priorities(server: Server, channel: RawChannel) -> None:
    """In a classic queue a priority does not oust the active consumer; it says who is next."""
    name = await queue(server, channel, single_active_consumer=True)
    first, low, high = await with_priorities(server, channel, 0, 1, 2)
    await publish(channel, name, b"0")
    assert await served(name, channel, first, low, high) == [[], [b"0"], [], []]
    await close(first)
    assert await next_taken(high) == (b"0", 1, True)
    assert came(low) == []


@pytest.mark.parametrize("alone", [False, True])
async def test_single_active_exclusive(server: Server, channel: RawChannel, alone: bool) -> None:
    """A single active consumer queue has no exclusive consumers."""
    name = await queue(server, channel, single_active_consumer=True)
    if not alone:
        await consume(channel, name)
    other = await channel.connection.channel()
    await refused(other, Basic.Consume(queue=name, exclusive=True), 403, in_use(name))


async def test_single_active_get(server: Server, channel: RawChannel) -> None:
    """basic.get takes from a classic queue whoever is its active consumer."""
    name = await queue(server, channel, single_active_consumer=True)
    await channel.call(Basic.Qos(prefetch_count=1))
    await consume(channel, name)
    other = await channel.connection.channel()
    await publish(channel, name, b"0", b"1")
    content = await other.get(name)
    assert content is not None
    assert content.body == b"1"


async def test_filled_before(server: Server, channel: RawChannel) -> None:
    """The first consumer of a queue gets what is in it, and not the second one."""
    name = await filled(server, channel, b"0", b"1", b"2")
    other = await channel.connection.channel()
    await consume(channel, name)
    assert await next_bodies(channel, 3) == [b"0", b"1", b"2"]
    await consume(other, name)
    assert await served(name, channel, other) == [[], []]
