"""`busauth letters history`: what was done to letters, by whom, and what became of it."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from busauth._amqp.resending.records import Record, history
from busauth.cli.again import File, Queue, Url, telling
from busauth.cli.letters.choosing import AsJson, broker_of
from busauth.cli.letters.showing import print_json, print_table
from busauth.cli.options import fail, warn

_COLUMNS = ("run", "begun", "what", "by", "authority", "state", "sent", "refused", "others")

RunId = Annotated[str | None, typer.Option("--run", metavar="ID", help="This run, step by step.")]


@dataclass(slots=True)
class Run:
    """A run, as its records tell it.

    Attributes:
        first: its first record.
        steps: all of them.
        counts: letters by what became of them.
        in_flight: ids of the letters that were about to be moved, of whose fate nothing is written.
        is_over: whether it has come to its end.
    """

    first: Record
    steps: list[Record] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    in_flight: dict[str, None] = field(default_factory=dict)
    is_over: bool = False

    def add(self, record: Record) -> None:
        """Take one record more."""
        self.steps.append(record)
        match record.kind:
            case "begun":
                self.is_over = False
            case "sending":
                self.in_flight |= dict.fromkeys(record.letters)
            case "sent" | "refused":
                self.counts[record.kind] += len(record.letters)
                for each in record.letters:
                    self.in_flight.pop(each, None)
            case _:
                self.is_over = True
                self.counts |= Counter(record.counts)

    @property
    def state(self) -> str:
        """Return whether it is over, in words."""
        if self.is_over:
            return "ended"
        return f"cut off or running, {len(self.in_flight)} in flight"

    def as_json(self) -> dict[str, Any]:
        """Return it as one document has it."""
        return {
            "run": self.first.run,
            "kind": self.first.kind,
            "at": self.first.at,
            "by": self.first.by,
            "source": self.first.source,
            "authority": self.first.authority,
            "filters": dict(self.first.filters),
            "is_over": self.is_over,
            "counts": dict(self.counts),
            "in_flight": list(self.in_flight),
        }


def runs_of(records: Iterable[Record]) -> dict[str, Run]:
    """Return runs by their ids, the first that was begun first."""
    runs = dict[str, Run]()
    for record in records:
        runs.setdefault(record.run, Run(record)).add(record)
    return runs


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
    what = first.kind if first.kind != "begun" else "redrive"
    numbers = counts["sent"] or sum(counts.values()), counts["refused"], counts["others"]
    return first.run, _when(first.at), what, first.by, first.authority, run.state, *numbers


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
    typer.echo(f"\nfilters: {dict(run.first.filters) or 'all letters'}")
    for step in run.steps:
        codes = Counter(step.codes.values())
        more = "".join(f", {code} {count}" for code, count in codes.items())
        typer.echo(f"  {_when(step.at)}  {step.kind} {len(step.letters)}{more}")
    for each in run.in_flight:
        typer.echo(f"in flight: {each}")
