"""How long a handler may take, on the guard's clock."""

import asyncio
from contextvars import Context
from types import TracebackType
from typing import Self

from busauth.clock import Clock


class Deadline:
    """Cancels what runs inside of it after a while, as `asyncio.timeout` does.

    Args:
        seconds: how long; None for as long as it takes.
        clock: what the seconds are slept on.
    """

    def __init__(self, seconds: float | None, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._limit = asyncio.timeout(None)  # without a time: that comes from the guard's clock
        self._waiting: asyncio.Task[None] | None = None

    @property
    def has_passed(self) -> bool:
        """Return whether what ran inside was cancelled for it."""
        return self._limit.expired()

    @property
    def told(self) -> str:
        """Return what has happened, for people."""
        return f"still running after {self._seconds:g} s"

    async def __aenter__(self) -> Self:
        """Begin to wait, as nobody: no caller's context goes with it."""
        await self._limit.__aenter__()
        if self._seconds is not None:
            waiting = self._wait(self._seconds)
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_task(waiting, context=Context())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop waiting.

        Raises:
            TimeoutError: it has passed, and what ran inside took its cancellation.
        """
        if self._waiting is not None:
            self._waiting.cancel()  # first: a limit that was left takes no new time
        await self._limit.__aexit__(kind, error, trace)

    async def _wait(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._limit.reschedule(asyncio.get_running_loop().time())
