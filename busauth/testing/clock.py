"""A clock that moves forward when a test says so, and wakes who waited for it, in order."""

import asyncio
import heapq
import math
from itertools import count


class ManualClock:
    """A `busauth.Clock` without a will of its own.

    Args:
        start: the first `now`, seconds since the epoch.
    """

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._start = self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced this far; at once for nothing."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waker))
        await waker

    async def advance(self, seconds: float) -> None:
        """Move forward, stopping at each sleeper's instant to let it run.

        Raises:
            ValueError: asked to move backwards.
        """
        if seconds < 0 or math.isnan(seconds):
            raise ValueError(f"a clock moves forward only: got {seconds!r} seconds")
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                waker.set_result(None)
            await _let_others_run()
        self._now = end
        await _let_others_run()


async def _let_others_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
