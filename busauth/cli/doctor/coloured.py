"""A report in colour; needs the extra `standard`."""

from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from busauth.cli.doctor import plain
from busauth.cli.doctor.finding import Report, Severity

_STYLES: Mapping[Severity, str] = {
    Severity.ERROR: "bold red",
    Severity.WARNING: "yellow",
    Severity.HINT: "cyan",
}


def show(report: Report, console: Console) -> None:
    """Write a report, as wide as a terminal is."""
    for each in report.findings:
        head = plain.heading(each)
        what, _, _ = head.partition("  ")
        text = Text(head)
        text.stylize(_STYLES[each.kind.severity], 0, len(what))
        console.print(text)
        found, *others = plain.details(each)
        console.print(Padding(Text(found), (0, 0, 0, 4)))
        console.print(Padding(Text("\n".join(others), "dim"), (0, 0, 1, 4)))
    console.print(Text(plain.summary(report), "bold"))
    for unseen in report.unseen:
        console.print(Text(f"Not looked at: {unseen}.", "dim"))
