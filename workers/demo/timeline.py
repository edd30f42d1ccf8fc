"""The timeline: one line an event, as it happens. Colours where there are any, else plain text."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from busauth import Event
from workers.hop import Hop

PIPE_COLUMNS = 120
STYLES: Mapping[str, str] = {
    "accepted": "green",
    "accepted-late": "yellow",
    "handled": "bold green",
    "refused": "bold red",
    "deferred": "magenta",
    "resumed": "cyan",
}
"""A kind of event that is not named here is one that no scene leads to."""


class Timeline:
    """Writes to stdout, and counts seconds from its making.

    Args:
        prefix: of queue names, left out where they are shown.

    Attributes:
        hops: what services held, as it was shown.
    """

    def __init__(self, prefix: str) -> None:
        self.console = make_console()
        self._prefix = prefix
        self._began = time.monotonic()
        self.hops: list[Hop] = []

    @property
    def seconds(self) -> float:
        """Return how long the demo has been running."""
        return time.monotonic() - self._began

    def scene(self, number: int, title: str, story: str) -> None:
        """Begin a scene."""
        self.console.print()
        self.console.print(Text(f"{number}. {title}. ", "bold").append(story, "not bold italic"))

    def columns(self) -> None:
        """Say what stands where."""
        self.console.print()
        self._line(Text(_row("time", "hop", "who", "age", "decision") + "where, or why"), "dim")

    def event(self, service: str, event: Event) -> None:
        """Show a decision. That a message was published shows at the next hop."""
        if event.kind == "published":
            return
        decision = "handled late" if event.kind == "handled" and event.late else event.kind
        age = "" if event.age is None else f"{event.age:.1f} s"
        who = event.subject or ("" if event.kind in ("deferred", "resumed") else "unknown")
        style = STYLES.get(event.kind, "bold yellow")
        row = _row(f"{self.seconds:.1f} s", service, who, age, decision)
        text = Text(row).append(self._why(event), "red" if event.code else "dim")
        start = row.index(decision, len(row) - _DECISION)
        text.stylize(style, start, start + len(decision))
        self._line(text)

    def hop(self, hop: Hop) -> None:
        """Show what a service holds while it works."""
        self.hops.append(hop)
        row = _row(f"{self.seconds:.1f} s", hop.service, hop.subject, "", "holds")
        text = Text(row).append(hop.holding, "default")
        start = row.index("holds")
        text.stylize("bold blue", start, start + len("holds"))
        self._line(text)

    def note(self, text: str) -> None:
        """Show something that is no decision."""
        self._line(Text(" " * _MARGIN + text), "italic")

    def _why(self, event: Event) -> str:
        if event.kind == "accepted-late" and event.late is not None:
            return f"{event.late:.1f} s past exp, within the grace"
        return (event.detail or event.queue).replace(self._prefix, "")

    def _line(self, text: Text, style: str = "") -> None:
        fits = self.console.is_terminal
        self.console.print(
            text, style=style, no_wrap=True, overflow="ellipsis" if fits else "ignore", crop=fits
        )


_MARGIN = 11
_DECISION = 15


def _row(*cells: str) -> str:
    when, hop, who, age, decision = cells
    return f"{when:>8}   {hop:<16}{who:<9}{age:>7}  {decision:<{_DECISION}}"


def make_console() -> Console:
    """Return a console that never fails on a character, and is not narrow when piped."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)
