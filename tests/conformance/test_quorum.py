"""Quorum queues, where they differ from classic ones."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Queue

from tests.conformance.client import ChannelClosed, ConnectionClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import (
    arrival,
    confirming,
    consume,
    deaths,
    queue,
    reject,
    sink,
    take,
)
from tests.conformance.tables import typed_headers
from tests.conformance.versions import versions


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"durable": False}, "invalid property 'non-durable' for queue '{}' in vhost '/'"),
        (
            {"durable": True, "exclusive": True},
            "invalid property 'exclusive-owner' for queue '{}' in vhost '/'",
        ),
        (
            {"durable": True, "auto_delete": True},
            "invalid property 'auto-delete' for queue '{}' in vhost '/'",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["quorum", "stream"])
async def test_flags(
    server: Server, channel: RawChannel, flags: dict[str, Any], text: str, kind: str
) -> None:
    """A quorum queue, as a stream, is durable, shared, and stays when its consumers go."""
    with pytest.raises(ChannelClosed) as caught:
        await server.queue(channel, arguments={"x-queue-type": kind}, **flags)
    assert caught.value.code == 406
    assert caught.value.text == "PRECONDITION_FAILED - " + text.format(server.queues[-1])


@versions("3.10 - 4.3")
@pytest.mark.parametrize("kind", ["quorum", "stream"])
async def test_named_by_the_server(channel: RawChannel, kind: str) -> None:
    """A quorum queue, as a stream, has a name of its declarer's choice."""
    with pytest.raises(ChannelClosed) as caught:
        await channel.call(Queue.Declare(durable=True, arguments={"x-queue-type": kind}))
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_{kind}_queue",
    )


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("x-max-priority", 5, " of queue type rabbit_quorum_queue"),
        ("x-max-age", "1h", " of queue type rabbit_quorum_queue"),
        ("x-stream-max-segment-size-bytes", 5, " of queue type rabbit_quorum_queue"),
        ("x-dead-letter-strategy", "never", ": invalid_dlx_strategy"),
        ("x-dead-letter-strategy", 5, ": {unacceptable_type,byte}"),
        ("x-quorum-initial-group-size", 0, ": {value_zero,0}"),
        ("x-queue-leader-locator", "here", ": invalid_queue_locator_arg"),
        ("x-single-active-consumer", "yes", ": {unacceptable_type,longstr}"),
    ],
)
async def test_arguments(
    server: Server, channel: RawChannel, name: str, value: Any, text: str
) -> None:
    """Arguments of other types of queue are refused, and so are wrong values."""
    with pytest.raises(ChannelClosed) as caught:
        await queue(server, channel, queue_type="quorum", **{name[2:]: value})
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue '{server.queues[-1]}'"
        f" in vhost '/'{text}",
    )


@versions("3.10 - 4.3")
@pytest.mark.parametrize("name", ["x-delivery-limit", "x-dead-letter-strategy"])
async def test_classic_arguments(server: Server, channel: RawChannel, name: str) -> None:
    """A classic queue refuses the arguments of a quorum queue."""
    with pytest.raises(ChannelClosed) as caught:
        await queue(server, channel, queue_type="classic", **{name[2:]: 5})
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue '{server.queues[-1]}'"
        " in vhost '/' of queue type rabbit_classic_queue",
    )


@versions("3.10 - 4.2")
async def test_global_qos(server: Server, channel: RawChannel) -> None:
    """A channel with a global prefetch count cannot consume from a quorum queue."""
    source = await queue(server, channel, queue_type="quorum")
    await channel.call(Basic.Qos(prefetch_count=5, global_=True))
    with pytest.raises(ConnectionClosed) as caught:
        await consume(channel, source)
    assert (caught.value.code, caught.value.text, caught.value.method) == (
        540,
        f"NOT_IMPLEMENTED - queue '{source}' in vhost '/' does not support global qos",
        (60, 20),
    )


@versions("3.10 - 4.3")
@pytest.mark.parametrize("flag", ["if-empty", "if-unused"])
async def test_conditional_delete(server: Server, channel: RawChannel, flag: str) -> None:
    """queue.delete of a quorum queue has no conditions."""
    source = await queue(server, channel, queue_type="quorum")
    with pytest.raises(ConnectionClosed) as caught:
        await channel.call(
            Queue.Delete(queue=source, if_empty=flag == "if-empty", if_unused=flag == "if-unused")
        )
    assert (caught.value.code, caught.value.text, caught.value.method) == (
        540,
        f"NOT_IMPLEMENTED - cannot delete queue '{source}' in vhost '/'. queue.delete operations"
        f" with {flag} flag set are not supported by quorum queues",
        (50, 40),
    )


@versions("3.10 - 4.3")
@pytest.mark.parametrize("mode", [1, 2, None])
async def test_delivery_mode(server: Server, channel: RawChannel, mode: int | None) -> None:
    """A message's delivery mode stays as it was published."""
    source = await queue(server, await confirming(channel), queue_type="quorum")
    channel.publish(b"x", source, delivery_mode=mode)
    assert isinstance(await channel.confirms.get(), Basic.Ack)
    assert (await take(channel, source)).properties.delivery_mode == mode


@versions("3.10 - 3.13", still=True)
async def test_priorities(server: Server, channel: RawChannel) -> None:
    """A message's priority is kept and does not change the order."""
    source = await queue(server, channel, queue_type="quorum")
    for priority in (1, 9, 5):
        channel.publish(b"x", source, priority=priority)
    found = [(await take(channel, source)).properties.priority for _ in range(3)]
    assert found == [1, 9, 5]


@versions("3.10 - 4.3")
async def test_exclusive_consumer(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """The flag `exclusive` of basic.consume has no effect."""
    source = await queue(server, channel, queue_type="quorum")
    await channel.call(Basic.Qos(prefetch_count=1))
    await consume(channel, source, exclusive=True)
    other = await connection.channel()
    await other.call(Basic.Qos(prefetch_count=1))
    await consume(other, source, exclusive=True)
    for _ in range(2):
        channel.publish(b"x", source)
    await channel.deliveries.get()
    await other.deliveries.get()


@versions("3.10 - 4.3")
async def test_single_active_consumer(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """Of the consumers of a single active consumer queue the next takes over when one goes."""
    source = await queue(server, channel, queue_type="quorum", single_active_consumer=True)
    channels = [await connection.channel() for _ in range(3)]
    tags = [await consume(each, source) for each in channels]
    for body in (b"0", b"1"):
        channel.publish(body, source)
        assert (await channels[0].deliveries.get()).body == body
    await channels[0].call(Basic.Cancel(consumer_tag=tags[0]))
    channel.publish(b"2", source)
    assert (await channels[1].deliveries.get()).body == b"2"
    await channels[1].call(Channel.Close(200, "", 0, 0))
    content = await channels[2].deliveries.get()
    assert (content.body, content.method.redelivered) == (b"2", True)


@versions("3.10 - 3.13", still=True)
async def test_single_active_consumer_by_age(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """Whoever waited longest takes over, whatever the priorities; exclusive has no effect."""
    source = await queue(server, channel, queue_type="quorum", single_active_consumer=True)
    first, second, third = [await connection.channel() for _ in range(3)]
    for priority, each in enumerate((first, second, third)):
        await consume(each, source, exclusive=True, arguments={"x-priority": priority})
    channel.publish(b"x", source)
    await first.deliveries.get()
    await first.call(Channel.Close(200, "", 0, 0))
    assert (await second.deliveries.get()).body == b"x"
    assert not third.deliveries.items


@versions("3.10 - 4.2")
async def test_delivery_count(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """A redelivery has the header x-delivery-count, a long; a first delivery does not."""
    source = await queue(server, channel, queue_type="quorum")
    await consume(channel, source)
    channel.publish(b"x", source)
    content = await channel.deliveries.get()
    assert not content.method.redelivered
    assert typed_headers(connection) == {}
    for count in (1, 2, 3):
        reject(channel, content, requeue=True)
        content = await channel.deliveries.get()
        assert content.method.redelivered
        assert typed_headers(connection) == {"x-delivery-count": ("l", count)}


@versions("3.10 - 3.13")
async def test_delivery_count_of_get(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """What basic.get fetches has x-delivery-count from the first time on, then 0."""
    source = await queue(server, channel, queue_type="quorum")
    channel.publish(b"x", source)
    for count in (0, 1):
        content = await take(channel, source)
        assert content.method.redelivered == (count > 0)
        assert typed_headers(connection) == {"x-delivery-count": ("l", count)}
        reject(channel, content, requeue=True)


@versions("4.3 -")
@pytest.mark.parametrize("fetched", [False, True])
async def test_counts(
    server: Server, connection: RawConnection, channel: RawChannel, *, fetched: bool
) -> None:
    """A redelivery tells how often a message was rejected, and how often it came back, as longs."""
    source = await queue(server, channel, queue_type="quorum")
    if not fetched:
        await consume(channel, source)
    channel.publish(b"x", source)
    content = await take(channel, source) if fetched else await channel.deliveries.get()
    assert (content.method.redelivered, typed_headers(connection)) == (False, {})
    for count in (1, 2, 3):
        reject(channel, content, requeue=True)
        content = await take(channel, source) if fetched else await channel.deliveries.get()
        assert content.method.redelivered
        assert typed_headers(connection) == {
            "x-acquired-count": ("l", count),
            "x-delivery-count": ("l", count),
        }


@versions("4.3 -")
async def test_forged_counts(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """What a sender writes there is shown until the broker counts, in a redelivery as well."""
    source = await queue(server, channel, queue_type="quorum")
    channel.publish(b"x", source, headers={"x-acquired-count": 9, "x-delivery-count": 7})
    forged = {"x-acquired-count": ("b", 9), "x-delivery-count": ("b", 7)}
    content = await take(channel, source)
    assert typed_headers(connection) == forged
    await nack(channel, content)
    content = await take(channel, source)
    assert content.method.redelivered
    assert typed_headers(connection) == forged | {"x-acquired-count": ("l", 1)}


async def nack(channel: RawChannel, content: Any) -> None:
    channel.send(Basic.Nack(delivery_tag=content.method.delivery_tag, requeue=True))


async def rejected(channel: RawChannel, content: Any) -> None:
    reject(channel, content, requeue=True)


async def recover(channel: RawChannel, content: Any) -> None:
    await channel.call(Basic.Recover(requeue=True))


async def close(channel: RawChannel, content: Any) -> None:
    await channel.call(Channel.Close(200, "", 0, 0))


async def hang_up(channel: RawChannel, content: Any) -> None:
    await channel.connection.hang_up()


Requeue = Callable[[RawChannel, Any], Awaitable[None]]


@versions("3.10 - 4.2")
@pytest.mark.parametrize("requeue", [nack, recover, rejected, close, hang_up])
async def test_counted(server: Server, channel: RawChannel, requeue: Requeue) -> None:
    """A nack, a basic.recover, a closed channel and a lost connection each count."""
    for number, headers in enumerate(await returned(server, channel, requeue)):
        assert headers.get("x-delivery-count", 0) == number


@versions("4.3 -")
@pytest.mark.parametrize(
    ("requeue", "counts"),
    [(nack, False), (recover, False), (rejected, True), (close, True), (hang_up, True)],
)
async def test_counted_as_failed(
    server: Server, channel: RawChannel, requeue: Requeue, *, counts: bool
) -> None:
    """A rejection, a closed channel and a lost connection count as failed; a nack does not."""
    for number, headers in enumerate(await returned(server, channel, requeue)):
        assert headers.get("x-acquired-count", 0) == number
        assert headers.get("x-delivery-count", 0) == (number if counts else 0)


async def returned(
    server: Server, channel: RawChannel, requeue: Requeue, times: int = 3, **limit: Any
) -> list[dict[str, Any]]:
    """The headers of a message that comes back so many times."""
    source = await queue(server, channel, queue_type="quorum", **limit)
    channel.publish(b"x", source)
    found = []
    for _ in range(times):
        other = await (await server.connect()).channel()
        content = await take(other, source)
        found.append(content.headers)
        await requeue(other, content)
    return found


@versions("4.3 -")
@pytest.mark.parametrize("requeue", [nack, recover])
async def test_limit_of_failures(server: Server, channel: RawChannel, requeue: Requeue) -> None:
    """What does not count as failed never reaches the limit."""
    assert len(await returned(server, channel, requeue, 5, delivery_limit=0)) == 5


@versions("4.3 -")
@pytest.mark.parametrize("requeue", [rejected, close, hang_up])
async def test_limit_of_the_lost(server: Server, channel: RawChannel, requeue: Requeue) -> None:
    """What a closed channel or a lost connection held dies as what is rejected too often."""
    exchange, dead = await sink(server, channel)
    await returned(server, channel, requeue, 2, delivery_limit=1, dead_letter_exchange=exchange)
    assert [reason for _, reason, _ in deaths(await arrival(channel, dead))] == ["delivery_limit"]


@versions("4.3 -")
async def test_cancelled_consumer(server: Server, channel: RawChannel) -> None:
    """What a cancelled consumer holds stays with its channel: nothing comes back, nor counts."""
    source = await queue(server, channel, queue_type="quorum")
    channel.publish(b"x", source)
    tag = await consume(channel, source)
    content = await channel.deliveries.get()
    await channel.call(Basic.Cancel(consumer_tag=tag))
    assert await server.count(channel, source) == 0
    await nack(channel, content)
    assert (await take(channel, source)).headers == {"x-acquired-count": 1}


@versions("4.3 -")
@pytest.mark.parametrize(("limit", "bears"), [({}, 20), ({"delivery_limit": -1}, 30)])
async def test_default_limit(
    server: Server, channel: RawChannel, limit: dict[str, int], bears: int
) -> None:
    """Where no limit is named it is 20, and a negative one is none."""
    source = await queue(server, channel, queue_type="quorum", **limit)
    await channel.call(Basic.Qos(prefetch_count=1))
    await consume(channel, source)
    channel.publish(b"first", source)
    channel.publish(b"marker", source)
    assert await deliveries_until_gone(channel, most=31) == bears + 1


async def deliveries_until_gone(channel: RawChannel, *, most: int) -> int:
    """Reject and requeue `first` until it comes no more, or so many times."""
    for count in range(most):
        content = await channel.deliveries.get()
        if content.body != b"first":
            return count
        reject(channel, content, requeue=count < most - 1)
    return most


@versions("3.10 - 4.3")
@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_delivery_limit(server: Server, channel: RawChannel, limit: int) -> None:
    """A message that was redelivered x-delivery-limit times dies with the reason delivery_limit."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type="quorum", delivery_limit=limit, dead_letter_exchange=exchange
    )
    await consume(channel, source)
    channel.publish(b"x", source)
    for _ in range(limit + 1):
        reject(channel, await channel.deliveries.get(), requeue=True)
    letter = await arrival(channel, dead)
    assert deaths(letter) == [(source, "delivery_limit", 1)]
    assert letter.headers["x-first-death-reason"] == "delivery_limit"
    assert "x-delivery-count" not in letter.headers
    assert not channel.deliveries.items


@versions("3.10 - 4.3")
async def test_dropped(server: Server, channel: RawChannel) -> None:
    """Without a dead letter exchange a message beyond its limit is dropped."""
    source = await queue(server, channel, queue_type="quorum", delivery_limit=0)
    await channel.call(Basic.Qos(prefetch_count=1))
    await consume(channel, source)
    channel.publish(b"dropped", source)
    channel.publish(b"next", source)
    reject(channel, await channel.deliveries.get(), requeue=True)
    assert (await channel.deliveries.get()).body == b"next"


@versions("3.10 - 4.3")
async def test_to_the_head(server: Server, channel: RawChannel) -> None:
    """With a delivery limit requeued messages come first, in the order of their return."""
    source = await queue(server, channel, queue_type="quorum", delivery_limit=5)
    for body in (b"0", b"1", b"2", b"3"):
        channel.publish(body, source)
    taken = [await take(channel, source) for _ in range(3)]
    for index in (1, 0, 2):
        reject(channel, taken[index], requeue=True)
    bodies = [(await take(channel, source)).body for _ in range(4)]
    assert bodies == [b"1", b"0", b"2", b"3"]


@versions("4.3 -")
@pytest.mark.parametrize("limit", [{}, {"delivery_limit": -1}])
@pytest.mark.parametrize("requeue", [nack, rejected])
async def test_always_to_the_head(
    server: Server, channel: RawChannel, requeue: Requeue, limit: dict[str, Any]
) -> None:
    """Requeued messages come first, in the order of their return, whatever the limit."""
    source = await queue(server, channel, queue_type="quorum", **limit)
    for body in (b"0", b"1", b"2", b"3"):
        channel.publish(body, source)
    taken = [await take(channel, source) for _ in range(3)]
    for index in (1, 0, 2):
        await requeue(channel, taken[index])
    bodies = [(await take(channel, source)).body for _ in range(4)]
    assert bodies == [b"1", b"0", b"2", b"3"]


@versions("3.10 - 3.13")
async def test_recovered_to_the_end(server: Server, channel: RawChannel) -> None:
    """Without a delivery limit basic.recover requeues at the end, too."""
    source = await queue(server, channel, queue_type="quorum")
    for body in (b"0", b"1", b"2", b"3"):
        channel.publish(body, source)
    for _ in range(3):
        await take(channel, source)
    await channel.call(Basic.Recover(requeue=True))
    bodies = [(await take(channel, source)).body for _ in range(4)]
    assert bodies == [b"3", b"0", b"1", b"2"]


@versions("3.10 - 3.13")
async def test_to_the_end(server: Server, channel: RawChannel) -> None:
    """Without a delivery limit messages are requeued at the end."""
    source = await queue(server, channel, queue_type="quorum")
    for body in (b"0", b"1", b"2", b"3"):
        channel.publish(body, source)
    taken = [await take(channel, source) for _ in range(3)]
    channel.send(Basic.Nack(delivery_tag=taken[1].method.delivery_tag, multiple=True, requeue=True))
    reject(channel, taken[2], requeue=True)
    bodies = [(await take(channel, source)).body for _ in range(4)]
    assert bodies == [b"3", b"0", b"1", b"2"]


@versions("3.10 - 4.3")
@pytest.mark.parametrize("limit", [{}, {"delivery_limit": 5}])
async def test_given_back(
    server: Server, connection: RawConnection, channel: RawChannel, limit: dict[str, Any]
) -> None:
    """What a closed channel held comes first again, limit or not, in its order."""
    source = await queue(server, channel, queue_type="quorum", **limit)
    for body in (b"0", b"1", b"2", b"3"):
        channel.publish(body, source)
    other = await connection.channel()
    for _ in range(3):
        await take(other, source)
    await other.call(Channel.Close(200, "", 0, 0))
    bodies = [(await take(channel, source)).body for _ in range(4)]
    assert bodies == [b"0", b"1", b"2", b"3"]
