"""What was proven of a token, and by what: a key, or somebody's word."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol, Self, TypeVar

from busauth._tokens.keys.key import Key, KeySource
from busauth._tokens.keys.retired import FormerKey, Retired
from busauth.caller import Caller
from busauth.errors import Untimely


class Evidence(Protocol):
    """What a token was proven by."""

    def holds(self) -> bool:
        """Return whether it still counts, without waiting."""
        ...


class Renewable(Evidence, Protocol):
    """Evidence that can be had anew, and compared with what it was."""

    def says_as(self, other: Self) -> bool:
        """Return whether both say the same, whatever proved them."""
        ...


E = TypeVar("E", bound=Renewable)


async def still_said(evidence: E, prove: Callable[[], Awaitable[E]]) -> tuple[E, bool]:
    """Return evidence that counts by now, and whether it says what it said before.

    A word that counts for a second is asked for again after an await. What says the same changes
    no decision, however often it has to be asked for.

    Args:
        evidence: what a decision rests on.
        prove: proves anew; is awaited only where that does not hold any more.
    """
    if evidence.holds():
        return evidence, True
    again = await prove()
    return again, again.says_as(evidence)


class _Nothing:
    """What proves nothing: a token for which nothing else is named is proven each time."""

    def holds(self) -> bool:
        return False


NOTHING: Evidence = _Nothing()
"""The evidence where none is named."""


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
        This is what a remembered token costs for each message, so nothing here is looked for twice.
        """
        key = self.key
        try:
            if self.retired is None:
                known = self.keys.candidates(key.key_id, key.algorithm)
            else:
                former = former_keys(self.keys, key.key_id, key.algorithm)
                known = [each.key for each in former]
        except Exception:  # whatever a source of the user's raises; see above
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
        by: what proved it.
        retired: set where its key was removed since. Then it counts for messages only that were
            published before; the decision asks for that.
        is_voucher: whether it is one, which counts for nothing but to be exchanged.
        starts_at: from which instant on it counts, by `nbf` and `iat`; minus infinity where it has
            neither. `check_started` is for a token that has not.
        ends_at: up to which instant it counts, by `exp`; `lateness` is for a token that does not.
            Minus infinity for a voucher: whoever asks whether it is in time hears that it is not.
    """

    caller: Caller
    not_before: float | None
    leeway: float
    by: Evidence = field(default=NOTHING, repr=False, compare=False)
    retired: Retired | None = None
    is_voucher: bool = False
    starts_at: float = field(init=False, repr=False, compare=False)
    ends_at: float = field(init=False, repr=False, compare=False)

    def __init_subclass__(cls) -> None:
        """Refuse kinds of it, whose methods nobody would ask: `by` says what vouches for a token.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{cls.__name__}: Verified has no subclasses; evidence of your own is `by`")

    def __post_init__(self) -> None:
        """Say once when it counts: each message that it comes with asks for that."""
        started = (self.not_before, self.caller.issued_at)
        starts_at = max((each for each in started if each is not None), default=-inf)
        object.__setattr__(self, "starts_at", starts_at - self.leeway)
        ends_at = -inf if self.is_voucher else self.caller.expires_at + self.leeway
        object.__setattr__(self, "ends_at", ends_at)

    def holds(self) -> bool:
        """Return whether what proved it still counts, without a look at the token.

        Where it does not, or nothing is named, the token is to be proven again.
        """
        return self.by.holds()

    def says_as(self, other: Self) -> bool:
        """Return whether another proof of a token says the same of it, whatever proved it."""
        return self == other and self.caller.claims == other.caller.claims

    def check_started(self, now: float) -> None:
        """Refuse a token from the future (RFC 7519, sections 4.1.5 and 4.1.6).

        Raises:
            Untimely: ``token.not_yet_valid`` or ``token.issued_in_future``.
        """
        if now >= self.starts_at:
            return
        not_before, issued_at = self.not_before, self.caller.issued_at
        if not_before is not None and now < not_before - self.leeway:
            raise self._ahead("token.not_yet_valid", "nbf", not_before - now)
        if issued_at is not None:
            raise self._ahead("token.issued_in_future", "iat", issued_at - now)

    def _ahead(self, code: str, name: str, seconds: float) -> Untimely:
        expected = f"at most {self.leeway:g} s ahead"
        return Untimely(code, found=f"{name} {seconds:.0f} s ahead", expected=expected)

    def lateness(self, now: float) -> float | None:
        """Return seconds past `exp`, None while the token counts (RFC 7519, section 4.1.4)."""
        return None if now < self.ends_at else now - self.caller.expires_at
