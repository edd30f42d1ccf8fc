"""When what is written is sent, and what happens to clients that do not read."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

from busauth.testing.broker.wire.output import Batch, Output


@dataclass
class Transport:
    """Remembers each write."""

    writes: list[bytes] = field(default_factory=list)
    waiting: int = 0
    closing: bool = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting


@dataclass
class Way:
    """An output and everything around it."""

    batch: Batch = field(default_factory=Batch)
    transport: Transport = field(default_factory=Transport)
    proceeded: int = 0
    overflows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        transport = cast("asyncio.Transport", self.transport)
        self.output = Output(transport, self.batch, self.proceed, self.overflows.append)

    def proceed(self) -> None:
        self.proceeded += 1


def test_at_once() -> None:
    """Outside of a batch everything is sent at once."""
    way = Way()
    way.output.write(b"a")
    way.output.write(b"b")
    assert way.transport.writes == [b"a", b"b"]


def test_batch() -> None:
    """A batch is sent with one write for each connection, at its end."""
    one = Way()
    other = Way(batch=one.batch)
    with one.batch:
        for way in (one, other, one):
            way.output.write(b"x")
        assert not one.transport.writes
    assert (one.transport.writes, other.transport.writes) == ([b"xx"], [b"x"])


def test_nested() -> None:
    """A batch within a batch is part of it."""
    way = Way()
    with way.batch:
        with way.batch:
            way.output.write(b"a")
        way.output.write(b"b")
    assert way.transport.writes == [b"ab"]


def test_gathered() -> None:
    """What waits for the end of the batch is written before it is sent."""
    way = Way()
    with way.batch:
        way.output.before_flush(lambda: way.output.write(b"gathered"))
        way.output.write(b"x")
    way.output.before_flush(lambda: way.output.write(b"alone"))
    assert way.transport.writes == [b"xgathered", b"alone"]


async def test_turns() -> None:
    """After a lot was written the client's next deliveries wait for the next turn of the loop."""
    way = Way()
    with way.batch:
        assert way.output.writable()
        way.output.write(bytes(300_000))
        assert not way.output.writable()
    assert not way.output.writable()
    await asyncio.sleep(0)
    assert way.output.writable()
    assert way.proceeded == 1


async def test_a_little_in_many_turns() -> None:
    """What is written in earlier batches does not count."""
    way = Way()
    for _ in range(10):
        with way.batch:
            way.output.write(bytes(200_000))
        assert way.output.writable()
    await asyncio.sleep(0)
    assert way.proceeded == 0


async def test_paused() -> None:
    """A client that does not read gets no deliveries until it reads again."""
    way = Way()
    way.output.pause()
    way.transport.waiting = 1000
    with way.batch:
        way.output.write(bytes(300_000))
    await asyncio.sleep(0)
    assert not way.output.writable()
    assert way.overflows == [1000]
    way.output.resume()
    assert way.output.writable()
    assert way.proceeded == 1


async def test_closed() -> None:
    """Nothing is sent, and nobody called, once it is closed."""
    way = Way()
    with way.batch:
        way.output.write(bytes(300_000))
    with way.batch:
        way.output.write(b"lost")
        way.output.close()
    way.transport.closing = True
    way.output.write(b"lost")
    await asyncio.sleep(0)
    assert len(way.transport.writes) == 1
    assert not way.output.writable()
    assert way.proceeded == 0
