"""What the services of a play say to each other, and through which queues.

It is little: who watches what, and on which plan, is in the transaction token.
"""

from pydantic import BaseModel

PLAYS_BEGUN = "plays.begun"
PLAYS_SEEN = "plays.seen"
PLAYS_BILLED = "plays.billed"


class Play(BaseModel):
    """A play; its number says nothing about anybody."""

    id: int
