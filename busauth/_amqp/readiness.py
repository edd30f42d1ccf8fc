"""Whether a service can do its work at this moment, as it knows without asking anybody."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """True where nothing stands in the way, for `if bus.ready:` and readiness probes.

    Attributes:
        reasons: what does stand in the way, for people; nothing secret.
    """

    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether nothing stands in the way."""
        return not self.reasons

    def __str__(self) -> str:
        """Return it as one line."""
        return f"not ready: {'; '.join(self.reasons)}" if self.reasons else "ready"
