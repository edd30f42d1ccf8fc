"""`busauth letters history`: what was done to letters, by whom, and what became of it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from shlex import quote
from typing import Annotated, Any

import typer

from busauth._amqp.resending.records import Record, history
from busauth._amqp.resending.runs import Run, runs_of
from busauth._amqp.resending.wanted import OPTIONS
from busauth.cli.again import File, Queue, Url, telling
from busauth.cli.letters.choosing import broker_of
from busauth.cli.letters.showing import print_json, print_table
from busauth.cli.options import AsJson, fail, warn
from busauth.errors import evidence

_COLUMNS = ("run", "begun", "what", "by", "authority", "state", "letters", "refused", "others")

RunId = Annotated[str | None, typer.Option("--run", metavar="ID", help="This run, step by step.")]


def show_history(
    queue: Queue,
    *,
    run: RunId = None,
    settings: File = None,
    url: Url = None,
    as_document: AsJson = False,
) -> None:
    """Show what was done to a queue's letters: who, what, when, and what became of it.

    busauth letters history orders.placed --run 20260131T120000-3f0c

    A run that was cut off tells what was in flight: those letters may have gone, and be there all
    the same. With --json, one document.
    """
    with telling():
        runs = runs_of(asyncio.run(history(broker_of(settings, url), queue)))
    if run is not None:
        _show_run(runs.get(run) or fail(f"--run {run}: no such run; {_there(runs)}"), as_document)
        return
    if as_document:
        print_json({"runs": [each.as_json() for each in runs.values()]})
    elif runs:
        print_table(_COLUMNS, [_row(each) for each in runs.values()])
    else:
        warn(f"nothing is recorded of {queue}")


def _row(run: Run) -> tuple[object, ...]:
    first, counts = run.first, run.counts
    about = sum(counts.values()) if run.what == "planned" else counts.get("letters", 0)
    moved = len(run.sent) or about
    numbers = moved, len(run.refused), counts.get("others", 0)
    return first.run, _when(first.at), run.what, first.by, first.authority, run.state, *numbers


def _filters(filters: Mapping[str, Any]) -> str:
    """Return filters as the command line has them; what no option says, by its name."""
    said = list[str]()
    for name, value in filters.items():
        option = OPTIONS.get(name, name)
        for each in value if isinstance(value, list) else [value]:
            is_instant = name in ("before", "after") and isinstance(each, float | int)
            text = _when(each) if is_instant else str(each)
            said.append(f"{option} {quote(text)}")
    return evidence(" ".join(said)) or ""


def _told(step: Record) -> str:
    """Return what a step is about: letters by what became of them, and why."""
    counts = ", ".join(f"{name} {count}" for name, count in step.counts.items() if count)
    letters = f" {len(step.letters)}" if step.letters else ""
    codes = ", ".join(f"{code} {count}" for code, count in Counter(step.codes.values()).items())
    told = f"{step.kind}: {counts}" if counts else f"{step.kind}{letters}"
    return evidence(f"{told} ({codes})" if codes else told) or ""


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _there(runs: dict[str, Run]) -> str:
    return f"the last are {', '.join([*runs][-5:])}" if runs else "nothing is recorded"


def _show_run(run: Run, as_document: bool) -> None:  # noqa: FBT001 -- an option's value
    if as_document:
        steps = [record.as_json() for record in run.steps]
        print_json({**run.as_json(), "steps": steps})
        return
    print_table(_COLUMNS, [_row(run)])
    typer.echo(f"\nfilters: {_filters(run.first.filters) or 'all letters'}")
    for step in run.steps:
        typer.echo(f"  {_when(step.at)}  {_told(step)}")
    for each in run.in_flight:
        typer.echo(f"in flight: {each}")
