"""When messages and queues expire."""

import asyncio
from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from tests.conformance.client import ChannelClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import (
    TYPES,
    arrival,
    confirming,
    consume,
    deaths,
    eventually,
    queue,
    reject,
    sink,
    take,
    until_count,
)
from tests.conformance.versions import versions

both = pytest.mark.parametrize("kind", TYPES)


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize("ttl", ["queue", "message"])
async def test_gone(server: Server, channel: RawChannel, kind: str, ttl: str) -> None:
    """A message leaves once it is older than x-message-ttl, or than its own expiration."""
    exchange, dead = await sink(server, channel)
    arguments: dict[str, Any] = {"message_ttl": 20} if ttl == "queue" else {}
    source = await queue(server, channel, queue_type=kind, **arguments)
    other = await queue(server, channel, "other", dead_letter_exchange=exchange)
    channel.publish(b"x", source, expiration=None if ttl == "queue" else "20")
    channel.publish(b"later", other, expiration="80")
    assert (await arrival(channel, dead)).body == b"later"
    assert await channel.get(source) is None
    await until_count(server, channel, source, 0)


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize(("of_queue", "of_message"), [(30, "60000"), (60000, "30")])
async def test_smaller(
    server: Server, channel: RawChannel, kind: str, of_queue: int, of_message: str
) -> None:
    """Of a queue's TTL and a message's expiration the smaller counts."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, message_ttl=of_queue, dead_letter_exchange=exchange
    )
    channel.publish(b"x", source, expiration=of_message)
    (entry,) = (await arrival(channel, dead)).headers["x-death"]
    assert entry["reason"] == "expired"
    assert entry["original-expiration"] == of_message


@versions("3.10 - 4.3")
@both
async def test_zero(server: Server, channel: RawChannel, kind: str) -> None:
    """A message with expiration "0" expires at once where no consumer waits."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"x", source, expiration="0")
    letter = await arrival(channel, dead)
    assert letter.headers["x-death"][0]["original-expiration"] == "0"
    assert await channel.get(source) is None


@versions("3.10 - 4.3")
@both
async def test_zero_of_the_queue(server: Server, channel: RawChannel, kind: str) -> None:
    """In a queue with x-message-ttl 0 a message expires at once where no consumer waits."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, message_ttl=0, dead_letter_exchange=exchange
    )
    channel.publish(b"x", source)
    assert deaths(await arrival(channel, dead)) == [(source, "expired", 1)]
    assert await channel.get(source) is None


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize("ttl", ["queue", "message"])
async def test_zero_with_a_consumer(
    server: Server, channel: RawChannel, kind: str, ttl: str
) -> None:
    """A message with TTL 0 is delivered to a consumer that waits with credit."""
    arguments: dict[str, Any] = {"message_ttl": 0} if ttl == "queue" else {}
    source = await queue(server, channel, queue_type=kind, **arguments)
    await consume(channel, source)
    channel.publish(b"x", source, expiration=None if ttl == "queue" else "0")
    content = await channel.deliveries.get()
    assert content.body == b"x"
    assert content.properties.expiration == (None if ttl == "queue" else "0")


@versions("3.10 - 4.3")
@both
async def test_zero_without_credit(
    server: Server, connection: RawConnection, channel: RawChannel, kind: str
) -> None:
    """A message with expiration "0" expires where the only consumer has no credit left."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    busy = await connection.channel()
    await busy.call(Basic.Qos(prefetch_count=1))
    await consume(busy, source)
    channel.publish(b"first", source)
    assert (await busy.deliveries.get()).body == b"first"
    channel.publish(b"second", source, expiration="0")
    assert (await arrival(channel, dead)).body == b"second"


@versions("3.10 - 4.3")
async def test_head_of_a_classic_queue(server: Server, channel: RawChannel) -> None:
    """A message behind one that lives longer expires when it reaches the head."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type="classic", dead_letter_exchange=exchange)
    other = await queue(
        server, channel, "other", queue_type="classic", dead_letter_exchange=exchange
    )
    channel.publish(b"long", source, expiration="60000")
    channel.publish(b"short", source, expiration="20")
    channel.publish(b"later", other, expiration="60")
    assert (await arrival(channel, dead)).body == b"later"
    assert await server.count(channel, source) == 2
    assert (await take(channel, source)).body == b"long"
    assert (await arrival(channel, dead)).body == b"short"
    assert await channel.get(source) is None


@versions("3.10 - 4.3")
async def test_head_of_a_quorum_queue(server: Server, channel: RawChannel) -> None:
    """In a quorum queue too a message expires only at the head."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type="quorum", dead_letter_exchange=exchange)
    other = await queue(
        server, channel, "other", queue_type="quorum", dead_letter_exchange=exchange
    )
    channel.publish(b"long", source, expiration="60000")
    channel.publish(b"short", source, expiration="20")
    channel.publish(b"later", other, expiration="60")
    assert (await arrival(channel, dead)).body == b"later"
    await until_count(server, channel, source, 2)
    assert (await take(channel, source)).body == b"long"
    assert (await arrival(channel, dead)).body == b"short"


@versions("3.10 - 4.3")
@both
async def test_never_delivered_expired(server: Server, channel: RawChannel, kind: str) -> None:
    """A consumer that comes later gets what is alive; the dead behind it are passed over."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    other = await queue(server, channel, "other", queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"0", source)
    channel.publish(b"1", source, expiration="20")
    channel.publish(b"2", source)
    channel.publish(b"later", other, expiration="60")
    assert (await arrival(channel, dead)).body == b"later"
    await consume(channel, source)
    assert [(await channel.deliveries.get()).body for _ in range(2)] == [b"0", b"2"]
    assert (await arrival(channel, dead)).body == b"1"


@versions("3.10 - 4.3")
@both
async def test_order(server: Server, channel: RawChannel, kind: str) -> None:
    """Messages that expire arrive at the dead letter exchange in their order."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, message_ttl=20, dead_letter_exchange=exchange
    )
    for body in (b"0", b"1", b"2"):
        channel.publish(body, source)
    letters = [await arrival(channel, dead) for _ in range(3)]
    assert [letter.body for letter in letters] == [b"0", b"1", b"2"]
    assert letters[0].properties.expiration is None


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize("ttl", ["queue", "message"])
async def test_delivered(server: Server, channel: RawChannel, kind: str, ttl: str) -> None:
    """A delivered message does not expire; requeued, it keeps its age and expires at once."""
    exchange, dead = await sink(server, channel)
    arguments: dict[str, Any] = {"message_ttl": 200} if ttl == "queue" else {}
    expiration = None if ttl == "queue" else "200"
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange=exchange, **arguments
    )
    channel.publish(b"held", source, expiration=expiration)
    held = await take(channel, source)
    assert held.properties.expiration == expiration
    channel.publish(b"later", source, expiration=expiration)
    assert (await arrival(channel, dead)).body == b"later"
    reject(channel, held, requeue=True)
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"held", [(source, "expired", 1)])


@versions("3.10 - 4.3")
@both
async def test_published_again(server: Server, channel: RawChannel, kind: str) -> None:
    """A queue's TTL counts from the arrival in that queue, so a dead letter starts anew."""
    started = asyncio.get_running_loop().time()
    exchange, dead = await sink(server, channel)
    second = await queue(
        server, channel, "two", queue_type=kind, message_ttl=40, dead_letter_exchange=exchange
    )
    first = await queue(
        server,
        channel,
        "one",
        queue_type=kind,
        message_ttl=40,
        dead_letter_exchange="",
        dead_letter_routing_key=second,
    )
    channel.publish(b"x", first)
    assert deaths(await arrival(channel, dead)) == [(second, "expired", 1), (first, "expired", 1)]
    assert asyncio.get_running_loop().time() - started >= 0.08


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    ("expiration", "text"),
    [
        ("x", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", '{leftover_string,".5"}'),
        ("5 ", '{leftover_string," "}'),
        ("315360000001", "{value_too_large,315360000001}"),
    ],
)
async def test_bad_expiration(
    server: Server, channel: RawChannel, expiration: str, text: str
) -> None:
    """An expiration is a whole number of milliseconds, at most ten years, as a string."""
    source = await queue(server, channel)
    channel.publish(b"x", source, expiration=expiration)
    error = await channel.closed()
    assert error.text == f"PRECONDITION_FAILED - invalid expiration '{expiration}': {text}"
    assert (error.code, error.method) == (406, (60, 40))


@versions("3.10 - 4.3")
async def test_largest_expiration(server: Server, channel: RawChannel) -> None:
    """An expiration of ten years is delivered as it was published."""
    source = await queue(server, channel, queue_type="classic")
    channel.publish(b"x", source, expiration="315360000000")
    assert (await take(channel, source)).properties.expiration == "315360000000"


@versions("3.10 - 3.12", still=True)
@pytest.mark.parametrize("expiration", ["+5000", "005000"])
async def test_odd_expiration(server: Server, channel: RawChannel, expiration: str) -> None:
    """An expiration may have a sign or zeros in front, which it keeps."""
    source = await queue(server, channel, queue_type="classic")
    channel.publish(b"x", source, expiration=expiration)
    assert (await take(channel, source)).properties.expiration == expiration


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("message_ttl", -1, "{value_negative,-1}"),
        ("message_ttl", "50", '"expected integer, got longstr"'),
        ("message_ttl", 50.0, '"expected integer, got float"'),
        ("message_ttl", 315360000001, "{value_too_large,315360000001}"),
        ("expires", 0, "{value_zero,0}"),
        ("expires", -1, "{value_negative,-1}"),
        ("expires", "50", '"expected integer, got longstr"'),
        ("expires", 315360000001, "{value_too_large,315360000001}"),
    ],
)
async def test_arguments(
    server: Server, channel: RawChannel, kind: str, name: str, value: Any, text: str
) -> None:
    """x-message-ttl is a number from 0 and x-expires one from 1, both at most ten years."""
    with pytest.raises(ChannelClosed) as caught:
        await queue(server, channel, queue_type=kind, **{name: value})
    argument = f"x-{name.replace('_', '-')}"
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{server.queues[-1]}'"
        f" in vhost '/': {text}",
    )


async def is_there(channel: RawChannel, queue: str) -> bool:
    """Ask for a queue without using it; the channel confirms."""
    channel.publish(b"", queue, mandatory=True)
    await channel.confirms.get()
    return not channel.returns.items


@versions("3.10 - 4.3")
@pytest.mark.parametrize("held", [False, True])
async def test_expires(
    server: Server, connection: RawConnection, channel: RawChannel, held: bool
) -> None:
    """A queue that nobody used for x-expires is deleted; its messages are no dead letters."""
    probe = await confirming(await connection.channel())
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, expires=200, dead_letter_exchange=exchange)
    channel.publish(b"x", source)
    if held:
        await take(channel, source)
    await eventually(lambda: is_there(probe, source), lambda there: not there)
    assert await server.count(channel, dead) == 0


@versions("3.10 - 4.3")
@pytest.mark.parametrize("use", ["get", "declare", "passive", "consume"])
async def test_use(
    server: Server, connection: RawConnection, channel: RawChannel, use: str
) -> None:
    """A get, a declaration, passive or not, and a consumer are use; publishing is none."""
    probe = await confirming(await connection.channel())
    source = server.queue_name()
    table: dict[str, Any] = {"x-expires": 500}
    declare = Queue.Declare(queue=source, durable=True, arguments=table)
    await channel.call(declare)
    if use == "consume":
        await consume(channel, source)
    other = await queue(server, channel, "other", expires=500)

    async def unused_is_gone() -> bool:
        if use == "get":
            await channel.get(source)
        elif use == "declare":
            await channel.call(declare)
        elif use == "passive":
            await server.count(channel, source)
        return not await is_there(probe, other)

    await eventually(unused_is_gone)
    probe.returns.items.clear()
    assert await is_there(probe, source)


@versions("3.10 - 4.3")
async def test_last_consumer(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """The time of x-expires begins anew when the last consumer leaves."""
    probe = await confirming(await connection.channel())
    source = await queue(server, channel, expires=200)
    tags = [await consume(channel, source) for _ in range(2)]
    await channel.call(Basic.Cancel(consumer_tag=tags[0]))
    assert await is_there(probe, source)
    await channel.call(Basic.Cancel(consumer_tag=tags[1]))
    await eventually(lambda: is_there(probe, source), lambda there: not there)
