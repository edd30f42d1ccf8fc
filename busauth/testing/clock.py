"""A clock that moves forward when a test says so, and wakes who waited for it, in order."""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from busauth.testing.loops import HomeLoop

_NANO = 1_000_000_000
_TURNS = 50
"""Turns of the loop between two timers: a retry that comes back, fails and is published anew, takes
about ten."""


class Timer(Protocol):
    """A callback that waits for its instant."""

    def cancel(self) -> None:
        """Never call it."""
        ...


class Timers(Protocol):
    """A `busauth.Clock` that can also call back: what the embedded broker runs on."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back once `monotonic` has reached `when`, never from within this call."""
        ...


class LoopTimers:
    """The machine's own time, and the running event loop's timers."""

    def now(self) -> float:
        """Return the wall clock's seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the running loop's seconds."""
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop."""
        return asyncio.get_running_loop().call_at(when, callback)


class _Timer:
    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A `busauth.Clock` without a will of its own: time passes in `advance`, nowhere else.

    Token lifetimes, waits between attempts and, when the embedded broker was given this clock,
    message and queue TTL all stand on it. It belongs to one event loop.

    Args:
        start: the first `now`, seconds since the epoch.

    Attributes:
        home: the loop of the kit that is open on this clock.
    """

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self.home = HomeLoop("the clock's kit")
        self._start = start
        self._elapsed = 0
        self._reached = 0.0
        self._timers: list[tuple[int, int, _Timer]] = []
        self._order = count()

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._start + self._elapsed / _NANO

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return max(self._elapsed / _NANO, self._reached)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced this far; at once for nothing."""
        self.home.check()
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(self.monotonic() + seconds, lambda: _wake(waker))
        try:
            await waker
        finally:
            timer.cancel()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back in the `advance` that reaches `when` (of `monotonic`)."""
        timer = _Timer(when, callback)
        due = max(round(when * _NANO), self._elapsed)
        heapq.heappush(self._timers, (due, next(self._order), timer))
        return timer

    async def advance(
        self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0
    ) -> None:
        """Move forward, stopping at the instant of each timer to let it have its consequences.

        Timers fire in the order of their instants, and of their setting where these are equal;
        `now` is the timer's own instant while it fires. Between two of them the event loop
        turns, so that whoever was woken can go on, and set further timers. When this returns,
        the embedded broker has written what the timers brought about; `Bus.idle` waits for the
        handlers.

        Raises:
            ValueError: asked to move backwards.
            ConfigurationError: the clock's kit lives on another event loop.
        """
        self.home.check()
        step = seconds + 60 * minutes + 3600 * hours + 86400 * days
        if not 0 <= step < math.inf:
            raise ValueError(f"a clock moves forward only: got {step!r} seconds")
        end = self._elapsed + round(step * _NANO)
        await _turns()
        while self._timers and self._timers[0][0] <= end:
            self._elapsed, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self._reached = max(self._reached, timer.when)  # which is not in whole nanoseconds
                timer.callback()
                await _turns()
        self._elapsed = end
        await _turns()


def _wake(waker: asyncio.Future[None]) -> None:
    if not waker.done():
        waker.set_result(None)


async def _turns() -> None:
    """Let whoever is ready run, and what they make ready; each turn also polls the sockets."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
