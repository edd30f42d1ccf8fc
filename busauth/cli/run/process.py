"""One life of a worker: a process, what it said last, and how it is made to end."""

import asyncio
import os
import signal
import socket
import time
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from busauth.cli.run.worker import EVERY, Word

NUMBER = "BUSAUTH_WORKER"
"""The variable that tells a worker which one it is, from 1: for files that are one each."""

_SILENT = 10 * EVERY
"""Seconds without a word after which a worker's event loop is taken for blocked."""

_DRAIN = 25.0  # seconds, of a worker that has not said its own
_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process is waited for that shall end.

    Attributes:
        farewell: seconds on top of its drain, to take leave of the broker.
        hurry: seconds that remain once somebody is in a hurry.
    """

    farewell: float = 10.0
    hurry: float = 5.0


class Life:
    """A worker's process, started by `begun`.

    Attributes:
        pid: the process's.
        was_ready: whether it ever was.
    """

    def __init__(
        self, process: Process, link: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self._process = process
        self._reader, self._writer = link
        self._began = self._heard = time.monotonic()
        self._word: Word | None = None
        self.pid = process.pid
        self.was_ready = False

    @classmethod
    async def begun(cls, command: Sequence[str], number: int) -> "Life":
        """Start it, in a group of its own: what a terminal signals goes to the supervisor alone.

        Raises:
            OSError: the system starts none.
        """
        ours, its = socket.socketpair()
        link = await asyncio.open_connection(sock=ours, limit=_LINE_BYTES)
        with its:
            try:
                process = await create_subprocess_exec(
                    *command,
                    f"--link={its.fileno()}",
                    env={**os.environ, NUMBER: str(number)},
                    pass_fds=(its.fileno(),),
                    process_group=0,
                )
            except OSError:
                link[1].close()
                raise
        return cls(process, link)

    @property
    def seconds(self) -> float:
        """Return how long it has lasted."""
        return time.monotonic() - self._began

    def doubts(self) -> Iterator[str]:
        """Yield why it is not ready, for people."""
        silent = time.monotonic() - self._heard
        if self._word is None:
            yield "starting"
        elif silent > _SILENT:
            yield f"it has said nothing for {silent:.0f} s: is its event loop blocked?"
        else:
            yield from self._word.reasons

    async def ended(self, tell_ready: Callable[[], None]) -> int:
        """Return its exit code once it has ended; a signal's, negative.

        Args:
            tell_ready: is called when it is ready for the first time.
        """
        listening = asyncio.create_task(self._listen(tell_ready))
        try:
            return await self._process.wait()
        finally:
            listening.cancel()
            await asyncio.wait((listening,))
            self._writer.close()

    async def end(self, hurried: asyncio.Event, patience: Patience) -> None:
        """Let it drain, and kill it where it does not.

        Args:
            hurried: somebody does not want to wait.
            patience: for how long it is waited for.
        """
        drain = _DRAIN if self._word is None else self._word.drain
        self._signal(signal.SIGTERM)
        await self._ends(drain + patience.farewell, hurried)
        if hurried.is_set():  # break off its handlers, and take leave of the broker all the same
            self._signal(signal.SIGINT)
            await self._ends(patience.hurry)
        self._signal(signal.SIGKILL)

    async def _ends(self, seconds: float, hurried: asyncio.Event | None = None) -> None:
        """Wait for its end, or until somebody is in a hurry."""
        waits = {asyncio.create_task(self._process.wait())}
        if hurried is not None:
            waits.add(asyncio.create_task(hurried.wait()))
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended
            self._process.send_signal(number)

    async def _listen(self, tell_ready: Callable[[], None]) -> None:
        with suppress(OSError, ValueError):  # what says what nobody reads is silent
            while line := await self._reader.readline():
                self._word, self._heard = Word.read(line), time.monotonic()
                if not self._word.reasons and not self.was_ready:
                    self.was_ready = True
                    tell_ready()
