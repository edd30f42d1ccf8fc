"""Frames as bytes, for what no client would send."""

from struct import pack

from pamqp.base import Frame
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from tests.conformance.client import ConnectionClosed, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.refusals import same, works

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"


def frame(kind: int, channel: int, payload: bytes, *, end: bytes = END) -> bytes:
    """A frame of any kind."""
    return pack(">BHI", kind, channel, len(payload)) + payload + end


def method(class_id: int, method_id: int, arguments: bytes = b"", *, channel: int = 1) -> bytes:
    """A method frame."""
    return frame(METHOD, channel, pack(">HH", class_id, method_id) + arguments)


def sent(value: Frame | ContentHeader, *, channel: int = 1) -> bytes:
    """The frame of a method or of a content header."""
    return marshal(value, channel)


def header(  # the parts of a content header
    size: int, flags: int = 0, properties: bytes = b"", *, class_id: int = 60, channel: int = 1
) -> bytes:
    """A content header frame."""
    return frame(HEADER, channel, pack(">HHQH", class_id, 0, size, flags) + properties)


def body(data: bytes, *, channel: int = 1) -> bytes:
    """A content body frame."""
    return frame(BODY, channel, data)


def short(text: bytes) -> bytes:
    """A short string."""
    return bytes([len(text)]) + text


async def closes_the_connection_by(
    server: Server,
    channel: RawChannel,
    data: bytes,
    expected: tuple[int, str, tuple[int, int]],
) -> None:
    """These bytes close the whole connection, all its channels with it, and no other connection."""
    neighbour = await channel.connection.channel()
    other = await (await server.connect()).channel()
    channel.connection.write(data)
    for end in (await channel.connection.closed(), await channel.closed()):
        assert isinstance(end, ConnectionClosed)
        same(end, expected)
    same(await neighbour.closed(), expected)
    await works(other)
