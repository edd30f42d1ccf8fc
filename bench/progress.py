"""A bar that says what is measured, and how much is left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar


class Progress:
    """What a measurement reports to.

    Args:
        bar: where it is drawn.
        total: how many steps all chosen measurements have.
    """

    def __init__(self, bar: Bar, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=total)

    def doing(self, what: str) -> None:
        """Say what is measured now."""
        self._bar.update(self._task, description=what)

    def done(self) -> None:
        """Count one step."""
        self._bar.advance(self._task)


@contextmanager
def shown(console: Console, total: int) -> Iterator[Progress]:
    """Draw a bar while inside."""
    columns = (
        TextColumn("{task.description:<44}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        yield Progress(bar, total)
