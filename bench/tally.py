"""Counts handled messages and reads the clock at the first and the last of them."""

import asyncio
import time


class Tally:
    """What handlers call, as cheap as can be.

    The clock is the system's monotonic one, so that several processes' instants compare.
    """

    def __init__(self) -> None:
        self.count = 0
        self._goal = 0
        self._reached = asyncio.Event()
        self.first = self.last = self.cpu_first = self.cpu_last = 0.0

    def begin(self, goal: int) -> None:
        """Count from nought to a goal; with a goal of 0, until nothing more comes."""
        self.count, self._goal = 0, goal
        self._reached.clear()

    def __call__(self) -> None:
        """Count one message."""
        self.count += 1
        if self.count == 1:
            self.first, self.cpu_first = time.monotonic(), time.process_time()
        if self.count == self._goal or not self._goal:
            self.last, self.cpu_last = time.monotonic(), time.process_time()
            self._reached.set()

    async def reached(self, seconds: float) -> None:
        """Wait for the goal; without one, for the first message.

        Raises:
            TimeoutError: it was not reached.
        """
        async with asyncio.timeout(seconds):
            await self._reached.wait()

    async def idle(self, seconds: float) -> None:
        """Wait until nothing was counted for so long."""
        seen = -1
        while seen != self.count:
            seen = self.count
            await asyncio.sleep(seconds)

    def result(self) -> dict[str, float]:
        """Return what was counted, and between which instants."""
        return {
            "count": min(self.count, self._goal or self.count),
            "first": self.first,
            "last": self.last,
            "cpu": self.cpu_last - self.cpu_first,
        }
