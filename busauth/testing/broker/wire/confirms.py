"""Publisher confirms, gathered so that a burst of publications is answered with one frame."""

from collections.abc import Iterator


class Confirms:
    """What one channel has to confirm.

    A run of tags is told as one with `multiple` if everything before it was told already;
    otherwise each tag is told by itself.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, bool]] = []
        self._told = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, tag: int, *, ack: bool) -> None:
        """Note that a publication was taken, or was not."""
        if self._runs:
            first, last, same = self._runs[-1]
            if same is ack and last + 1 == tag:
                self._runs[-1] = (first, tag, ack)
                return
        self._runs.append((tag, tag, ack))

    def drain(self) -> Iterator[tuple[int, bool, bool]]:
        """Return (tag, ack, multiple) of what is to be sent."""
        runs, self._runs = self._runs, []
        for first, last, ack in runs:
            if first == self._told + 1:
                self._told = last
                yield last, ack, last > first
            else:
                yield from ((tag, ack, False) for tag in range(first, last + 1))
