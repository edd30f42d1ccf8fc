"""Looks that are shared: whoever asks meanwhile sees the last one, and its time.

A look hides a queue's letters from everybody else while it lasts, so that no number of visitors and
no page that refreshes itself may begin one after the other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from busauth.audit import LOGGER
from busauth.clock import Clock
from busauth.errors import ConfigurationError, Deferred

T = TypeVar("T")

_AWAY = (OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Looked(Generic[T]):
    """What was seen, and when.

    Attributes:
        at: when the look began, seconds since the epoch.
        seen: what was there; None where nothing could be seen.
        why: why not, for people.
    """

    at: float
    seen: T | None
    why: str = ""


class Look(Generic[T]):
    """One thing that is looked at, at most once in a while.

    Args:
        look: looks.
        clock: counts.
        every: seconds between the ends of two looks and the beginning of the next.
        what: for the log.
    """

    def __init__(
        self, look: Callable[[], Awaitable[T]], clock: Clock, *, every: float, what: str
    ) -> None:
        self._look, self._clock, self._every, self._what = look, clock, every, what
        self._looking: asyncio.Task[Looked[T]] | None = None
        self._again = 0.0

    async def latest(self) -> Looked[T]:
        """Return the last look, or a new one where that is old enough.

        Whoever asks while one lasts has that one. What fails is a look as well: nobody makes it
        fail more often than that. One whose visitor has left goes on for the next.
        """
        looking = self._looking
        if looking is None or (looking.done() and self._clock.monotonic() >= self._again):
            looking = self._looking = asyncio.create_task(self._looked())
        return await asyncio.shield(looking)

    async def _looked(self) -> Looked[T]:
        at = self._clock.now()
        try:
            return Looked(at, await self._look())
        except (ConfigurationError, Deferred) as error:  # their words are for people
            return Looked(at, None, str(error))
        except _AWAY as error:
            LOGGER.warning("the console cannot look at %s: %s", self._what, error)
            return Looked(at, None, "the broker is out of reach, or has not answered in time")
        finally:
            self._again = self._clock.monotonic() + self._every
