"""Frames that are not as they should be, and frames that are just unusual."""

from struct import pack

import pytest
from pamqp.commands import Basic, Confirm, Connection, Queue
from pamqp.header import ContentHeader

from tests.conformance.client import ConnectionClosed, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.frames import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    body,
    closes_the_connection_by,
    frame,
    header,
    method,
    sent,
    short,
)
from tests.conformance.refusals import bodies, same, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

QOS = pack(">IHB", 0, 0, 0)
PUBLISH = sent(Basic.Publish(exchange="", routing_key="nobody"))
THREE = sent(ContentHeader(body_size=3))
UNKNOWN = "unknown_frame"
NOT_A_METHOD = "expected method frame, got non method frame instead"
NOT_A_HEADER = "expected content header for class 60, got non content header frame instead"
NOT_A_BODY = "expected content body, got non content body frame instead"
Expected = tuple[int, str, tuple[int, int]]


def fault(kind: int, octets: str, what: str) -> Expected:
    """How a frame is refused that cannot be read."""
    return 501, f"FRAME_ERROR - type {kind}, all octets = {octets}: {what}", (0, 0)


def undecodable(arguments: bytes, ids: tuple[int, int]) -> Expected:
    """How a method is refused whose arguments cannot be read."""
    return 501, f"FRAME_ERROR - cannot decode <<{','.join(map(str, arguments))}>>", ids


def unexpected(what: str, ids: tuple[int, int] = (0, 0)) -> Expected:
    """How a frame is refused that does not belong there."""
    return 505, f"UNEXPECTED_FRAME - {what}", ids


TABLE_CUT = b"\0\0" + short(b"q") + b"\x04" + pack(">I", 50) + b"\x01a"
TABLE_MISSING = b"\0\0" + short(b"q") + b"\x04"

FAULTS: dict[str, tuple[bytes, Expected]] = {
    "frame end": (
        frame(METHOD, 1, pack(">HH", 60, 10) + QOS, end=b"\0"),
        fault(1, "<<0,60,0,10,0,0,0,0,0,0,0>>", "{invalid_frame_end_marker,0}"),
    ),
    "frame end of a heartbeat": (
        frame(HEARTBEAT, 0, b"", end=b"\x01"),
        fault(8, "<<>>", "{invalid_frame_end_marker,1}"),
    ),
    "type 0": (frame(0, 1, b""), fault(0, "<<>>", UNKNOWN)),
    "type 4": (frame(4, 1, b"abc"), fault(4, '<<"abc">>', UNKNOWN)),
    "type 9": (frame(9, 0, b"abc"), fault(9, '<<"abc">>', UNKNOWN)),
    "no method": (frame(METHOD, 1, b""), fault(1, "<<>>", UNKNOWN)),
    "half a method": (frame(METHOD, 1, b"\0\x32"), fault(1, "<<0,50>>", UNKNOWN)),
    "heartbeat with a payload": (frame(HEARTBEAT, 0, b"abc"), fault(8, '<<"abc">>', UNKNOWN)),
    "heartbeat on a channel": (
        frame(HEARTBEAT, 1, b""),
        unexpected("type 8, all octets = <<>>"),
    ),
    "too few arguments": (method(50, 10, b"\0\0"), undecodable(b"\0\0", (50, 10))),
    "too many arguments": (method(60, 10, QOS + b"zz"), undecodable(QOS + b"zz", (60, 10))),
    "table cut off": (method(50, 10, TABLE_CUT), undecodable(TABLE_CUT, (50, 10))),
    "table missing": (method(50, 10, TABLE_MISSING), undecodable(TABLE_MISSING, (50, 10))),
    "too large": (
        pack(">BHI", BODY, 1, 131073),
        fault(3, "<<>>", "{frame_too_large,131073,131064}"),
    ),
    "much too large": (
        pack(">BHI", METHOD, 1, 2**32 - 1),
        fault(1, "<<>>", "{frame_too_large,4294967295,131064}"),
    ),
    "header first": (THREE, unexpected(NOT_A_METHOD)),
    "body first": (body(b"abc"), unexpected(NOT_A_METHOD)),
    "header on a closed channel": (header(3, channel=9), unexpected(NOT_A_METHOD)),
    "header on channel 0": (
        header(0, channel=0),
        unexpected("type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,0,0,0>>"),
    ),
    "body on channel 0": (body(b"abc", channel=0), unexpected('type 3, all octets = <<"abc">>')),
    "method instead of a header": (PUBLISH * 2, unexpected(NOT_A_HEADER, (60, 40))),
    "close instead of a header": (
        PUBLISH + method(20, 40, pack(">H", 200) + short(b"") + pack(">HH", 0, 0)),
        unexpected(NOT_A_HEADER, (60, 40)),
    ),
    "body instead of a header": (PUBLISH + body(b"abc"), unexpected(NOT_A_HEADER, (60, 40))),
    "header instead of a body": (PUBLISH + THREE * 2, unexpected(NOT_A_BODY, (60, 40))),
    "method instead of a body": (
        PUBLISH + THREE + method(60, 10, QOS),
        unexpected(NOT_A_BODY, (60, 40)),
    ),
    "body after the body": (
        PUBLISH + THREE + body(b"abc") + body(b"d"),
        unexpected(NOT_A_METHOD),
    ),
    "body of no bytes after none": (PUBLISH + header(0) + body(b""), unexpected(NOT_A_METHOD)),
    "header of another class": (
        PUBLISH + header(3, class_id=50),
        unexpected("expected content header for class 60, got one for class 50 instead", (60, 40)),
    ),
    "header cut off": (
        PUBLISH + frame(HEADER, 1, pack(">HH", 60, 0)),
        fault(2, "<<0,60,0,0>>", UNKNOWN),
    ),
    "empty header": (PUBLISH + frame(HEADER, 1, b""), fault(2, "<<>>", UNKNOWN)),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(server: Server, channel: RawChannel, name: str) -> None:
    """A frame that cannot be read, or does not belong there, closes the connection."""
    data, expected = FAULTS[name]
    await closes_the_connection_by(server, channel, data, expected)


@pytest.mark.parametrize("declared", [b"\xff\xfe", b"caf\xe9"])
async def test_not_utf8(server: Server, channel: RawChannel, declared: bytes) -> None:
    """A queue's name that is not UTF-8 closes the connection."""
    data = method(50, 10, b"\0\0" + short(declared) + b"\x04" + pack(">I", 0))
    expected = (501, "FRAME_ERROR - Malformed UTF-8 in shortstr", (0, 0))
    await closes_the_connection_by(server, channel, data, expected)


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize(
    "data",
    [
        method(99, 10),
        method(50, 99),
        method(70, 10),
        method(99, 10, channel=0),
        method(99, 10, channel=9),
        method(50, 10, b"\0\0" + short(b"q") + b"\x04" + pack(">I", 3) + b"\x01aZ"),
        method(50, 10, b"\0\0" + short(b"q") + b"\x04" + pack(">I", 4) + b"\x01aI\0"),
    ],
    ids=[
        "class",
        "method",
        "class of AMQP 0-8",
        "class on channel 0",
        "class on a closed channel",
        "type of a field",
        "cut off field",
    ],
)
async def test_hang_up(server: Server, channel: RawChannel, data: bytes) -> None:
    """A method or a type of a field that does not exist makes the broker hang up."""
    await closes_the_connection_by(server, channel, data, (0, "hung up", (0, 0)))


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize(
    "content",
    [
        header(3, 0x8000),
        header(3, 0x8000, b"\x05ab"),
        header(3, 0x2000, pack(">I", 100) + b"x"),
        header(3, 0x2000, pack(">I", 3) + b"\x01aZ"),
        header(3, 0, b"zzz"),
    ],
    ids=["missing", "cut off", "table cut off", "type of a field", "too much"],
)
async def test_properties(server: Server, channel: RawChannel, content: bytes) -> None:
    """Properties that cannot be read close the connection, once the whole message is there."""
    connection = channel.connection
    connection.write(PUBLISH + content + body(b"ab"))
    await works(await connection.channel())
    expected = (541, "INTERNAL_ERROR", (0, 0))
    await closes_the_connection_by(server, channel, body(b"c"), expected)


@pytest.mark.parametrize("mandatory", [False, True])
async def test_immediate(server: Server, channel: RawChannel, mandatory: bool) -> None:
    """immediate=true closes the connection, once the whole message is there."""
    publish = sent(Basic.Publish(routing_key="nobody", immediate=True, mandatory=mandatory))
    channel.connection.write(publish + THREE)
    await works(await channel.connection.channel())
    expected = (540, "NOT_IMPLEMENTED - immediate=true", (60, 40))
    await closes_the_connection_by(server, channel, body(b"abc"), expected)


async def test_immediate_before_exchange(channel: RawChannel) -> None:
    """immediate=true is seen before an exchange that does not exist."""
    channel.publish(exchange="no.such.exchange", immediate=True)
    same(await channel.closed(), (540, "NOT_IMPLEMENTED - immediate=true", (60, 40)))


@pytest.mark.parametrize(
    "pieces",
    [
        [b"abc"],
        [b"a", b"b", b"c"],
        [b"", b"ab", b"", b"c"],
    ],
    ids=str,
)
async def test_pieces(server: Server, channel: RawChannel, pieces: list[bytes]) -> None:
    """A body may come in any number of frames, some of them empty, with heartbeats in between."""
    queue = await server.queue(channel)
    data = [sent(Basic.Publish(exchange="", routing_key=queue)), THREE, *map(body, pieces)]
    channel.connection.write(frame(HEARTBEAT, 0, b"").join(data))
    assert await bodies(channel, queue) == [b"abc"]


async def test_empty_body(server: Server, channel: RawChannel) -> None:
    """A message without a body has no body frame."""
    queue = await server.queue(channel)
    publish = sent(Basic.Publish(exchange="", routing_key=queue))
    channel.connection.write((publish + header(0)) * 2)
    assert await bodies(channel, queue) == [b"", b""]


async def test_interleaved(server: Server, channel: RawChannel) -> None:
    """The frames of messages on several channels may be mixed."""
    queue = await server.queue(channel)
    connection = channel.connection
    numbers = [(await connection.channel()).number for _ in range(3)]
    publish = Basic.Publish(exchange="", routing_key=queue)
    data = [sent(publish, channel=n) for n in numbers]
    data += [header(2, channel=n) for n in numbers]
    data += [body(b"x", channel=n) for n in numbers] + [body(b"y", channel=n) for n in numbers]
    connection.write(b"".join(data))
    for number in numbers:
        await works(connection.channels[number])
    assert await bodies(channel, queue) == [b"xy"] * 3


@pytest.mark.parametrize("extra", [0, 1, 8])
async def test_largest_frame(server: Server, channel: RawChannel, extra: int) -> None:
    """A frame may be 8 bytes larger than was agreed on: its head and end are not counted."""
    queue = await server.queue(channel)
    size = 131072 - 8 + extra
    publish = sent(Basic.Publish(exchange="", routing_key=queue))
    channel.connection.write(publish + header(size) + body(b"x" * size))
    content = await channel.get(queue)
    assert content is not None
    assert len(content.body) == size


@pytest.mark.parametrize(
    ("ticket", "bits"), [(b"\0\x05", 0x04), (b"\0\0", 0xE4)], ids=["ticket", "bits"]
)
async def test_reserved(channel: RawChannel, ticket: bytes, bits: int) -> None:
    """Nobody looks at the ticket, nor at bits that mean nothing."""
    data = method(50, 10, ticket + short(b"") + bytes([bits]) + pack(">I", 0))
    channel.connection.write(data)
    assert isinstance(await channel.replies.get(), Queue.DeclareOk)


async def test_same_field_twice(channel: RawChannel) -> None:
    """A table may name a field twice."""
    table = b"\x01at\x01" + b"\x01at\x00"
    arguments = b"\0\0" + short(b"") + b"\x04" + pack(">I", len(table)) + table
    channel.connection.write(method(50, 10, arguments))
    assert isinstance(await channel.replies.get(), Queue.DeclareOk)


async def test_weight(server: Server, channel: RawChannel) -> None:
    """A content header with a weight counts as none."""
    data = PUBLISH + frame(HEADER, 1, pack(">HHQH", 60, 5, 3, 0))
    await closes_the_connection_by(server, channel, data, unexpected(NOT_A_HEADER, (60, 40)))


async def test_after_a_fault(server: Server, channel: RawChannel) -> None:
    """What was published before a fault is not lost; what comes after it is ignored."""
    queue = await server.queue(channel)
    connection = await server.connect()
    faulty = await connection.channel()
    await faulty.call(Confirm.Select())
    faulty.publish(b"before", queue)
    await faulty.confirms.get()
    faulty.send(Connection.Open("/"))
    faulty.publish(b"after", queue)
    assert isinstance(await connection.closed(), ConnectionClosed)
    assert await bodies(channel, queue) == [b"before"]
