"""basic.qos: how much a consumer or a channel may hold."""

import pytest
from pamqp.commands import Basic

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import (
    ack,
    all_taken,
    came,
    filled,
    hold,
    nack,
    next_bodies,
    next_taken,
    publish,
    reject,
    settled,
)
from tests.conformance.lettering import consume, queue
from tests.conformance.refusals import closes_the_connection, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

BODIES = [b"%d" % number for number in range(8)]


async def qos(channel: RawChannel, count: int, *, whole: bool = False) -> None:
    """basic.qos, for the whole channel or for its next consumers."""
    reply = await channel.call(Basic.Qos(prefetch_count=count, global_=whole))
    assert isinstance(reply, Basic.QosOk)


async def got(channel: RawChannel, name: str, count: int) -> list[bytes]:
    """Wait for so many deliveries, and say all that came."""
    found = await next_bodies(channel, count)
    await settled(name, channel)
    return found + came(channel)


@pytest.mark.parametrize("size", [1, 2**32 - 1])
async def test_size(server: Server, channel: RawChannel, size: int) -> None:
    """A prefetch size closes the connection."""
    method = Basic.Qos(prefetch_size=size)
    text = f"NOT_IMPLEMENTED - prefetch_size!=0 ({size})"
    await closes_the_connection(server, channel, method, 540, text)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_count(server: Server, channel: RawChannel, kind: str) -> None:
    """A consumer holds as many messages as its prefetch count and gets the next for each ack."""
    name = await queue(server, channel, queue_type=kind)
    await publish(channel, name, *BODIES)
    await qos(channel, 3)
    await consume(channel, name)
    assert await got(channel, name, 3) == BODIES[:3]
    ack(channel, 2)
    assert await got(channel, name, 1) == BODIES[3:4]
    ack(channel, 3, multiple=True)
    assert await got(channel, name, 2) == BODIES[4:6]
    reject(channel, 4, requeue=False)
    assert await got(channel, name, 1) == BODIES[6:7]


async def test_requeued(server: Server, channel: RawChannel) -> None:
    """What a consumer requeues it no longer holds, so it gets the very same again."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 2)
    await consume(channel, name)
    assert await got(channel, name, 2) == BODIES[:2]
    nack(channel, 1)
    assert await next_taken(channel) == (b"0", 3, True)
    nack(channel, 0, multiple=True)
    assert await got(channel, name, 2) == BODIES[:2]


@pytest.mark.parametrize("whole", [False, True])
async def test_none(server: Server, channel: RawChannel, whole: bool) -> None:
    """A prefetch count of 0 is no limit, and lifts a former one for what consumes from then on."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 1, whole=whole)
    await qos(channel, 0, whole=whole)
    await consume(channel, name)
    assert await got(channel, name, 8) == BODIES


async def test_each_consumer(server: Server, channel: RawChannel) -> None:
    """A prefetch count holds for each consumer by itself."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 2)
    for tag in ("a", "b", "c"):
        await consume(channel, name, consumer_tag=tag)
    contents = [await channel.deliveries.get() for _ in range(6)]
    found = [(each.method.consumer_tag, each.body) for each in contents]
    assert found == [(tag, BODIES[number]) for number, tag in enumerate("aabbcc")]
    ack(channel, 4)
    content = await channel.deliveries.get()
    assert (content.method.consumer_tag, content.body) == ("b", b"6")
    await settled(name, channel)
    assert came(channel) == []


async def test_later(server: Server, channel: RawChannel) -> None:
    """basic.qos means the consumers that come, and not those that are there."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 2)
    await consume(channel, name, consumer_tag="a")
    assert await got(channel, name, 2) == BODIES[:2]
    await qos(channel, 4)
    await settled(name, channel)
    assert came(channel) == []
    await consume(channel, name, consumer_tag="b")
    assert await got(channel, name, 4) == BODIES[2:6]
    ack(channel, 1)
    content = await channel.deliveries.get()
    assert (content.method.consumer_tag, content.body) == ("a", b"6")


async def test_own_channel(server: Server, channel: RawChannel) -> None:
    """basic.qos means the consumers of its own channel."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 1)
    other = await channel.connection.channel()
    await consume(other, name)
    assert await got(other, name, 8) == BODIES


async def test_no_ack(server: Server, channel: RawChannel) -> None:
    """A consumer with no-ack holds nothing, so there is no limit to it."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 1)
    await consume(channel, name, no_ack=True)
    assert await got(channel, name, 8) == BODIES


async def test_get_is_not_counted(server: Server, channel: RawChannel) -> None:
    """What basic.get took does not count as the consumer's."""
    name = await filled(server, channel, *BODIES)
    await hold(channel, name, 3)
    await qos(channel, 2)
    await consume(channel, name)
    assert await got(channel, name, 2) == BODIES[3:5]
    ack(channel, 1)
    await works(channel)
    await settled(name, channel)
    assert came(channel) == []


async def test_cancelled(server: Server, channel: RawChannel) -> None:
    """What a cancelled consumer still holds does not count as the next one's."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 2)
    await consume(channel, name, consumer_tag="a")
    assert await got(channel, name, 2) == BODIES[:2]
    await channel.call(Basic.Cancel(consumer_tag="a"))
    await consume(channel, name, consumer_tag="b")
    assert await got(channel, name, 2) == BODIES[2:4]


async def test_the_same_tag(server: Server, channel: RawChannel) -> None:
    """A consumer that takes a cancelled one's tag has its own count."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 2)
    await consume(channel, name, consumer_tag="a")
    assert await got(channel, name, 2) == BODIES[:2]
    await channel.call(Basic.Cancel(consumer_tag="a"))
    await consume(channel, name, consumer_tag="a")
    assert await got(channel, name, 2) == BODIES[2:4]


@versions("3.10 - 4.2")
async def test_whole_channel(server: Server, channel: RawChannel) -> None:
    """With global the count holds for all consumers of the channel together."""
    first = await filled(server, channel, *BODIES[:4], name="first")
    second = await filled(server, channel, *BODIES[4:], name="second")
    await qos(channel, 3, whole=True)
    await consume(channel, first)
    assert await got(channel, first, 3) == BODIES[:3]
    await consume(channel, second)
    await settled(second, channel)
    assert came(channel) == []
    ack(channel, 1)
    assert len(await got(channel, second, 1)) == 1
    ack(channel, 0, multiple=True)
    found = await got(channel, second, 3)
    assert len(found) == 3
    assert set(found) <= set(BODIES[3:])


@versions("3.10 - 4.2")
async def test_whole_channel_at_once(server: Server, channel: RawChannel) -> None:
    """With global the count holds at once, for the consumers that are there."""
    name = await filled(server, channel, *BODIES[:2])
    await consume(channel, name)
    assert await got(channel, name, 2) == BODIES[:2]
    await qos(channel, 3, whole=True)
    await publish(channel, name, *BODIES[2:])
    assert await got(channel, name, 1) == BODIES[2:3]
    await qos(channel, 5, whole=True)
    assert await got(channel, name, 2) == BODIES[3:5]
    await qos(channel, 1, whole=True)
    ack(channel, 4, multiple=True)
    await settled(name, channel)
    assert came(channel) == []
    ack(channel, 5)
    assert await got(channel, name, 1) == BODIES[5:6]
    await qos(channel, 0, whole=True)
    assert await got(channel, name, 2) == BODIES[6:]


@versions("3.10 - 4.2")
async def test_both(server: Server, channel: RawChannel) -> None:
    """A consumer's count and the channel's hold together."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 2)
    await qos(channel, 3, whole=True)
    for tag in ("a", "b"):
        await consume(channel, name, consumer_tag=tag)
    contents = [await channel.deliveries.get() for _ in range(3)]
    found = [(each.method.consumer_tag, each.body) for each in contents]
    assert found == [("a", b"0"), ("a", b"1"), ("b", b"2")]
    await settled(name, channel)
    assert came(channel) == []
    ack(channel, 3)
    content = await channel.deliveries.get()
    assert (content.method.consumer_tag, content.body) == ("b", b"3")


@versions("3.10 - 4.2")
async def test_whole_channel_is_lifted(server: Server, channel: RawChannel) -> None:
    """basic.qos without global takes the channel's own count away."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 1, whole=True)
    await consume(channel, name)
    assert await got(channel, name, 1) == BODIES[:1]
    await qos(channel, 1)
    assert await got(channel, name, 7) == BODIES[1:]


@versions("3.10 - 4.2")
async def test_whole_channel_counts_get(server: Server, channel: RawChannel) -> None:
    """With global what basic.get took before counts as held by the channel."""
    name = await filled(server, channel, *BODIES)
    await hold(channel, name, 2)
    await qos(channel, 3, whole=True)
    await consume(channel, name)
    assert await got(channel, name, 1) == BODIES[2:3]


async def test_whole_channel_and_get(server: Server, channel: RawChannel) -> None:
    """With global basic.get still takes whatever is ready."""
    name = await filled(server, channel, *BODIES)
    await qos(channel, 1, whole=True)
    await consume(channel, name)
    assert await got(channel, name, 1) == BODIES[:1]
    await hold(channel, name, 3)
    found = await all_taken(channel, name)
    assert [body for body, _ in found] == BODIES[4:]


@versions("3.10 - 4.2")
async def test_whole_channel_no_ack(server: Server, channel: RawChannel) -> None:
    """With global a consumer with no-ack waits while the channel holds all it may."""
    first = await filled(server, channel, *BODIES[:2], name="first")
    second = await filled(server, channel, *BODIES[2:], name="second")
    await qos(channel, 1, whole=True)
    await consume(channel, first)
    assert await got(channel, first, 1) == BODIES[:1]
    await consume(channel, second, no_ack=True)
    await settled(second, channel)
    assert came(channel) == []
    ack(channel, 1)
    found = await next_bodies(channel, 1)
    assert found[0] in {b"1", b"2"}


@versions("4.3 -")
@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_global_is_not_looked_at(server: Server, channel: RawChannel, kind: str) -> None:
    """With global the count holds for each of the consumers that come, as without."""
    first = await queue(server, channel, "first", queue_type=kind)
    second = await queue(server, channel, "second", queue_type=kind)
    await publish(channel, first, *BODIES[:4])
    await publish(channel, second, *BODIES[4:])
    await qos(channel, 3, whole=True)
    await consume(channel, first)
    assert await got(channel, first, 3) == BODIES[:3]
    await consume(channel, second)
    assert await got(channel, second, 3) == BODIES[4:7]
