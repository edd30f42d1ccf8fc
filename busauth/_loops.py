"""What belongs to one event loop: made anew in each, or for one at a time.

Locks, events, tasks and connections work in the loop that first waited for them, and nowhere else.
A guard, a bus or a set of keys outlives its loop: `asyncio.run` twice, a loop for each test, for
each thread. So what waits is kept for each loop, and consumers know the one that runs them.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from busauth.errors import ConfigurationError

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Something for each running loop; forgotten once its loop is closed.

    Args:
        make: makes it, in the loop that asks for it first.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._making = threading.Lock()

    @property
    def here(self) -> T:
        """Return the running loop's."""
        loop = asyncio.get_running_loop()
        try:
            return self._made[loop]
        except KeyError:
            return self._begun(loop)

    def _begun(self, loop: asyncio.AbstractEventLoop) -> T:
        made = self._make()
        with self._making:
            living = {each: its for each, its in self._made.items() if not each.is_closed()}
            self._made = {**living, loop: made}
        return made


def used(kept: OrderedDict[Any, Any], key: Hashable) -> None:
    """Let what is kept be the last to go, unless another thread has let it go just now."""
    with suppress(KeyError):
        kept.move_to_end(key)


class OneLoop:
    """Says which loop runs what cannot be shared: one after the other, never two at a time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._claiming = threading.Lock()

    def claim(self, what: str) -> None:
        """Have the running loop run it from now on.

        Args:
            what: what is run, for people.

        Raises:
            ConfigurationError: another loop, of another thread, still runs it.
        """
        with self._claiming:
            self._loop = self._checked(what)

    def check(self, what: str) -> None:
        """Say whether the running loop could run it, which it does not.

        Raises:
            ConfigurationError: as of `claim`.
        """
        with self._claiming:
            self._checked(what)

    def _checked(self, what: str) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop and self._loop.is_running():
            raise ConfigurationError(
                f"{what} runs in the event loop of another thread, which still goes on: "
                "expected one loop at a time; give each thread a Guard (and a Bus) of its own"
            )
        return loop
