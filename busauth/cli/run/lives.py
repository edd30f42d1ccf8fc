"""When a worker that has ended is started again, and when that is given up: pure."""

from dataclasses import dataclass

_DOUBLINGS = 30  # beyond, the longest pause is long past


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast workers are started again.

    Attributes:
        first: seconds before the first start anew; twice as long before each further one.
        longest: seconds, at most.
        stayed: seconds after which a life counts as long, and the pauses begin anew.
        tries: lives in a row that ended before they were ready, after which it is given up.
    """

    first: float = 1.0
    longest: float = 30.0
    stayed: float = 60.0
    tries: int = 5


class Lives:
    """The lives of one worker, one process each.

    Attributes:
        unready: lives in a row that ended before they were ready.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._short = 0
        self._was_ever_ready = False
        self.unready = 0

    def came_up(self) -> None:
        """Note that one is ready, however it may end: it was told to, perhaps."""
        self._was_ever_ready = True

    def ended(
        self, seconds: float, *, was_ready: bool = False, is_hopeless: bool = False
    ) -> float | None:
        """Return after how many seconds the next one begins, None where it is given up.

        Args:
            seconds: that it lasted.
            was_ready: whether it ever could work.
            is_hopeless: it said itself that another start would not help. After one that worked,
                it may: what stands in the way came later, and may go.
        """
        self.unready = 0 if was_ready else self.unready + 1
        self._short = 0 if seconds >= self._pace.stayed else self._short + 1
        if self.unready >= self._pace.tries or (is_hopeless and not self._was_ever_ready):
            return None
        doublings = min(max(self._short - 1, 0), _DOUBLINGS)
        return min(self._pace.longest, self._pace.first * float(1 << doublings))
