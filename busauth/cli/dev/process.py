"""The bus's process, seen from outside: started, listened to, ended."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from busauth.cli.dev.inner import PATIENCE_SECONDS

_LONGEST_LINE = 2**20

Heard = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Orders:
    """What a bus's process is told.

    Attributes:
        target: ``module:bus``.
        broker: the URL that it uses instead of its own.
        issuer: whose tokens it takes instead.
        declares: whether its queues are declared even where an operator does that as a rule.
    """

    target: str
    broker: str
    issuer: str
    declares: bool


@asynccontextmanager
async def running(orders: Orders, heard: Heard) -> AsyncIterator[Process]:
    """Run a bus while inside; `heard` takes what it tells.

    It gets a session of its own: Ctrl-C is for its parent, which ends it, within seconds.
    """
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "busauth.cli.dev.inner",
            stdin=PIPE, pass_fds=(writing,), start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(writing)
    listening = asyncio.ensure_future(_listen(reading, heard))
    try:
        _tell(process, orders, writing)
        yield process
    finally:
        await _end(process)
        await asyncio.wait((listening,), timeout=PATIENCE_SECONDS)  # it may have left children
        listening.cancel()


def _tell(process: Process, orders: Orders, descriptor: int) -> None:
    """Say it where nobody else reads it: a URL may have a password, and arguments are public."""
    said = {**asdict(orders), "tell": descriptor}
    if process.stdin is not None:
        process.stdin.write(json.dumps(said).encode() + b"\n")


async def _listen(descriptor: int, heard: Heard) -> None:
    """Take each line until nobody holds the other end any more."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(descriptor, "rb")
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    while line := await reader.readline():
        heard(json.loads(line))


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
