"""How a connection ends: what is behind a close is discarded, and TCP is the client's to close."""

import asyncio
from typing import Any, Self

import pamqp.frame
import pytest
from pamqp.commands import Basic, Channel, Connection

from tests.conformance.client import SECONDS, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.frames import BODY, METHOD, body, frame, header, sent
from tests.conformance.refusals import bodies
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

CLOSE = sent(Connection.Close(200, "bye", 0, 0), channel=0)
CLOSE_OK = sent(Connection.CloseOk(), channel=0)
FLOW = sent(Channel.Flow(active=True), channel=0)
"""Closes the connection: there is no flow on channel 0."""
CLOSES = [(CLOSE, Connection.CloseOk), (FLOW, Connection.Close)]
BY = ["by the client", "by the broker"]


class Bare:
    """An open connection whose frames are read one at a time, and answered by nobody."""

    def __init__(self, connection: RawConnection) -> None:
        assert connection._reader
        assert connection._writer
        self.write, self._reader = connection.write, connection._reader
        self.end = connection._writer.write_eof

    @classmethod
    async def of(cls, connection: RawConnection) -> Self:
        """Read a connection from here on."""
        assert connection._task
        connection._task.cancel()
        await asyncio.wait([connection._task])
        return cls(connection)

    async def read(self, seconds: float = SECONDS) -> Any:
        """The next method, or None when the broker has closed the socket."""
        async with asyncio.timeout(seconds):
            try:
                head = await self._reader.readexactly(7)
                rest = await self._reader.readexactly(int.from_bytes(head[3:7], "big") + 1)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        return pamqp.frame.unmarshal(head + rest)[2]


def published(queue: str, channel: int = 1) -> bytes:
    """A whole publication."""
    publish = sent(Basic.Publish(exchange="", routing_key=queue), channel=channel)
    return publish + header(1, channel=channel) + body(b"x", channel=channel)


def behind(queue: str) -> bytes:
    """Frames of every kind that are good, or would be faults before the close."""
    return b"".join(
        [
            published(queue),
            sent(Channel.Open(), channel=7),
            published(queue, channel=9),
            sent(Basic.Qos()),
            frame(METHOD, 0, b""),
            frame(9, 3, b"abc"),
            frame(BODY, 0, bytes([0, 10, 0, 51])),
        ]
    )


@pytest.mark.parametrize(("close", "answer"), CLOSES, ids=BY)
async def test_frames_behind(
    server: Server, channel: RawChannel, close: bytes, answer: type
) -> None:
    """Frames behind a close are discarded, and the broker reads until it is answered close-ok."""
    queue = await server.queue(channel)
    bare = await Bare.of(channel.connection)
    bare.write(close + behind(queue))
    assert isinstance(await bare.read(), answer)
    for _ in range(2):
        bare.write(behind(queue) + CLOSE)
        assert isinstance(await bare.read(), Connection.CloseOk)
    bare.write(CLOSE_OK)
    assert await bare.read() is None
    other = await (await server.connect()).channel()
    assert await bodies(other, queue) == []


@pytest.mark.parametrize(("close", "answer"), CLOSES, ids=BY)
async def test_half_closed(connection: RawConnection, close: bytes, answer: type) -> None:
    """A client that closes its half of TCP behind its close gets the answer, and the end."""
    bare = await Bare.of(connection)
    bare.write(close)
    bare.end()
    assert isinstance(await bare.read(), answer)
    assert await bare.read() is None


@pytest.mark.parametrize(("close", "answer"), CLOSES, ids=BY)
async def test_broken_frame_behind(connection: RawConnection, close: bytes, answer: type) -> None:
    """A frame with a wrong end behind a close costs nobody the answer."""
    bare = await Bare.of(connection)
    bare.write(close + frame(METHOD, 1, b"\0\x3c\0\x0a", end=b"\0"))
    assert isinstance(await bare.read(), answer)


@pytest.mark.long
@pytest.mark.parametrize(("close", "answer"), CLOSES, ids=BY)
async def test_never_closed(server: Server, close: bytes, answer: type) -> None:
    """A client that never closes TCP is waited for as long as a heartbeat may take."""
    connection = await server.connect(heartbeat=1)
    bare = await Bare.of(connection)
    started = asyncio.get_running_loop().time()
    bare.write(close)
    assert isinstance(await bare.read(), answer)
    while await bare.read() is not None:
        bare.write(behind("nobody"))
    assert 0.9 < asyncio.get_running_loop().time() - started < 3


@pytest.mark.long
@pytest.mark.parametrize("close", [b"", CLOSE], ids=["at once", "behind a close"])
async def test_out_of_step(connection: RawConnection, close: bytes) -> None:
    """Who has sent a broken frame is not read any more, close-ok included, and cut off in 3 s."""
    bare = await Bare.of(connection)
    bare.write(close + frame(METHOD, 1, b"\0\x3c\0\x0a", end=b"\0") + CLOSE_OK)
    assert isinstance(await bare.read(), Connection.CloseOk if close else Connection.Close)
    assert await bare.read(6) is None
