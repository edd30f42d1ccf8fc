"""What a worker is: a bus that runs, says how it is, and ends where its supervisor has."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Self

from busauth._amqp.bus import Bus

EVERY = 1.0
"""Seconds between two words of a worker's; where something changes, it is told sooner."""

_LOOK = 0.1
_REASONS, _CHARS = 20, 500  # of a word: a line that nobody reads must not grow without end


@dataclass(frozen=True, slots=True)
class Word:
    """What a worker says of itself, a line each.

    Attributes:
        reasons: why it is not ready; none where it is.
        drain: seconds that its handlers get to finish.
    """

    reasons: tuple[str, ...]
    drain: float

    @classmethod
    def of(cls, bus: Bus) -> Self:
        """Return what is to be said of a bus at this moment."""
        reasons = bus.ready.reasons[:_REASONS]
        return cls(tuple(each[:_CHARS] for each in reasons), bus.options.drain)

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Return what was said."""
        said = json.loads(line)
        return cls(tuple(said["reasons"]), said["drain"])

    def line(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"


async def work(bus: Bus, link: int) -> None:
    """Run a bus for a supervisor, until that says so or is gone.

    Args:
        bus: runs until a signal, or the end of the link.
        link: the file descriptor of a socket whose other end is the supervisor's.

    Raises:
        ConfigurationError, ConnectionError: as of `Bus.run`.
    """
    # A process manager may tell supervisor and workers both: the second word must end no drain.
    signal.signal(signal.SIGTERM, lambda *_: bus.stop())
    ours = socket.socket(fileno=link)
    ours.set_inheritable(False)  # what a handler starts must not hold it open
    async with _supervised(bus, ours):
        await bus.run()


@asynccontextmanager
async def _supervised(bus: Bus, link: socket.socket) -> AsyncIterator[None]:
    reader, writer = await asyncio.open_connection(sock=link)
    tasks = [
        asyncio.create_task(_tell(bus, writer)),
        asyncio.create_task(_stop_without_supervisor(bus, reader)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        writer.close()


async def _tell(bus: Bus, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    told, due = None, loop.time()
    with suppress(OSError):  # it is gone: the other task sees to that
        while True:
            word = Word.of(bus)
            if word != told or loop.time() >= due:
                told, due = word, loop.time() + EVERY
                writer.write(word.line())
                await writer.drain()
            await asyncio.sleep(_LOOK)


async def _stop_without_supervisor(bus: Bus, reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(1):  # nothing is said this way: it ends, that is all
            pass
    bus.stop()
