"""Was this message here before? A broker's redelivery is told from somebody's copy.

A message is *in flight* from the moment its handler may run, and *done* once it was settled. What a
delivery means depends on that, and on the broker's own `redelivered` flag, which no sender can set:

=========  ==============  ==========================================
known as   redelivered     means
=========  ==============  ==========================================
nothing    either          new: it is handled
in flight  yes             again: whoever had it is gone; it is handled
done       yes             duplicate: the acknowledgement got lost; it is acknowledged
any        no              copy: refused, ``replay.copy``
=========  ==============  ==========================================

Entries die `keep_for` seconds after they were last touched: no proof is accepted after that. A full
memory forgets those that were done first, whose copies then count as new. What is in flight is
never forgotten for room; where nothing else is left, the message waits.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, Self

from busauth.errors import ConfigurationError, Deferred, Forbidden, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayKey:
    """What makes two deliveries one message, all of it proven or sealed.

    Attributes:
        group: the consumer group, as a rule the queue's name.
        publisher: who signed its proof.
        message_id: as it was signed.
        attempt: the sealed attempt; a retry is a message of its own.
        redrive: the sealed number of times that it was sent again from the dead letters.
    """

    group: str
    publisher: str
    message_id: str
    attempt: int = 0
    redrive: int = 0


class Duplicate(Refused):
    """It was handled before, and its acknowledgement got lost: it is acknowledged, not handled."""

    @classmethod
    def of(cls, key: ReplayKey) -> Self:
        """Return what becomes of a duplicate."""
        return cls("replay.duplicate", found=f"message id {key.message_id!r} once more")


class Standing(Enum):
    """What a delivery is to a memory."""

    NEW = "new"
    AGAIN = "again"
    DUPLICATE = "duplicate"
    COPY = "copy"


class ReplayMemory(Protocol):
    """Remembers messages for as long as their proofs are accepted."""

    @property
    def keep_for(self) -> float:
        """Return the seconds for which a message is remembered."""
        ...

    async def begin(self, key: ReplayKey, *, redelivered: bool, now: float) -> Standing:
        """Put a message in flight, unless it is a duplicate or a copy, and tell what it is.

        Raises:
            Deferred: the memory is out of reach, or full of messages in flight.
        """
        ...

    async def done(self, key: ReplayKey, now: float) -> None:
        """Mark a message as settled: call it before acknowledging.

        Raises:
            Deferred: the memory is out of reach. Acknowledge all the same: what is lost is that a
                redelivery would be handled again.
        """
        ...

    async def forget(self, key: ReplayKey) -> None:
        """Take a message that is in flight back, because its handler did not run.

        Raises:
            Deferred: the memory is out of reach.
        """
        ...


async def admitted(
    memory: ReplayMemory, key: ReplayKey, *, redelivered: bool, now: float
) -> Standing:
    """Return what a delivery is: `NEW` and `AGAIN` are handled, a `DUPLICATE` is acknowledged.

    Raises:
        Forbidden: ``replay.copy``.
        Deferred: the memory cannot tell now.
    """
    standing = await memory.begin(key, redelivered=redelivered, now=now)
    if standing is Standing.COPY:
        found = f"message id {key.message_id!r} of {key.publisher} once more"
        raise Forbidden("replay.copy", found=found, expected="each message once")
    return standing


def check_bounds(keep_for: float, capacity: int) -> None:
    """Refuse a memory that could keep nothing.

    Raises:
        ConfigurationError: with what was found.
    """
    if not 0 < keep_for < float("inf") or capacity < 1:
        found = f"keep_for={keep_for!r}, capacity={capacity!r}"
        raise ConfigurationError(f"{found}: expected seconds and a number of entries, above 0")


def full(capacity: int) -> Deferred:
    """Return what a full memory answers."""
    return Deferred(f"the replay memory is full: {capacity} messages are in flight")


class InProcessReplay:
    """A memory of this process alone: it ends with it, and other processes know nothing of it.

    Args:
        keep_for: seconds; at least `Proofs.remember_for`.
        capacity: entries at most, in flight and done together.

    Attributes:
        keep_for: as given.

    Raises:
        ConfigurationError: either is not above 0.
    """

    def __init__(self, *, keep_for: float, capacity: int = 100_000) -> None:
        check_bounds(keep_for, capacity)
        self.keep_for = keep_for
        self._capacity = capacity
        self._flying: OrderedDict[ReplayKey, float] = OrderedDict()
        self._done: OrderedDict[ReplayKey, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flying) + len(self._done)

    async def begin(self, key: ReplayKey, *, redelivered: bool, now: float) -> Standing:
        """Put a message in flight and tell what it is; never waits."""
        self._drop_dead(now)
        if key in self._done:
            return Standing.DUPLICATE if redelivered else Standing.COPY
        known = key in self._flying
        if known and not redelivered:
            return Standing.COPY
        if not known:
            self._make_room()
        self._put(self._flying, key, now)
        return Standing.AGAIN if known else Standing.NEW

    async def done(self, key: ReplayKey, now: float) -> None:
        """Mark a message as settled; never waits."""
        self._drop_dead(now)
        if self._flying.pop(key, None) is None and key not in self._done:
            self._make_room()
        self._put(self._done, key, now)

    async def forget(self, key: ReplayKey) -> None:
        """Take a message that is in flight back; never waits."""
        self._flying.pop(key, None)

    def _put(self, entries: OrderedDict[ReplayKey, float], key: ReplayKey, now: float) -> None:
        entries[key] = now + self.keep_for
        entries.move_to_end(key)

    def _drop_dead(self, now: float) -> None:
        for entries in (self._flying, self._done):
            while entries and next(iter(entries.values())) <= now:
                entries.popitem(last=False)

    def _make_room(self) -> None:
        if len(self) < self._capacity:
            return
        if not self._done:
            raise full(self._capacity)
        self._done.popitem(last=False)
