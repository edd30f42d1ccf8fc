"""When was a message published, and who says so?

Two can say it: a publisher that the consumer trusts, in its proof, and a broker whose operator
declared that it overwrites the header `timestamp_in_ms`. Each source's word is kept apart, so that
a policy can name whose word counts. Where both speak they must agree within the skew, and the later
instant counts for both. A sender's bare `timestamp`, and the token's `iat`, say nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from busauth._messages.proof import Proven
from busauth.errors import Untimely

BROKER_STAMP = "timestamp_in_ms"
"""The header that a broker overwrites, and the name of that source."""

_SECOND = 1000
_LATEST = 10**14
"""Milliseconds; beyond it is no instant of ours."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is known of a message besides its token, all of it from who may say so.

    Attributes:
        proven: what its publisher's proof says, None without one.
        published: the published instant, seconds since the epoch, by whose word it is: a
            publisher's name or `BROKER_STAMP`.
        published_at: the instant to repeat in a message that this one leads to, if there is one.
    """

    proven: Proven | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    published_at: float | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        proven = self.proven
        source = BROKER_STAMP if proven is None else proven.publisher
        at = self.published.get(source)
        is_led_to = proven is not None and proven.root_published_at < proven.published_at
        if proven is not None and at is not None and is_led_to and not proven.released:
            at = proven.root_published_at  # also where the token was had later than that
        object.__setattr__(self, "published_at", at)

    def repeated(self, accepted_by: float | None) -> float | None:
        """Return the instant to repeat where a late token was accepted by a published instant.

        Args:
            accepted_by: that instant; None where there was none, and nothing is repeated.
        """
        own = None if self.proven is None else self.published.get(self.proven.publisher)
        return self.published_at if accepted_by is not None and accepted_by == own else accepted_by

    @property
    def names_caller(self) -> bool:
        """Return whether a proof names the token's issuer and subject."""
        return self.proven is not None and self.proven.names_caller


UNPROVEN = Provenance()
"""A message of which only its token is known."""


def provenance_of(
    proven: Proven | None, stamp: float | None, *, skew: float, starts_at: float = -inf
) -> Provenance:
    """Return the origin of a message.

    Args:
        proven: what its proof says, None without one.
        stamp: the broker's, seconds since the epoch, None where nothing can be trusted.
        skew: seconds by which both may differ.
        starts_at: from when on the token counts, by its own word and the leeway.

    Raises:
        Untimely: ``published.disagreement``: they differ by more.
    """
    if proven is None:
        return UNPROVEN if stamp is None else Provenance(None, {BROKER_STAMP: stamp})
    if stamp is None:
        return Provenance(proven, {proven.publisher: _asked_at(proven, starts_at)})
    apart = stamp - proven.published_at
    if abs(apart) > skew:
        found = f"{BROKER_STAMP} {apart:.3f} s after the proof's iat"
        raise Untimely("published.disagreement", found=found, expected=f"at most {skew:g} s apart")
    later = max(stamp, proven.published_at)
    said = _asked_at(proven, starts_at)
    own = said if said < proven.published_at else later
    return Provenance(proven, {proven.publisher: own, BROKER_STAMP: later})


def _asked_at(proven: Proven, starts_at: float) -> float:
    """Return when the work was asked for with this token: in a chain, at its root.

    A release brought another token than the first one's, and so did an exchange on the way, where a
    token is younger than the root: the message's own instant is what counts for that.
    """
    is_another = proven.released or starts_at > proven.root_published_at
    return proven.published_at if is_another else proven.root_published_at


def stamp_in(value: object) -> float | None:
    """Return a broker's stamp in seconds; anything odd is no stamp."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LATEST:
        return None
    return value / _SECOND
