"""A circuit breaker: who does not answer is left alone for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

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

    @contextmanager
    def asking(self, answers: type[Exception]) -> Iterator[None]:
        """Let a question through, and note whether it is answered.

        Args:
            answers: the kind of error that is an answer, too.

        Raises:
            Deferred: it is open, or somebody else is trying; nobody is asked.
        """
        self._enter()
        try:
            yield
        except answers:
            self._succeeded()
            raise
        except BaseException:  # cancelled, too: whoever tries must say how it ended
            self._failures += 1
            self._trying = False
            self._until = self._clock.monotonic() + self._open_for
            raise
        self._succeeded()

    def _enter(self) -> None:
        if self._failures < self._limit:
            return
        if self._trying or self._clock.monotonic() < self._until:
            raise Deferred(f"{self._name} has not answered {self._failures} times in a row")
        self._trying = True

    def _succeeded(self) -> None:
        self._failures = 0
        self._trying = False
