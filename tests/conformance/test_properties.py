"""A message's properties and body come back as they were published."""

from struct import pack
from typing import Any

import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.conformance.client import RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.delivering import PUBLISH, all_taken, closes, publish
from tests.conformance.frames import body, header, sent, short
from tests.conformance.lettering import confirming, consume, queue, take
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
PRIORITY, CORRELATION_ID, REPLY_TO, EXPIRATION = 1 << 11, 1 << 10, 1 << 9, 1 << 8
MESSAGE_ID, TIMESTAMP, TYPE, USER_ID = 1 << 7, 1 << 6, 1 << 5, 1 << 4
APP_ID, CLUSTER_ID = 1 << 3, 1 << 2


def long(data: bytes) -> bytes:
    """A long string, a table or an array."""
    return pack(">I", len(data)) + data


VALUES = {
    "long string": b"S" + long("ä€".encode()),
    "bytes that are no text": b"S" + long(b"\xff\xfe\0"),
    "empty string": b"S" + long(b""),
    "byte array": b"x" + long(b"\x00\xff"),
    "true": b"t\x01",
    "false": b"t\x00",
    "signed 8": b"b\x80",
    "unsigned 8": b"B\xff",
    "signed 16": b"s\x80\x00",
    "unsigned 16": b"u\xff\xff",
    "signed 32": b"I\x80\x00\x00\x00",
    "unsigned 32": b"i\xff\xff\xff\xff",
    "signed 64": b"l" + pack(">q", -(2**63)),
    "float": b"f" + pack(">f", 1.5),
    "double": b"d" + pack(">d", -1e300),
    "decimal": b"D\x02" + pack(">I", 314),
    "timestamp": b"T" + pack(">Q", 1_700_000_000),
    "timestamp of milliseconds": b"T" + pack(">Q", 1_700_000_000_123),
    "void": b"V",
    "empty table": b"F" + long(b""),
    "empty array": b"A" + long(b""),
}
VALUES["table"] = b"F" + long(b"".join(short(b"k") + value for value in VALUES.values()))
VALUES["array"] = b"A" + long(b"".join(VALUES.values()))
VALUES["table in an array in a table"] = b"F" + long(
    short(b"z") + b"A" + long(VALUES["table"] * 2 + b"V") + short(b"a") + b"t\x01"
)


async def kept(channel: RawChannel, name: str, flags: int, properties: bytes) -> None:
    """Publish a message with these properties, take it, and compare the bytes."""
    method = sent(Basic.Publish(exchange="", routing_key=name), channel=channel.number)
    head = header(1, flags, properties, channel=channel.number)
    channel.connection.write(method + head + body(b"x", channel=channel.number))
    await take(channel, name)
    expected = pack(">HHQH", 60, 0, 1, flags) + properties
    assert channel.connection.content_headers[-1] == expected


PROPERTIES = {
    "none": (0, b""),
    "content type": (CONTENT_TYPE, short(b"application/json")),
    "content encoding": (CONTENT_ENCODING, short(b"utf-8")),
    "headers": (HEADERS, long(short(b"a") + b"I" + pack(">i", 1))),
    "no headers": (HEADERS, long(b"")),
    "transient": (DELIVERY_MODE, b"\x01"),
    "persistent": (DELIVERY_MODE, b"\x02"),
    "priority 0": (PRIORITY, b"\x00"),
    "priority 9": (PRIORITY, b"\x09"),
    "priority 255": (PRIORITY, b"\xff"),
    "correlation id": (CORRELATION_ID, short("ä€".encode())),
    "empty correlation id": (CORRELATION_ID, short(b"")),
    "reply-to": (REPLY_TO, short(b"x" * 255)),
    "expiration": (EXPIRATION, short(b"3600000")),
    "message id": (MESSAGE_ID, short(b"\0\n")),
    "timestamp 0": (TIMESTAMP, pack(">Q", 0)),
    "timestamp": (TIMESTAMP, pack(">Q", 1_700_000_000)),
    "timestamp of milliseconds": (TIMESTAMP, pack(">Q", 1_700_000_000_123)),
    "type": (TYPE, short(b"created")),
    "user id": (USER_ID, short(b"guest")),
    "app id": (APP_ID, short(b"app")),
    "cluster id": (CLUSTER_ID, short(b"cluster")),
    "all": (
        0xFFFC,
        short(b"1")
        + short(b"2")
        + long(short(b"a") + b"t\x01")
        + b"\x02\x03"
        + b"".join(map(short, (b"4", b"5", b"60000", b"7")))
        + pack(">Q", 8)
        + b"".join(map(short, (b"9", b"guest", b"11", b"12"))),
    ),
}


@pytest.mark.parametrize("case", PROPERTIES)
async def test_properties(server: Server, channel: RawChannel, case: str) -> None:
    """Each property comes back, byte for byte, and no other does."""
    await kept(channel, await server.queue(channel), *PROPERTIES[case])


@pytest.mark.parametrize("value", VALUES)
async def test_header(server: Server, channel: RawChannel, value: str) -> None:
    """A header comes back with its type, byte for byte."""
    name = await server.queue(channel)
    await kept(channel, name, HEADERS, long(short(b"name") + VALUES[value]))


@versions("3.10 - 3.12", still=True)
@pytest.mark.parametrize(
    "table",
    [
        short(b"b") + b"V" + short(b"a") + b"V",
        short(b"a") + b"t\x01" + short(b"a") + b"V",
        short(b"a") + b"L" + pack(">q", -1),
        short(b"a") + b"t\x02",
    ],
    ids=["order", "twice", "another letter for the same type", "another true"],
)
async def test_table(server: Server, channel: RawChannel, table: bytes) -> None:
    """Headers come back as they were written, even where that has no meaning."""
    name = await server.queue(channel)
    await kept(channel, name, HEADERS, long(table))


async def test_headers_longest_name(server: Server, channel: RawChannel) -> None:
    """A header's name has up to 255 bytes, or none."""
    name = await server.queue(channel)
    await kept(channel, name, HEADERS, long(short(b"") + b"V"))
    await kept(channel, name, HEADERS, long(short(b"n" * 255) + b"V"))


async def test_large_headers(server: Server, channel: RawChannel) -> None:
    """Headers may fill the whole frame."""
    name = await server.queue(channel)
    properties = long(short(b"n") + b"S" + long(b"v" * 131000))
    await kept(channel, name, HEADERS, properties)


@versions("3.10 - 3.12", still=True)
@pytest.mark.parametrize("mode", [0, 3, 255])
async def test_delivery_mode(server: Server, channel: RawChannel, mode: int) -> None:
    """A delivery mode other than 1 and 2 closes the channel."""
    name = await server.queue(channel)
    channel.connection.write(
        sent(Basic.Publish(exchange="", routing_key=name)) + header(0, DELIVERY_MODE, bytes([mode]))
    )
    text = f"PRECONDITION_FAILED - invalid message: {{delivery_mode_unknown,{mode}}}"
    await closes(channel, 406, text, PUBLISH)


FRAME = 131072 - 8


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 3 * FRAME + 17])
async def test_body(server: Server, channel: RawChannel, kind: str, size: int) -> None:
    """A body of any size comes back."""
    name = await queue(server, channel, queue_type=kind)
    expected = bytes(number % 251 for number in range(size))
    channel.publish(expected, name)
    assert (await take(channel, name)).body == expected


async def smaller(server: Server) -> RawConnection:
    """A connection with the smallest frames there may be."""
    connection = RawConnection(server.url)
    connection.frame_max = 4096
    server.connections.append(connection)
    return await connection.__aenter__()


@versions("3.10 - 4.2", still=True)
@pytest.mark.parametrize(
    ("size", "frames"),
    [(0, []), (1, [1]), (4088, [4088]), (4089, [4088, 1]), (9000, [4088, 4088, 824])],
)
async def test_frames(server: Server, channel: RawChannel, size: int, frames: list[int]) -> None:
    """A body comes in frames as large as its receiver agreed on, and an empty one in none."""
    name = await server.queue(channel)
    await publish(channel, name, b"x" * size)
    other = await (await smaller(server)).channel()
    sizes = []
    receive = other.receive

    def noting(frame: object) -> None:
        if isinstance(frame, ContentBody):
            sizes.append(len(frame.value or b""))
        receive(frame)

    other.receive = noting  # type: ignore[method-assign]
    await consume(other, name)
    assert (await other.deliveries.get()).body == b"x" * size
    assert sizes == frames


async def test_copies(server: Server, channel: RawChannel) -> None:
    """Every queue has the message as it was published."""
    names = [await server.queue(channel, each) for each in ("first", "second")]
    headers = {"CC": names[1:], "a": [1, {"b": None}]}
    values: dict[str, Any] = {"headers": headers, "message_id": "1", "content_type": "text/plain"}
    channel.publish(b"x", names[0], **values)
    for name in names:
        content = await take(channel, name)
        assert content.body == b"x"
        assert {key: value for key, value in content.properties if value} == values
        assert content.method.routing_key == names[0]


async def test_many(server: Server, channel: RawChannel) -> None:
    """Messages of a channel come in the order in which they were published."""
    name = await server.queue(await confirming(channel))
    bodies = [b"%d" % number for number in range(300)]
    channel.connection.write(
        b"".join(
            sent(Basic.Publish(exchange="", routing_key=name)) + sent_content(each)
            for each in bodies
        )
    )
    other = await channel.connection.channel()
    await consume(other, name, no_ack=True)
    assert [(await other.deliveries.get()).body for _ in bodies] == bodies
    assert await all_taken(channel, name) == []


def sent_content(data: bytes) -> bytes:
    return sent(ContentHeader(body_size=len(data), properties=Basic.Properties())) + body(data)
