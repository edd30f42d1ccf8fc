"""Whether a bus or a feed runs, how far it has come, and in which event loop: once at a time.

Its connections, consumers and channels are one set. Begun twice, the second beginning would take
the first one's away, and whoever ended first would leave the other without any.
"""

import asyncio
import threading
from enum import StrEnum

from busauth.errors import BusauthError, ConfigurationError


class Phase(StrEnum):
    """How far a bus has come, as it is told."""

    DECLARING = "is declaring its queues"
    STARTING = "is starting"
    RUNNING = "runs already"
    STOPPING = "is stopping"


_OTHER_LOOP = (
    "{what} lives in another event loop than this one, where nothing of it can be waited for: "
    "expected a call in its own; from a thread or another loop: "
    "asyncio.run_coroutine_threadsafe({call}, loop), where `loop` is its own"
)


class Running:
    """What a bus or a feed is doing.

    Args:
        what: who does it, for people.
        starts: the ways to start it.

    Attributes:
        phase: how far it has come; None while it does nothing.
    """

    def __init__(self, what: str, starts: str) -> None:
        self._what, self._starts = what, starts
        self.phase: Phase | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop that has it; None where nobody has, or that loop is closed."""
        loop = self._loop  # once: another thread may ask
        return None if loop is None or loop.is_closed() else loop

    def begin(self, phase: Phase = Phase.STARTING) -> None:
        """Let the running loop have the bus.

        Raises:
            ConfigurationError: somebody has it, whichever loop and phase they are in.
        """
        with self._beginning:  # two threads may begin at once, each in its own loop
            if self._loop is not None and self._loop.is_closed():
                self.end()  # nobody is left there who could
            self.check_idle(
                f"expected one start at a time: use {self._starts}, and begin again when that has "
                "ended"
            )
            self.phase, self._loop = phase, asyncio.get_running_loop()

    def end(self) -> None:
        """Note that nothing of it is left; it may begin again, in another loop as well."""
        self.phase = self._loop = None

    def check_idle(self, expected: str) -> None:
        """Refuse what cannot be done while the bus does something.

        Args:
            expected: what was expected, and what to do.

        Raises:
            ConfigurationError: it does.
        """
        if self.phase is not None:
            raise ConfigurationError(f"{self._what} {self.phase}: {expected}")

    def check_running(self) -> None:
        """Refuse what only a bus can do that runs.

        Raises:
            ConfigurationError: it does not, or not yet, or not any more.
        """
        if self.phase is not Phase.RUNNING:
            raise ConfigurationError(
                f"{self._what} {self.phase or 'does not run'}: expected one that runs; call it "
                "inside `async with bus`"
            )

    def check_here(self, call: str, kind: type[BusauthError] = ConfigurationError) -> None:
        """Refuse to wait for what happens in another loop: it would be for ever.

        Args:
            call: what was called, for people.
            kind: what to raise.

        Raises:
            BusauthError: the bus lives in another loop.
        """
        if self._loop is not None:
            check_loop(self._loop, self._what, call, kind)


def check_loop(
    loop: asyncio.AbstractEventLoop, what: str, call: str, kind: type[BusauthError]
) -> None:
    """Refuse a call in another loop than something lives in; see `Running.check_here`.

    Raises:
        BusauthError: this is another one.
    """
    if loop is not asyncio.get_running_loop():
        raise kind(_OTHER_LOOP.format(what=what, call=call))
