"""A measurement in a process of its own: started with a job as JSON, it waits for the word to go.

What it has to say are lines of JSON: first that it is ready, then its result. What it logs is shown
if it fails.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any

_READY_SECONDS = 120.0
_RESULT_SECONDS = 900.0
_SHOWN = 3000
_LINE = 2**20


class ChildFailed(RuntimeError):  # noqa: N818 -- says what happened
    """A measuring process ended without a result."""


class Child:
    """The parent's side of a measuring process."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    async def ready(self) -> Any:
        """Wait until it is warm; return what it says."""
        return await self._line(_READY_SECONDS)

    async def go(self) -> None:
        """Let it begin."""
        await self._send("go")

    async def result(self) -> Any:
        """Wait for what it measured."""
        return await self._line(_RESULT_SECONDS)

    async def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def _line(self, seconds: float) -> Any:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise ChildFailed(f"nothing heard for {seconds:g} s: {self._logged()}") from None
        if not line:
            raise ChildFailed(self._logged())
        return json.loads(line)

    def _logged(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-_SHOWN:] or "it said nothing"


@asynccontextmanager
async def running(module: str, job: dict[str, Any]) -> AsyncIterator[Child]:
    """Start ``python -m module`` with a job; it has ended when this block ends."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=_LINE,
        )
        child = Child(process, log)
        try:
            await child._send(json.dumps(job))  # noqa: SLF001 -- the two are one
            yield child
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def say(value: Any) -> None:
    """Tell the parent, from inside the child."""
    print(json.dumps(value), flush=True)


def job() -> dict[str, Any]:
    """Return the job, from inside the child."""
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    return given


async def told_to_go() -> None:
    """Wait for the parent's word, from inside the child."""
    await asyncio.to_thread(sys.stdin.readline)
