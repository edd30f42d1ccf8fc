"""`busauth shadow report`: what would be refused; `busauth shadow status`: who is in shadow."""

import json
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from busauth._amqp.shadowing.shadow import Shadow
from busauth.cli.options import EXITS, AsJson, Exit, fail, warn
from busauth.cli.shadow.reading import Decided, decided_in, lines_of
from busauth.cli.shadow.report import Group, Report, instant
from busauth.errors import ConfigurationError, evidence
from busauth.settings import load_settings

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")

shadow = typer.Typer(
    name="shadow",
    no_args_is_help=True,
    help="See what a consumer in shadow would refuse, and which consumers are in shadow.",
)

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="Events as lines of JSON, older parts (FILE.1) included; - for stdin.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="No earlier events: 24h, 7d, or 2026-03-01T00:00:00Z."),
]
File = Annotated[
    Path | None,
    typer.Option("--settings", envvar="BUSAUTH_SETTINGS", help="The consumers' settings file."),
]


@shadow.command(epilog=EXITS)
def report(files: Files, *, since: Since = None, as_json: AsJson = False) -> None:
    """Say what strict would have refused, by queue, sender and code, and what was accepted.

    It counts decisions: a message that was tried three times is three. It ends with 0 where nothing
    would have been refused, with 3 where something would, and with 1 where there is no decision at
    all, from which nothing follows.

    Example: busauth shadow report audit.jsonl --since 24h
    """
    begin = _begin(since)
    try:
        told = Report(_decisions(files, begin))
    except (OSError, EOFError, zlib.error) as error:  # the last two: of what gzip has cut or bent
        name = getattr(error, "filename", None)
        why = getattr(error, "strerror", None) or error
        fail(f"{name}: cannot be read: {why}" if name else f"cannot be read: {why}")
    if not told.refused + told.accepted:
        fail(
            "no decision is told there: expected events as lines of JSON, as JsonLines writes them"
        )
    typer.echo(json.dumps(told.as_json()) if as_json else "\n".join(_shown(told)))
    if told.refused:
        raise typer.Exit(Exit.STAYS)


@shadow.command(epilog=EXITS)
def status(*, settings: File = None, as_json: AsJson = False) -> None:
    """Say which consumers the settings have in shadow, and until when.

    It ends with 0 where none is in shadow now, and with 3 where one is.

    Example: busauth shadow status --settings busauth.toml
    """
    now = time.time()
    try:
        said = load_settings(settings).guard_options.shadows()
        for queue, each in said.items():
            each.check_end(queue, now)
    except ConfigurationError as error:
        fail(str(error))
    rows = [_status(queue, each, now) for queue, each in sorted(said.items())]
    if as_json:
        typer.echo(json.dumps({"consumers": rows}))
    elif rows:
        typer.echo("\n".join(_table([("queue", "state", "until", "codes"), *map(_cells, rows)])))
    else:
        typer.echo("No consumer is in shadow.")
    if any(row["state"] == "in shadow" for row in rows):
        raise typer.Exit(Exit.STAYS)


def _begin(since: str | None) -> float:
    """Return from which instant on events count, seconds since the epoch."""
    if since is None:
        return 0.0
    if found := _SPAN.fullmatch(since):
        return time.time() - int(found[1]) * _UNITS[found[2]]
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise typer.BadParameter(
            "expected a span, such as 24h or 7d, or an instant with its offset, such as "
            "2026-03-01T00:00:00Z",
            param_hint="--since",
        )
    return at.timestamp()


def _decisions(files: Sequence[str], begin: float) -> Iterator[Decided]:
    foreign = 0
    for line in lines_of(files):
        found = decided_in(line)
        if found is not None and found.at >= begin:
            yield found
        foreign += found is None and not line.lstrip().startswith(b"{")
    if foreign:
        warn(f"{foreign} lines are no JSON object, and were passed over")


def _shown(told: Report) -> Iterator[str]:
    """Yield the report's lines, for people."""
    if told.refused:
        head = ("count", "queue", "sender", "code", "first", "last", "such as")
        yield from _table([head, *map(_row, told.groups())])
        yield ""
    for queue, refused, accepted in told.queues():
        share = refused / (refused + accepted)
        yield f"{queue}: strict would refuse {refused} of {refused + accepted} ({share:.1%})"
    if not told.refused:
        yield "Strict would refuse nothing."


def _row(group: Group) -> tuple[str, ...]:
    example = group.message_id or "-"
    first, last = instant(group.first), instant(group.last)
    return str(group.count), group.queue, group.sender, group.code, first, last, example


def _status(queue: str, said: Shadow, now: float) -> dict[str, object]:
    state = "in shadow" if said.holds(now) else "ended"
    return {
        "queue": evidence(queue),
        "state": state,
        "until": said.end,
        "codes": list(said.codes),
    }


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    codes = row["codes"]
    told = " ".join(map(str, codes)) if isinstance(codes, list) else ""
    return str(row["queue"]), str(row["state"]), str(row["until"]), told


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
