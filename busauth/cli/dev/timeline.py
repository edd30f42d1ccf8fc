"""The timeline: rows in the order in which things happened, for whoever looks."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock

from busauth.cli.dev.rows import Row, note

_SETTLING_SECONDS = 0.15
"""Decisions come by a pipe, later than the broker's steps: both wait, and are put in order."""

_KEPT = 1000
_AT_ONCE = 100

Numbered = tuple[int, Row]


class Timeline:
    """Takes rows in its event loop; other threads may look.

    Args:
        show: is given each row, in order.
    """

    def __init__(self, show: Callable[[Row], None]) -> None:
        self._show = show
        self._fresh: list[Row] = []
        self._rows: deque[Numbered] = deque(maxlen=_KEPT)
        self._numbers = count(1)
        self._looking = Lock()

    def add(self, row: Row) -> None:
        """Take a row, and show it as soon as what came before it is surely here."""
        if not self._fresh:
            asyncio.get_running_loop().call_later(_SETTLING_SECONDS, self.settle)
        self._fresh.append(row)

    def settle(self) -> None:
        """Show what has come, in order."""
        fresh, self._fresh = sorted(self._fresh, key=lambda row: row.at), []
        with self._looking:
            self._rows.extend((next(self._numbers), row) for row in fresh)
        for row in fresh[:_AT_ONCE]:
            self._show(row)
        if (more := len(fresh) - _AT_ONCE) > 0:  # a flood must not keep the broker from its work
            self._show(note(f"{more} more rows; the page has the latest", fresh[-1].at))

    def after(self, number: int) -> Sequence[Numbered]:
        """Return the rows with higher numbers, those that are kept."""
        with self._looking:
            return [each for each in self._rows if each[0] > number]
