"""How the revocation feed is kept and read."""

from typing import Annotated, Any

from pydantic import Field

from busauth._arguments import Count, Range, Seconds, SecondsOrNone
from busauth._knobs import Knobs
from busauth._revocation import OnStale

STREAM = "busauth.revocations"

_SEGMENT_BYTES = 16 * 1024 * 1024
"""A stream drops whole segments of this size, so that it may keep more than asked."""

StreamName = Annotated[str, Field(min_length=1, max_length=255)]
Prefetch = Annotated[int, Range(unit="a number", least=4, most=65_535)]
Age = Annotated[float, Range(unit="seconds", least=1)]
"""How long a stream keeps what is in it: whole seconds, as the broker counts them."""


class FeedOptions(Knobs):
    """How a consumer reads the feed; seconds throughout.

    Attributes:
        stream: the stream's name.
        token_life: the longest that a token lives, from `iat` to `exp`.
        lateness: the longest past `exp` that a policy accepts, at most `GuardOptions.hard_max_age`.
        stale_after: without a heartbeat for so long, the feed counts as stale.
        on_stale: what follows from that.
        session_claim: the claim that names a token's session.
        capacity: revocations that are remembered at most, about 150 bytes each; beyond that, the
            feed is not read on, and so becomes stale.
        prefetch: messages that the broker sends ahead.
        checkpoint_every: how often what is known is written down, where there is a file for it.
        reconnect: how long to wait before attaching again.
    """

    stream: StreamName = STREAM
    token_life: Seconds = 24 * 3600.0
    lateness: SecondsOrNone = 24 * 3600.0
    stale_after: Seconds = 30.0
    on_stale: OnStale = OnStale.PAUSE
    session_claim: str = Field(default="sid", min_length=1)
    capacity: Count = 2_000_000
    prefetch: Prefetch = 1000
    checkpoint_every: Seconds = 60.0
    reconnect: Seconds = 1.0

    @property
    def retention(self) -> float:
        """Return for how long a revocation can matter."""
        return self.token_life + self.lateness


class StreamOptions(Knobs):
    """How the stream is declared by who publishes to it; seconds throughout.

    Attributes:
        name: the stream's name.
        max_age: how long it keeps events; at least the longest retention of its readers.
        declare: whether it is declared; False where an operator does it.
    """

    name: StreamName = STREAM
    max_age: Age = 72 * 3600.0
    declare: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what the stream is declared with."""
        return {
            "x-queue-type": "stream",
            "x-max-age": f"{int(self.max_age)}s",
            "x-stream-max-segment-size-bytes": _SEGMENT_BYTES,
        }
