"""The timeline in a terminal: in colour where there is any, else as plain text."""

import inspect
import sys
import time
from collections.abc import Mapping
from itertools import dropwhile

from rich.console import Console
from rich.table import Table
from rich.text import Text

from busauth.cli.dev import example
from busauth.cli.dev.rows import Row, Tone

_PIPE_COLUMNS = 200  # nobody wraps there by hand, and what is searched should stand on one line
_WIDTHS = {"when": 10, "message": 6, "what": 13, "queue": 18, "who": 6}
_STYLES: Mapping[Tone, str] = {
    Tone.PLAIN: "dim",
    Tone.GOOD: "green",
    Tone.LATE: "yellow",
    Tone.BAD: "bold red",
    Tone.NOTE: "italic cyan",
}
_QUOTES = '"'
_TITLE = "busauth dev: for development only."
_WARNING = (
    "It signs a token for whoever asks on this machine, and keeps nothing when it ends. Never let "
    "anybody else reach it, and never let a service that counts trust its issuer."
)


class Terminal:
    """Writes to standard output."""

    def __init__(self) -> None:
        # A name that this terminal cannot show must not end what it is told about.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace", line_buffering=True)
        console = Console(highlight=False)
        self._console = (
            console if console.is_terminal else Console(highlight=False, width=_PIPE_COLUMNS)
        )

    def greet(self, places: Mapping[str, str]) -> None:
        """Say what this is, and where everything is."""
        self._console.print(Text(_TITLE, "bold black on yellow"), Text(_WARNING, "yellow"))
        for name, place in places.items():
            self._console.print(Text(f"  {name:<8}", "bold").append(place, "not bold"))
        self._console.print()

    def example(self) -> None:
        """Show what the example does; not what every module of this kind has at its beginning."""
        story, *source = inspect.getsource(example).splitlines()
        shown = dropwhile(lambda line: not line.startswith("guard ="), source)
        self._console.print(Text(f"    {story.strip(_QUOTES)}", "italic"))
        for line in filter(None, shown):
            self._console.print(Text(f"    {line}", "dim"))
        self._console.print()

    def invite(self, command: str) -> None:
        """Say what to try."""
        self._console.print(Text("Try it, in another terminal:", "bold"))
        self._console.print(Text(f"{command}\n"), soft_wrap=True)

    def show(self, row: Row) -> None:
        """Show a row."""
        style = _STYLES[row.tone]
        when = time.strftime("%H:%M:%S", time.localtime(row.at)) + f".{int(row.at * 10) % 10}"
        line = Table.grid(padding=(0, 2, 0, 0))
        if not row.message:
            line.add_row(Text(when, "dim"), Text(row.what, style))
            self._console.print(line)
            return
        cells = (row.message, row.what, row.queue, row.who)
        for width in _WIDTHS.values():
            line.add_column(min_width=width, overflow="fold")
        line.add_column(overflow="fold")
        texts = [Text(each, style if index == 1 else "") for index, each in enumerate(cells)]
        line.add_row(Text(when, "dim"), *texts, Text(row.why, style))
        self._console.print(line)

    def say(self, text: str, style: str = "") -> None:
        """Say something that is about no message, and in nobody's timeline."""
        self._console.print(Text(text, style), soft_wrap=True)
