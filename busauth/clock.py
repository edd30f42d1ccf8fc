"""Where time comes from, so that a test can let it pass without waiting."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time. One decision reads `now` once."""

    def now(self) -> float:
        """Return seconds since the epoch, as a NumericDate counts them (RFC 7519, section 2)."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back, for ages and intervals."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Return the wall clock's seconds since the epoch."""
        return time.time()  # looked up each time: what fakes time in tests replaces it

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)
