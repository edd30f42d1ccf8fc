"""What the steps of a job say to each other, through which queues, and how much each of them needs.

A step may do what it does itself, and what it hands on for those behind it. None may book: that is
for people to do.
"""

from uuid import UUID

from pydantic import BaseModel

SEARCHES_DUE = "searches.due"
HOLDS_DUE = "holds.due"
REPORTS_DUE = "reports.due"

TO_REPORT = frozenset({"mail:send"})
TO_HOLD = TO_REPORT | {"flights:hold"}
TO_SEARCH = TO_HOLD | {"flights:search"}

HOURS = 24.0
"""How long a job may take in all, whatever waits in between."""


class Job(BaseModel):
    """Where somebody wants to go, and which airlines are to be asked."""

    id: UUID
    destination: str
    airlines: list[str]


class Offer(BaseModel):
    """A flight that was found for a job."""

    job: UUID
    flight: str


class Report(BaseModel):
    """What became of a job."""

    job: UUID
    text: str
