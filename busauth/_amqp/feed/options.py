"""How the revocation feed is kept and read; seconds and bytes throughout."""

from typing import Any

from pydantic import Field

from busauth._knobs import Knobs
from busauth._revocation import OnStale

STREAM = "busauth.revocations"


class FeedOptions(Knobs):
    """How a consumer reads the feed.

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

    stream: str = Field(default=STREAM, min_length=1, max_length=255)
    token_life: float = Field(default=24 * 3600.0, gt=0)
    lateness: float = Field(default=24 * 3600.0, ge=0)
    stale_after: float = Field(default=30.0, gt=0)
    on_stale: OnStale = OnStale.PAUSE
    session_claim: str = Field(default="sid", min_length=1)
    capacity: int = Field(default=2_000_000, ge=1)
    prefetch: int = Field(default=1000, ge=4, le=65_535)
    checkpoint_every: float = Field(default=60.0, gt=0)
    reconnect: float = Field(default=1.0, gt=0)

    @property
    def retention(self) -> float:
        """Return for how long a revocation can matter."""
        return self.token_life + self.lateness


class StreamOptions(Knobs):
    """How the stream is declared by who publishes to it.

    Attributes:
        name: the stream's name.
        max_age: how long it keeps events; at least the longest retention of its readers.
        segment_bytes: it drops whole segments of this size, so that it may keep more than asked.
        declare: whether it is declared; False where an operator does it.
    """

    name: str = Field(default=STREAM, min_length=1, max_length=255)
    max_age: float = Field(default=72 * 3600.0, ge=1)
    segment_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    declare: bool = True

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what the stream is declared with."""
        return {
            "x-queue-type": "stream",
            "x-max-age": f"{int(self.max_age)}s",
            "x-stream-max-segment-size-bytes": self.segment_bytes,
        }
