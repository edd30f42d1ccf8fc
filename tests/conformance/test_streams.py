"""Streams: declared as queues, read without taking."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from tests.conformance.client import ChannelClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.frames import body, header, sent, short
from tests.conformance.lettering import (
    bind,
    confirming,
    consume,
    queue,
    reject,
    take,
)
from tests.conformance.reading import BODIES, ack, append, bodies, filled, read
from tests.conformance.tables import typed_headers
from tests.conformance.versions import versions


@versions("3.10 - 4.3")
@pytest.mark.parametrize("age", ["1Y", "2M", "3D", "4h", "5m", "60s", "007D"])
async def test_max_age(
    server: Server, connection: RawConnection, channel: RawChannel, age: str
) -> None:
    """x-max-age is a number and a unit, with limits of bytes and segments beside it."""
    stream = await queue(
        server,
        await confirming(channel),
        queue_type="stream",
        max_age=age,
        max_length_bytes=1000,
        stream_max_segment_size_bytes=500,
    )
    await append(channel, stream, b"x")
    assert await bodies(await read(connection, stream), 1) == [b"x"]


@versions("3.10 - 4.3")
async def test_offset_header(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """Each delivery has x-stream-offset, a long that counts from 0; none is a redelivery."""
    stream = await filled(server, channel)
    reader = await read(connection, stream, prefetch=1)
    for offset, expected in enumerate(BODIES):
        content = await reader.deliveries.get()
        assert typed_headers(connection) == {"x-stream-offset": ("l", offset)}
        assert (content.body, content.method.redelivered) == (expected, False)
        assert (content.method.exchange, content.method.routing_key) == ("", stream)
        ack(reader, content.method.delivery_tag)


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    ("offset", "first"),
    [("first", 0), (0, 0), (2, 2), ("last", 3), ("next", 4), (None, 4), (4, 4), ("1h", 0)],
)
async def test_offset(
    server: Server, connection: RawConnection, channel: RawChannel, offset: Any, first: int
) -> None:
    """A consumer begins at its x-stream-offset, by default with what comes next."""
    stream = await filled(server, channel)
    reader = await read(connection, stream, offset)
    await append(channel, stream, b"4")
    expected = [*BODIES, b"4"][first:]
    assert await bodies(reader, len(expected)) == expected


@versions("3.10 - 4.3")
async def test_offset_to_come(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """A consumer may wait for an offset that is still to come."""
    stream = await filled(server, channel)
    reader = await read(connection, stream, 6)
    for each in (b"4", b"5", b"6", b"7"):
        await append(channel, stream, each)
    assert await bodies(reader, 2) == [b"6", b"7"]


@versions("3.10 - 4.3")
@pytest.mark.parametrize(("ago", "first"), [(timedelta(hours=1), 0), (timedelta(hours=-1), 4)])
async def test_timestamp(
    server: Server,
    connection: RawConnection,
    channel: RawChannel,
    ago: timedelta,
    first: int,
) -> None:
    """A timestamp as x-stream-offset is a point of time; after all there is, it is the next."""
    stream = await filled(server, channel)
    reader = await read(connection, stream, datetime.now(UTC) - ago)
    await append(channel, stream, b"4")
    expected = [*BODIES, b"4"][first:]
    assert await bodies(reader, len(expected)) == expected


@versions("3.10 - 4.3")
async def test_several_consumers(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """Each consumer reads all messages, acknowledged by others or not."""
    stream = await filled(server, channel)
    for _ in range(2):
        reader = await read(connection, stream)
        assert await bodies(reader, 4) == BODIES
        ack(reader, 0, multiple=True)
    other = await read(await server.connect(), stream, 1)
    assert await bodies(other, 3) == BODIES[1:]


@versions("3.10 - 4.3")
async def test_two_on_a_channel(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """Two consumers on one channel read on their own, too."""
    stream = await filled(server, channel)
    reader = await read(connection, stream)
    assert await bodies(reader, 4) == BODIES
    await consume(reader, stream, arguments={"x-stream-offset": 2})
    assert await bodies(reader, 2) == BODIES[2:]


@versions("3.10 - 4.3")
@pytest.mark.parametrize("multiple", [False, True])
async def test_credit(
    server: Server, connection: RawConnection, channel: RawChannel, multiple: bool
) -> None:
    """An ack is no more than room for further messages within the prefetch count."""
    stream = await filled(server, channel)
    reader = await read(connection, stream, prefetch=2)
    everything = await read(connection, stream)
    assert await bodies(reader, 2) == BODIES[:2]
    await append(channel, stream, b"4")
    assert (await bodies(everything, 5))[-1] == b"4"
    assert not reader.deliveries.items
    ack(reader, 2, multiple=multiple)
    assert await bodies(reader, 2 if multiple else 1) == BODIES[2 : 4 if multiple else 3]
    await append(channel, stream, b"5")
    assert await bodies(everything, 1) == [b"5"]
    assert not reader.deliveries.items


@versions("3.10 - 4.3")
async def test_cancel(server: Server, connection: RawConnection, channel: RawChannel) -> None:
    """A cancelled consumer's messages go nowhere; a further one begins where it says."""
    stream = await filled(server, channel)
    reader = await connection.channel()
    await reader.call(Basic.Qos(prefetch_count=2))
    tag = await consume(reader, stream, arguments={"x-stream-offset": "first"})
    assert await bodies(reader, 2) == BODIES[:2]
    await reader.call(Basic.Cancel(consumer_tag=tag))
    again = await read(connection, stream, 2)
    content = await again.deliveries.get()
    assert (content.body, content.method.redelivered) == (b"2", False)


@versions("3.10 - 4.3")
async def test_exclusive_consumer(
    server: Server, connection: RawConnection, channel: RawChannel
) -> None:
    """The flag `exclusive` of basic.consume has no effect."""
    stream = await filled(server, channel)
    for _ in range(2):
        reader = await connection.channel()
        await reader.call(Basic.Qos(prefetch_count=10))
        await consume(reader, stream, exclusive=True, arguments={"x-stream-offset": "first"})
        assert await bodies(reader, 4) == BODIES


@versions("3.10 - 4.3")
async def test_properties(server: Server, connection: RawConnection, channel: RawChannel) -> None:
    """A message keeps its properties; nothing in a stream expires by its own expiration."""
    stream = await queue(server, await confirming(channel), queue_type="stream")
    values = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "0",
        "message_id": "m",
        "timestamp": datetime(2024, 1, 2, tzinfo=UTC),
        "message_type": "t",
        "app_id": "a",
    }
    headers = {"number": 1, "text": "x", "true": True}
    await append(channel, stream, b"x", headers=headers, **values)
    content = await (await read(connection, stream)).deliveries.get()
    assert {name: getattr(content.properties, name) for name in values} == values
    assert content.headers == {**headers, "x-stream-offset": 0}


@versions("3.10 - 4.3")
async def test_exchange(server: Server, connection: RawConnection, channel: RawChannel) -> None:
    """A stream is bound as queues are, and its deliveries tell exchange and routing key."""
    exchange = await server.exchange(channel, "direct")
    stream = await queue(server, channel, queue_type="stream")
    await bind(channel, stream, exchange, "k")
    await confirming(channel)
    channel.publish(b"x", "k", exchange, mandatory=True)
    assert isinstance(await channel.confirms.get(), Basic.Ack)
    assert not channel.returns.items
    content = await (await read(connection, stream)).deliveries.get()
    assert (content.method.exchange, content.method.routing_key) == (exchange, "k")


@versions("3.10 - 4.3")
async def test_dead_letter(server: Server, connection: RawConnection, channel: RawChannel) -> None:
    """A dead letter that is sent at least once may go to a stream."""
    stream = await queue(server, channel, "stream", queue_type="stream")
    source = await queue(
        server,
        channel,
        queue_type="quorum",
        overflow="reject-publish",
        dead_letter_strategy="at-least-once",
        dead_letter_exchange="",
        dead_letter_routing_key=stream,
    )
    channel.publish(b"x", source)
    reject(channel, await take(channel, source))
    content = await (await read(connection, stream)).deliveries.get()
    assert content.body == b"x"
    assert content.headers["x-first-death-queue"] == source
    assert content.headers["x-first-death-reason"] == "rejected"


@versions("3.10 - 4.3")
async def test_delete(server: Server, connection: RawConnection, channel: RawChannel) -> None:
    """A stream is deleted with its messages; its consumers are cancelled."""
    stream = await filled(server, channel)
    reader = await connection.channel()
    await reader.call(Basic.Qos(prefetch_count=1))
    tag = await consume(reader, stream, arguments={"x-stream-offset": "first"})
    await reader.deliveries.get()
    await channel.call(Queue.Delete(queue=stream))
    assert (await reader.cancels.get()).consumer_tag == tag
    await channel.call(
        Queue.Declare(queue=stream, durable=True, arguments={"x-queue-type": "stream"})
    )
    await append(channel, stream, b"new")
    content = await (await read(connection, stream)).deliveries.get()
    assert (content.body, content.headers["x-stream-offset"]) == (b"new", 0)


@versions("3.10 - 4.3")
async def test_conditional_delete(server: Server, channel: RawChannel) -> None:
    """`if-empty` does not protect a stream."""
    stream = await filled(server, channel)
    await channel.call(Queue.Delete(queue=stream, if_empty=True))
    with pytest.raises(ChannelClosed) as caught:
        await server.count(channel, stream)
    assert caught.value.code == 404


DELIVERY_MODE, CLUSTER_ID = 1 << 12, 1 << 2
HEADERS = {
    "byte": 1,
    "short": 300,
    "int": 70000,
    "long": 2**40,
    "float": 1.5,
    "void": None,
    "time": datetime(2024, 1, 2, tzinfo=UTC),
}
TYPED = {
    "byte": ("b", 1),
    "short": ("s", 300),
    "int": ("I", 70000),
    "long": ("l", 2**40),
    "float": ("f", 1.5),
    "void": ("V", None),
    "time": ("T", datetime(2024, 1, 2, tzinfo=UTC)),
    "x-stream-offset": ("l", 0),
}


async def headers_back(server: Server, channel: RawChannel, **headers: Any) -> dict[str, Any]:
    """The headers, with their types, of a message that went through a stream."""
    stream = await queue(server, await confirming(channel), queue_type="stream")
    await append(channel, stream, b"x", headers=headers)
    await (await read(channel.connection, stream)).deliveries.get()
    return typed_headers(channel.connection)


@versions("3.10 - 3.12")
async def test_headers_before(server: Server, channel: RawChannel) -> None:
    """Headers keep their types, and those that are arrays or tables are left out."""
    nested = {"array": [1, "x"], "table": {"k": "v"}}
    found = await headers_back(server, channel, **HEADERS, **nested, octets=bytearray(b"x"))
    assert found == {**TYPED, "octets": ("x", bytearray(b"x"))}


@versions("4.3 -")
async def test_headers(server: Server, channel: RawChannel) -> None:
    """Byte arrays come back as text, and what is an array or a table in annotations alone."""
    octets, nested = bytearray(b"\xff"), {"array": [1], "table": {"k": "v"}}
    annotations = {"x-array": [1, bytearray(b"\xff")], "x-table": {"k": [bytearray(b"v")]}}
    found = await headers_back(
        server, channel, **HEADERS, **nested, **annotations, octets=octets, CC=["nobody"]
    )
    text = ("S", b"\xff")
    assert found == {
        **TYPED,
        "octets": text,
        "x-array": ("A", [("b", 1), text]),
        "x-table": ("F", {"k": ("A", [("S", "v")])}),
        "CC": ("A", [("S", "nobody")]),
    }


@versions("4.3 -")
@pytest.mark.parametrize(("mode", "expected"), [(b"", 1), (b"\x01", 1), (b"\x02", 2)])
async def test_delivery_mode(
    server: Server, connection: RawConnection, channel: RawChannel, mode: bytes, expected: int
) -> None:
    """A message is transient unless it was persistent, and loses its cluster id."""
    stream = await queue(server, await confirming(channel), queue_type="stream")
    flags = CLUSTER_ID | (DELIVERY_MODE if mode else 0)
    publish = sent(Basic.Publish(exchange="", routing_key=stream))
    connection.write(publish + header(1, flags, mode + short(b"c")) + body(b"x"))
    content = await (await read(connection, stream)).deliveries.get()
    assert content.properties.delivery_mode == expected
    assert not content.properties.cluster_id
