"""What a consumer would decide about a message now: each stage with its evidence, and the end."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class StageState(StrEnum):
    """What came of one stage."""

    PASSED = "passed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """It cannot be told: something is out of reach, or looking might have changed something."""

    NOT_REACHED = "not reached"


class ForeseenEnd(StrEnum):
    """How a message would end."""

    ACCEPTED = "accepted"
    """Its handler would run."""

    ACCEPTED_LATE = "accepted-late"
    """The same, as a policy accepts a token that has expired."""

    SHADOWED = "shadowed"
    """Strict refuses it, and a shadow hands it over as nobody: its handler would run."""

    REFUSED = "refused"
    """A copy with the reason would go to the dead letters or to the rejected."""

    PARKED = "parked"
    """A copy would wait for its caller."""

    DISCARDED = "discarded"
    """A policy says so: it would be acknowledged without a copy."""

    RETURNED = "returned"
    """It was moved here without a token, and would go back where it was."""

    DEFERRED = "deferred"
    """Something is out of reach: it would wait, and the consumer would pause."""

    UNKNOWN = "unknown"
    """What decides it was not looked at."""

    @property
    def is_accepted(self) -> bool:
        """Return whether its handler would run."""
        return self in (ForeseenEnd.ACCEPTED, ForeseenEnd.ACCEPTED_LATE)

    @property
    def is_open(self) -> bool:
        """Return whether nobody can say now how it ends."""
        return self in (ForeseenEnd.DEFERRED, ForeseenEnd.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the way of a delivery, as it came out.

    Attributes:
        name: as ARCHITECTURE.md's diagram has it, without its underscore.
        asks: what is asked there.
        state: what came of it.
        found: what was seen, or why nothing was; never a token. None where there is nothing to say.
        expected: what would have been accepted, or was asked for.
    """

    name: str
    asks: str
    state: StageState = StageState.NOT_REACHED
    found: str | None = None
    expected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What a consumer would decide about a message now.

    Attributes:
        queue: whose consumer.
        at: the instant of this look, seconds since the epoch.
        end: how the message would end.
        stages: all of them, in order.
        code: the refusal's code, where it would be refused, parked, discarded or sent back, or is
            refused but for a shadow.
        detail: the evidence as one line, or what is not known; empty where it would be accepted.
        copied_to: the queue that a copy of it would go to, None where none would.
        policy: the name of the policy that would accept it late.
        unasked: what was not looked at, and may say something else: a replay memory, for one.
    """

    queue: str
    at: float
    end: ForeseenEnd
    stages: tuple[Stage, ...]
    code: str | None = None
    detail: str = ""
    copied_to: str | None = None
    policy: str | None = None
    unasked: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as plain values, such as JSON has them; nothing in it is a token."""
        return asdict(self)
