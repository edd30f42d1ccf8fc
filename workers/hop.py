"""What a service holds of a caller's authority while it works: what the demo shows, and checks."""

from dataclasses import dataclass

from busauth import Caller

LEGEND = "What each holds is told as: by whom; as which role; for whom; what it may do; how long."


@dataclass(frozen=True, slots=True)
class Hop:
    """The authority at one hop.

    Attributes:
        service: who holds it.
        subject: on whose behalf.
        actors: who acts for them, the outermost first.
        audience: whom the token is for.
        scopes, roles: what it allows, and who they are.
        seconds: how long it still lives.
        transaction: which one it is of, where it is of one.
    """

    service: str
    subject: str
    actors: tuple[str, ...]
    audience: tuple[str, ...]
    scopes: frozenset[str]
    roles: frozenset[str]
    seconds: float
    transaction: str | None = None

    @classmethod
    def of(cls, service: str, caller: Caller, now: float) -> "Hop":
        """Return what a service holds of this caller now."""
        return cls(
            service,
            caller.subject,
            tuple(actor.subject for actor in caller.actors),
            caller.audience,
            caller.scopes,
            caller.roles,
            caller.expires_at - now,
            caller.transaction.txn if caller.transaction else None,
        )

    @property
    def holding(self) -> str:
        """Return what is held, for people and for what was expected: every part of it, or none."""
        by = f"by {', '.join(self.actors)}; " if self.actors else ""
        roles = f"as {' '.join(sorted(self.roles))}; " if self.roles else ""
        may = " ".join(sorted(self.scopes)) or "nothing"
        what = "in a transaction; " if self.transaction else ""
        whom = ", ".join(self.audience)
        return f"{by}{roles}{what}for {whom}; may {may}; {lasting(self.seconds)}"

    def __str__(self) -> str:
        return f"{self.service}: {self.subject} {self.holding}"


def lasting(seconds: float) -> str:
    """Return a time as somebody would say it: 300 s, and 20 h."""
    hours = seconds / 3600
    return f"{hours:g} h" if hours >= 1 else f"{seconds:g} s"
