"""Can what is remembered be relied on now? Measured on signed heartbeats.

A stream is read in order, so whoever has read a heartbeat has read everything before it. Without
one that is newer than the moment of attaching, the reader has not caught up; once the newest is
older than `stale_after`, by its signed instant or by when it arrived, the reader cannot tell what
it has missed.

The moment of attaching is kept on the monotonic clock alone. What the wall clock said then may have
been wrong; each decision knows by its own reading when that moment was.
"""

import math
from enum import StrEnum


class OnStale(StrEnum):
    """What consumers do while the feed cannot be relied on."""

    PAUSE = "pause"
    """Handle nothing, give back what they hold, and come back."""

    GO_ON = "go-on"
    """Go by what is known: what was revoked meanwhile is handled."""


class FeedHealth:
    """How far a reader has come.

    Args:
        stale_after: seconds without a heartbeat after which a feed counts as stale.
        policy: what follows from that.
        monotonic: when this begins, on a clock that never goes back.
    """

    def __init__(self, stale_after: float, policy: OnStale, monotonic: float) -> None:
        self._stale_after = stale_after
        self._policy = policy
        self._attached = math.inf
        self._covers_from = -math.inf
        self._beat_at = self._beat_until = -math.inf
        self._heard = self._heard_until = -math.inf
        self._lead = -math.inf
        self._read = monotonic

    @property
    def newest(self) -> float:
        """Return the signed instant of the newest heartbeat."""
        return self._beat_at

    def begins(self, covers_from: float) -> None:
        """Note that the stream is read from an instant on that somebody's clock has told.

        Args:
            covers_from: from then on, all that matters was read; before then, it began too late.
        """
        self._covers_from = covers_from

    def covers(self, now: float) -> bool:
        """Return whether reading has begun early enough for a decision at this instant."""
        return self._covers_from <= now

    def attached(self, now: float, monotonic: float) -> None:
        """Note that reading begins; after a gap, it has to catch up once more."""
        if self.doubt(now, monotonic) is not None:
            self._attached = monotonic
            self._lead = -math.inf

    def read(self, monotonic: float) -> None:
        """Note that something was read, whatever it was, or that it is about to be."""
        self._read = monotonic

    def beat(self, issued_at: float, monotonic: float) -> None:
        """Note a heartbeat; an old one that somebody repeats says nothing new."""
        if issued_at > self._beat_at:
            self._beat_at, self._heard = issued_at, monotonic
            self._beat_until = issued_at + self._stale_after
            self._heard_until = monotonic + self._stale_after
            self._lead = issued_at - self._attached

    def holds(self, now: float, monotonic: float) -> bool:
        """Return whether there is no doubt; the short form, asked for each message."""
        return (
            self._covers_from <= now <= self._beat_until
            and monotonic <= self._heard_until
            and now - monotonic < self._lead
        )

    def doubt(self, now: float, monotonic: float) -> str | None:
        """Return why the reader cannot be relied on, None where it can."""
        if self.holds(now, monotonic):
            return None
        if self._attached == math.inf:
            return "it was not reached yet"
        if not self.covers(now):
            return "it was not read from its beginning, by a clock that was ahead"
        if not self._has_caught_up(now, monotonic):
            return "it was not read to its end yet"
        age = max(now - self._beat_at, monotonic - self._heard)
        return f"its last heartbeat is {age:.0f} s old: expected {self._stale_after:g} s"

    def _has_caught_up(self, now: float, monotonic: float) -> bool:
        """Return whether a heartbeat is newer than the moment of attaching, by this reading."""
        return now - monotonic < self._lead

    def objection(self, now: float, monotonic: float) -> str | None:
        """Return why nothing must be handled, None where the policy has it go on.

        While there is more to read, it is waited for under any policy.
        """
        doubt = self.doubt(now, monotonic)
        if doubt is None or self._policy is OnStale.PAUSE:
            return doubt
        caught_up = self.covers(now) and self._has_caught_up(now, monotonic)
        waited = monotonic - self._read > self._stale_after
        return None if caught_up or waited else doubt
