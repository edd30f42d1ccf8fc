"""A circuit breaker: who does not answer is left alone for a while."""

from busauth.clock import Clock
from busauth.errors import Deferred


class Breaker:
    """Opens after failures in a row; once it was open for a while, one question is let through.

    Args:
        name: what is behind it, for messages.
        failures: how many in a row open it.
        open_for: seconds until the next question is let through.
        clock: where the seconds come from.
    """

    def __init__(self, name: str, *, failures: int, open_for: float, clock: Clock) -> None:
        self._name = name
        self._limit = failures
        self._open_for = open_for
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._trying = False

    def enter(self) -> None:
        """Let a question through; `succeeded` or `failed` must follow.

        Raises:
            Deferred: it is open, or somebody else is trying.
        """
        if self._failures < self._limit:
            return
        if self._trying or self._clock.monotonic() < self._until:
            raise Deferred(f"{self._name} has not answered {self._failures} times in a row")
        self._trying = True

    def succeeded(self) -> None:
        """Note an answer, whatever it says."""
        self._failures = 0
        self._trying = False

    def failed(self) -> None:
        """Note that there was none."""
        self._failures += 1
        self._trying = False
        self._until = self._clock.monotonic() + self._open_for
