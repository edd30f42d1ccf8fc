"""Queues with a limit of messages or of bytes: what goes when one more comes."""

from typing import Any

import pytest
from pamqp.commands import Basic

from tests.conformance.client import ChannelClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import (
    TYPES,
    arrival,
    bind,
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
LIMITS = [
    ({"max_length": 2}, b"x"),
    ({"max_length_bytes": 20}, b"0123456789"),
    ({"max_length": 2, "max_length_bytes": 1000}, b"x"),
    ({"max_length": 50, "max_length_bytes": 20}, b"0123456789"),
]
limits = pytest.mark.parametrize(("limit", "body"), LIMITS)


async def publish(channel: RawChannel, queue: str, body: bytes, **values: Any) -> str:
    """Publish on a channel that confirms, and return "ack" or "nack"."""
    channel.publish(body, queue, **values)
    return "ack" if isinstance(await channel.confirms.get(), Basic.Ack) else "nack"


@versions("3.10 - 4.2", still=True)
@both
@limits
@pytest.mark.parametrize("overflow", [{}, {"overflow": "drop-head"}])
async def test_drop_head(
    server: Server,
    channel: RawChannel,
    kind: str,
    limit: dict[str, Any],
    body: bytes,
    overflow: dict[str, Any],
) -> None:
    """Over its limit a queue drops its oldest messages; publishers get acks."""
    source = await queue(server, await confirming(channel), queue_type=kind, **limit, **overflow)
    for number in range(4):
        assert await publish(channel, source, body, message_id=str(number)) == "ack"
    await until_count(server, channel, source, 2)
    assert [(await take(channel, source)).properties.message_id for _ in range(2)] == ["2", "3"]
    assert await channel.get(source) is None


@versions("3.10 - 4.3")
@both
@limits
async def test_maxlen(
    server: Server, channel: RawChannel, kind: str, limit: dict[str, Any], body: bytes
) -> None:
    """What drop-head drops is dead-lettered with the reason maxlen, oldest first."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange, **limit)
    for number in range(4):
        channel.publish(body, source, message_id=str(number))
    letters = [await arrival(channel, dead) for _ in range(2)]
    assert [letter.properties.message_id for letter in letters] == ["0", "1"]
    assert [deaths(letter) for letter in letters] == [[(source, "maxlen", 1)]] * 2


@versions("3.10 - 4.3")
@both
async def test_larger_than_the_limit(server: Server, channel: RawChannel, kind: str) -> None:
    """A message larger than x-max-length-bytes drops all before it and then itself."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange=exchange, max_length_bytes=20
    )
    channel.publish(b"small", source)
    channel.publish(b"x" * 21, source)
    bodies = [(await arrival(channel, dead)).body for _ in range(2)]
    assert sorted(bodies) == [b"small", b"x" * 21]  # quorum queues do not keep the order
    await until_count(server, channel, source, 0)


@versions("3.10 - 4.3")
async def test_bytes_of_bodies(server: Server, channel: RawChannel) -> None:
    """x-max-length-bytes counts the bodies and not the headers."""
    source = await queue(
        server, await confirming(channel), queue_type="classic", max_length_bytes=20
    )
    for _ in range(2):
        await publish(channel, source, b"0123456789", headers={"h": "x" * 500})
    assert await server.count(channel, source) == 2
    await publish(channel, source, b"")
    assert await server.count(channel, source) == 3
    await publish(channel, source, b"1")
    assert await server.count(channel, source) == 3
    assert [len((await take(channel, source)).body) for _ in range(3)] == [10, 0, 1]


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize("limit", ["max_length", "max_length_bytes"])
async def test_zero(server: Server, channel: RawChannel, kind: str, limit: str) -> None:
    """With a limit of 0 a message is dropped at once, unless a consumer waits."""
    exchange, dead = await sink(server, channel)
    zero: dict[str, Any] = {limit: 0}
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange, **zero)
    channel.publish(b"dropped", source)
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"dropped", [(source, "maxlen", 1)])
    await consume(channel, source)
    channel.publish(b"delivered", source)
    assert (await channel.deliveries.get()).body == b"delivered"


@versions("3.10 - 4.3")
@both
async def test_held(server: Server, channel: RawChannel, kind: str) -> None:
    """Delivered messages do not count; one requeued to the head of a full queue is dropped."""
    exchange, dead = await sink(server, channel)
    to_the_head: dict[str, Any] = {"delivery_limit": 5} if kind == "quorum" else {}
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange=exchange, max_length=1, **to_the_head
    )
    channel.publish(b"held", source)
    held = await take(channel, source)
    channel.publish(b"ready", source)
    await until_count(server, channel, source, 1)
    reject(channel, held, requeue=True)
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"held", [(source, "maxlen", 1)])
    assert (await take(channel, source)).body == b"ready"


@versions("3.10 - 4.3")
@pytest.mark.parametrize(("limit", "body"), LIMITS)
@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
async def test_reject_publish(
    server: Server, channel: RawChannel, limit: dict[str, Any], body: bytes, overflow: str
) -> None:
    """A full classic queue that rejects answers nack and keeps what it has."""
    await confirming(channel)
    source = await queue(server, channel, queue_type="classic", overflow=overflow, **limit)
    answers = [await publish(channel, source, body, message_id=str(n)) for n in range(4)]
    assert answers == ["ack", "ack", "nack", "nack"]
    assert [(await take(channel, source)).properties.message_id for _ in range(2)] == ["0", "1"]
    assert await publish(channel, source, body) == "ack"


@versions("3.10 - 4.3")
async def test_reject_larger(server: Server, channel: RawChannel) -> None:
    """A classic queue rejects what would exceed its limit of bytes, and takes what still fits."""
    await confirming(channel)
    source = await queue(
        server, channel, queue_type="classic", overflow="reject-publish", max_length_bytes=20
    )
    assert await publish(channel, source, b"x" * 19) == "ack"
    assert await publish(channel, source, b"xx") == "nack"
    assert await publish(channel, source, b"x") == "ack"
    assert await publish(channel, source, b"x") == "nack"
    assert await publish(channel, source, b"") == "ack"
    assert await server.count(channel, source) == 3


@versions("3.10 - 4.3")
async def test_reject_without_confirms(server: Server, channel: RawChannel) -> None:
    """Without confirms what a full queue rejects is lost without a word."""
    source = await queue(
        server, channel, queue_type="classic", overflow="reject-publish", max_length=1
    )
    for body in (b"0", b"1"):
        channel.publish(body, source, mandatory=True)
    assert (await take(channel, source)).body == b"0"
    assert await channel.get(source) is None
    assert not channel.returns.items


@versions("3.10 - 4.3")
async def test_reject_of_one_queue(server: Server, channel: RawChannel) -> None:
    """A message that one queue rejects is nacked, and the other queues have it."""
    exchange, other = await sink(server, await confirming(channel), "other")
    full = await queue(
        server, channel, queue_type="classic", overflow="reject-publish", max_length=0
    )
    await bind(channel, full, exchange)
    channel.publish(b"x", exchange=exchange, mandatory=True)
    assert isinstance(await channel.confirms.get(), Basic.Nack)
    assert (await arrival(channel, other)).body == b"x"
    assert await server.count(channel, full) == 0
    assert not channel.returns.items


@versions("3.10 - 4.3")
async def test_reject_with_a_consumer(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """A queue that rejects does so by its ready messages, consumer or not."""
    await confirming(channel)
    source = await queue(
        server, channel, queue_type="classic", overflow="reject-publish", max_length=1
    )
    busy = await connection.channel()
    await busy.call(Basic.Qos(prefetch_count=1))
    await consume(busy, source)
    assert await publish(channel, source, b"held") == "ack"
    held = await busy.deliveries.get()
    assert await publish(channel, source, b"ready") == "ack"
    assert await publish(channel, source, b"refused") == "nack"
    busy.send(Basic.Ack(delivery_tag=held.method.delivery_tag))
    assert (await busy.deliveries.get()).body == b"ready"
    assert await publish(channel, source, b"taken") == "ack"


@versions("3.10 - 4.3")
async def test_reject_publish_dlx(server: Server, channel: RawChannel) -> None:
    """With reject-publish-dlx the rejected message is dead-lettered, and nacked as well."""
    exchange, dead = await sink(server, await confirming(channel))
    source = await queue(
        server,
        channel,
        queue_type="classic",
        overflow="reject-publish-dlx",
        dead_letter_exchange=exchange,
        max_length=1,
    )
    assert await publish(channel, source, b"kept") == "ack"
    assert await publish(channel, source, b"refused") == "nack"
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"refused", [(source, "maxlen", 1)])
    assert await server.count(channel, source) == 1


@versions("3.10 - 4.3")
async def test_reject_publish_without_dlx(server: Server, channel: RawChannel) -> None:
    """With reject-publish the rejected message is no dead letter."""
    exchange, dead = await sink(server, await confirming(channel))
    source = await queue(
        server,
        channel,
        queue_type="classic",
        overflow="reject-publish",
        dead_letter_exchange=exchange,
        max_length=1,
    )
    assert await publish(channel, source, b"kept") == "ack"
    assert await publish(channel, source, b"refused") == "nack"
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"kept", [(source, "rejected", 1)])


@versions("3.10 - 4.3")
async def test_dead_letter_to_a_full_queue(server: Server, channel: RawChannel) -> None:
    """A dead letter that a full queue rejects is lost."""
    dead = await queue(
        server, channel, "dead", queue_type="classic", overflow="reject-publish", max_length=1
    )
    source = await queue(
        server, channel, dead_letter_exchange="", dead_letter_routing_key=dead, queue_type="classic"
    )
    for body in (b"0", b"1", b"2"):
        channel.publish(body, source)
    taken = [await take(channel, source) for _ in range(3)]
    reject(channel, taken[0])
    reject(channel, taken[1])
    channel.publish(b"next", source)
    await take(channel, source)  # the queue has dealt with both
    assert (await arrival(channel, dead)).body == b"0"
    reject(channel, taken[2])
    assert (await arrival(channel, dead)).body == b"2"


@versions("3.10 - 4.3")
async def test_quorum_reject_publish(server: Server, channel: RawChannel) -> None:
    """A full quorum queue nacks too, soon after it is full, and takes messages again later."""
    await confirming(channel)
    source = await queue(
        server, channel, queue_type="quorum", overflow="reject-publish", max_length=2
    )
    assert [await publish(channel, source, b"x") for _ in range(2)] == ["ack", "ack"]
    await eventually(lambda: publish(channel, source, b"over"), lambda answer: answer == "nack")
    assert [(await arrival(channel, source)).body for _ in range(2)] == [b"x", b"x"]
    while await channel.get(source, no_ack=True):
        pass
    await eventually(lambda: publish(channel, source, b"y"), lambda answer: answer == "ack")
    assert (await arrival(channel, source)).body == b"y"


@versions("3.10 - 4.3")
async def test_quorum_reject_publish_dlx(server: Server, channel: RawChannel) -> None:
    """A quorum queue does not know reject-publish-dlx and drops its head instead."""
    exchange, dead = await sink(server, await confirming(channel))
    source = await queue(
        server,
        channel,
        queue_type="quorum",
        overflow="reject-publish-dlx",
        dead_letter_exchange=exchange,
        max_length=1,
    )
    assert [await publish(channel, source, body) for body in (b"0", b"1")] == ["ack", "ack"]
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"0", [(source, "maxlen", 1)])


@versions("3.10 - 4.3")
@both
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("x-max-length", -1, "{value_negative,-1}"),
        ("x-max-length", "5", '"expected integer, got longstr"'),
        ("x-max-length-bytes", -1, "{value_negative,-1}"),
        ("x-max-length-bytes", 5.0, '"expected integer, got float"'),
        ("x-overflow", "drop", "invalid_overflow"),
        ("x-overflow", 5, "{unacceptable_type,byte}"),
    ],
)
async def test_arguments(
    server: Server, channel: RawChannel, kind: str, name: str, value: Any, text: str
) -> None:
    """Limits are numbers from 0 on, and x-overflow is one of its three words."""
    with pytest.raises(ChannelClosed) as caught:
        await queue(server, channel, queue_type=kind, **{name[2:]: value})
    assert (caught.value.code, caught.value.text) == (
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue '{server.queues[-1]}'"
        f" in vhost '/': {text}",
    )
