"""What was proven of a token, and by what: a key, or somebody's word."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from busauth.caller import Caller
from busauth.errors import Untimely
from busauth.tokens.keys import Key, KeyMissing, KeySource


class Evidence(Protocol):
    """What a token was proven by."""

    def holds(self) -> bool:
        """Return whether it still counts, without waiting."""
        ...


class Proof(NamedTuple):
    """The key that signed a token, in one state of its issuer's key set."""

    keys: KeySource
    key: Key
    epoch: int

    def holds(self) -> bool:
        """Return whether the key still counts. Asking renews an ageing key set."""
        try:
            current = self.keys.candidates(self.key.key_id, self.key.algorithm)
        except KeyMissing:
            return False
        return self.epoch == self.keys.epoch and self.key in current


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is genuine, and the instants that it names.

    Attributes:
        caller: the identity; not late, without a lease.
        not_before: `nbf` in seconds since the epoch, if any.
        leeway: seconds of clock skew that its issuer's verifier tolerates.
    """

    caller: Caller
    not_before: float | None
    leeway: float
    _proof: Evidence | None = field(default=None, repr=False, compare=False)

    def holds(self) -> bool:
        """Return whether what proved it still counts, without a look at the token.

        Where it does not, or nothing is named, the token is to be proven again.
        """
        return self._proof is not None and self._proof.holds()

    def check_started(self, now: float) -> None:
        """Refuse a token from the future (RFC 7519, sections 4.1.5 and 4.1.6).

        Raises:
            Untimely: ``token.not_yet_valid`` or ``token.issued_in_future``.
        """
        soonest = now + self.leeway
        if self.not_before is not None and soonest < self.not_before:
            raise self._ahead("token.not_yet_valid", "nbf", self.not_before - now)
        issued_at = self.caller.issued_at
        if issued_at is not None and soonest < issued_at:
            raise self._ahead("token.issued_in_future", "iat", issued_at - now)

    def _ahead(self, code: str, name: str, seconds: float) -> Untimely:
        expected = f"at most {self.leeway:g} s ahead"
        return Untimely(code, found=f"{name} {seconds:.0f} s ahead", expected=expected)

    def lateness(self, now: float) -> float | None:
        """Return seconds past `exp`, None while the token counts (RFC 7519, section 4.1.4)."""
        late = now >= self.caller.expires_at + self.leeway
        return now - self.caller.expires_at if late else None
