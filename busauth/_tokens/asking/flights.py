"""One question under way for each thing that is asked about: who asks meanwhile waits for it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

from busauth._loops import PerLoop
from busauth.errors import Deferred

T = TypeVar("T")


class Flights(Generic[T]):
    """Questions under way, in each loop.

    Args:
        what: what is asked about, in the plural, for people.
        limit: how many are under way at the same time.
    """

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._flights = PerLoop[dict[Hashable, asyncio.Task[T]]](dict)

    @property
    def under_way(self) -> int:
        """Return how many questions are under way in the running loop."""
        return len(self._flights.here)

    async def get(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer to the question under way, or to one that begins now.

        Args:
            key: what is asked about.
            begin: asks; it runs in nobody's context, as it belongs to whoever waits.

        Raises:
            Deferred: too many are waited for.
        """
        flights = self._flights.here
        flight = flights.get(key)
        if flight is None:
            if len(flights) >= self._limit:
                raise Deferred(f"{len(flights)} {self._what} are being asked about already")
            flight = asyncio.get_running_loop().create_task(begin(), context=Context())
            flights[key] = flight
            flight.add_done_callback(lambda done: _landed(flights, key, done))
        # Shielded: others wait for the same question, and one who gives up must not end it.
        return await asyncio.shield(flight)


def _landed(
    flights: "dict[Hashable, asyncio.Task[T]]", key: Hashable, flight: "asyncio.Task[T]"
) -> None:
    del flights[key]
    if not flight.cancelled():
        flight.exception()  # whoever waited has it; if nobody did, it is not worth a warning
