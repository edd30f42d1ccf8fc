"""What the services of a ride say to each other, through which queues, and what that takes."""

from uuid import UUID

from pydantic import BaseModel

TO_MATCH = frozenset({"rides:request", "rides:meet", "payments:take"})
"""What matching needs: the first for itself, and one each for those behind it."""

RIDES_REQUESTED = "rides.requested"
PAYMENTS_DUE = "payments.due"
RIDES_OFFERED = "rides.offered"


class Trip(BaseModel):
    """From where to where."""

    id: UUID
    start: str
    end: str


class Fare(BaseModel):
    """What a trip costs, in cents."""

    trip: UUID
    amount: int
