"""Runs, as their records tell them: over or cut off, and what was in flight."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from busauth._amqp.resending.records import Record


@dataclass(slots=True)
class Run:
    """One run.

    Attributes:
        first: its first record.
        steps: all of them, in order.
        sent: ids of the letters that went.
        refused: codes of those that stayed although they were asked for, by their ids.
        counts: letters by what became of them, as its last record tells.
        in_flight: ids of letters that were about to be moved, and of whose fate nothing is written:
            they may have gone, and be there all the same.
        is_over: whether it has come to its end.
    """

    first: Record
    steps: list[Record] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, None] = field(default_factory=dict)
    is_over: bool = False

    def add(self, record: Record) -> None:
        """Take one record more."""
        self.steps.append(record)
        self.is_over = record.kind in ("ended", "erased", "exported", "planned")
        self.counts |= record.counts
        if record.kind in ("sending", "discarded"):
            self.in_flight |= dict.fromkeys(record.letters)
        if record.kind in ("sent", "refused"):
            for each in record.letters:
                self.in_flight.pop(each, None)
        if record.kind == "sent":
            self.sent |= set(record.letters)
        if record.kind == "ended" and self.what == "discarded":
            self.in_flight.clear()
        self.refused |= record.codes

    @property
    def what(self) -> str:
        """Return what it does, in a word."""
        done = {step.kind for step in self.steps} & {"discarded", "erased", "exported"}
        return min(done) if done else "redrive" if self.first.kind == "begun" else self.first.kind

    @property
    def state(self) -> str:
        """Return whether it is over, in words."""
        if self.is_over:
            return "ended"
        return f"cut off, or running: {len(self.in_flight)} in flight"

    def as_json(self) -> dict[str, Any]:
        """Return it as one document has it."""
        return {
            "run": self.first.run,
            "what": self.what,
            "at": self.first.at,
            "by": self.first.by,
            "source": self.first.source,
            "authority": self.first.authority,
            "filters": dict(self.first.filters),
            "is_over": self.is_over,
            "sent": len(self.sent),
            "refused": dict(Counter(self.refused.values())),
            "counts": self.counts,
            "in_flight": list(self.in_flight),
        }


def runs_of(records: Iterable[Record]) -> dict[str, Run]:
    """Return runs by their ids, the first that was begun first."""
    runs = dict[str, Run]()
    for record in records:
        runs.setdefault(record.run, Run(record)).add(record)
    return runs
