"""What was proven of a token, and by what: a key, or somebody's word."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from busauth._tokens.keys.key import Key, KeySource
from busauth._tokens.keys.retired import FormerKey, Retired
from busauth.caller import Caller
from busauth.errors import Untimely


class Evidence(Protocol):
    """What a token was proven by."""

    def holds(self) -> bool:
        """Return whether it still counts, without waiting."""
        ...


class SignedBy(NamedTuple):
    """The key that signed, in one state of its owner's key set.

    Attributes:
        keys: whose key it is.
        key: the key.
        epoch: that state.
        retired: where the key was removed, what is known of it.
    """

    keys: KeySource
    key: Key
    epoch: int
    retired: Retired | None = None

    def holds(self) -> bool:
        """Return whether the key still counts. Asking renews an ageing key set.

        What cannot tell does not vouch: the token is proven again, and the error is told there.
        """
        key = self.key
        try:
            if self.retired is None:
                known = self.keys.candidates(key.key_id, key.algorithm)
            else:
                former = former_keys(self.keys, key.key_id, key.algorithm)
                known = [each.key for each in former]
        except Exception:
            return False
        return self.epoch == self.keys.epoch and key in known


def former_keys(keys: KeySource, key_id: str | None, algorithm: str) -> Sequence[FormerKey]:
    """Return the removed keys of a source that may have signed; most sources remember none."""
    remembered = getattr(keys, "former", None)
    return () if remembered is None else remembered(key_id, algorithm)


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is genuine, and the instants that it names.

    Attributes:
        caller: the identity; not late, without a lease.
        not_before: `nbf` in seconds since the epoch, if any.
        leeway: seconds of clock skew that its issuer's verifier tolerates.
        retired: set where its key was removed since. Then it counts for messages only that were
            published before; the decision asks for that.
    """

    caller: Caller
    not_before: float | None
    leeway: float
    _proof: Evidence | None = field(default=None, repr=False, compare=False)
    retired: Retired | None = None

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
