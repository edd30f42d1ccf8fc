"""The services, each a process: started, watched, paused, and always ended.

A service writes its events to stdout, one line of JSON each. What else it writes there is shown as
it is; its log on stderr is kept for the case that it dies.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 5.0
LOG_LINES = 12


class Service:
    """One service of the shop.

    Args:
        name: the module's name under `workers`.
        settings: environment variables on top of this process's own.
        url: where it listens, if it has an HTTP side.
        heard: is told each line that it prints.
        died: is told why, and the end of its log, when it ends without having been asked to.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, str],
        *,
        url: str,
        heard: Callable[[str, str], None],
        died: Callable[[str, Sequence[str]], None],
    ) -> None:
        self.name = name
        self.url = url
        self._settings = settings
        self._heard = heard
        self._died = died
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ending = False

    async def start(self) -> None:
        """Start the process; that it runs does not mean that it is ready."""
        self._ending = False
        self._log.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"workers.{self.name}",
            cwd=ROOT, env=_environment(self._settings), stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        self._watching = asyncio.create_task(self._watch(self._process))

    async def stop(self) -> None:
        """End the process, politely at first."""
        self._ending = True
        if self._process is None or self._watching is None:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        done, _ = await asyncio.wait([self._watching], timeout=STOP_SECONDS)
        if not done:
            self._signal(signal.SIGKILL)
            await self._watching

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the process still: its messages wait, and nobody has failed."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _watch(self, process: Process) -> None:
        await asyncio.gather(
            _lines(process.stdout, lambda line: self._heard(self.name, line)),
            _lines(process.stderr, self._log.append),
        )
        code = await process.wait()
        if not self._ending:
            self._died(f"{self.name} died with exit code {code}", list(self._log))


async def _lines(stream: asyncio.StreamReader | None, take: Callable[[str], object]) -> None:
    assert stream is not None, "both are pipes"  # noqa: S101 -- for the type checker
    async for line in stream:
        take(line.decode(errors="replace").rstrip())


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Hand on this process's environment, but none of its settings for another shop."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    return {**kept, **settings}
