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

Each attempt has a name of its own, its holder's. An answer may be lost, and the question repeated:
to the same holder it is answered alike. And what an earlier holder takes back late is no later
one's.

Entries die `keep_for` seconds after they were last touched: no proof is accepted after that. Those
seconds are the memory's own, never a worker's reading of the wall clock: one that is ahead for a
moment must not empty a memory (docs/adr/0013). A full memory forgets those that were done first,
whose copies then count as new. What is in flight is never forgotten for room; where nothing else is
left, the message waits.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol, Self

from busauth._arguments import Count, Seconds, checked
from busauth.clock import Clock, SystemClock
from busauth.errors import Deferred, Forbidden, Refused

CAPACITY = 100_000  # entries; each is a key of two short names and two numbers


OWN = ""
"""In place of a publisher's name, which is never empty: the consumer group's own word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayKey:
    """What makes two deliveries one message, all of it proven or sealed.

    Attributes:
        group: the consumer group, as a rule the queue's name.
        publisher: who signed its proof; empty for a letter that was sent again.
        message_id: as it was signed; the letter's sealed id for such a one.
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
        what = "message id" if key.publisher else "letter"
        return cls("replay.duplicate", found=f"{what} {key.message_id!r} once more")


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

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        """Put a message in flight, unless it is a duplicate or a copy, and tell what it is.

        Args:
            key: what makes it this message.
            holder: a name of this attempt, which nobody else has; to it a repeated question is
                answered as it was at first.
            redelivered: whether the broker has delivered it before.

        Raises:
            Deferred: the memory is out of reach, or full of messages in flight. It should say so
                within seconds: the consumer waits for it.
        """
        ...

    async def done(self, key: ReplayKey) -> None:
        """Mark a message as settled, whoever holds it: call it before acknowledging.

        Raises:
            Deferred: the memory is out of reach. Acknowledge all the same: what is lost is that a
                redelivery would be handled again.
        """
        ...

    async def was_settled(self, key: ReplayKey) -> bool:
        """Return whether a message was settled, as far as is known; nothing is put in flight.

        Raises:
            Deferred: the memory is out of reach.
        """
        ...

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        """Take a message back, because its handler did not run; another holder keeps it.

        Raises:
            Deferred: the memory is out of reach.
        """
        ...


def a_copy_of(key: ReplayKey) -> Forbidden:
    """Return the refusal of a copy."""
    whose = f"message id {key.message_id!r} of {key.publisher}"
    found = f"{whose if key.publisher else f'letter {key.message_id}'} once more"
    return Forbidden("replay.copy", found=found, expected="each message once")


def full(capacity: int) -> Deferred:
    """Return what a full memory answers."""
    return Deferred(f"the replay memory is full: {capacity} messages are in flight")


class _Flight(NamedTuple):
    """A message in flight, and what its holder was told."""

    dies: float
    holder: str
    standing: Standing


class InProcessReplay:
    """A memory of this process alone: it ends with it, and other processes know nothing of it.

    Args:
        keep_for: seconds; at least `Proofs.remember_for`.
        capacity: entries at most, in flight and done together.
        clock: whose monotonic seconds count.

    Attributes:
        keep_for: as given.

    Raises:
        ConfigurationError: `keep_for` or `capacity` is not above 0.
    """

    @checked
    def __init__(
        self, *, keep_for: Seconds, capacity: Count = CAPACITY, clock: Clock | None = None
    ) -> None:
        self.keep_for = keep_for
        self._capacity = capacity
        self._clock = clock or SystemClock()
        self._flying: OrderedDict[ReplayKey, _Flight] = OrderedDict()
        self._done: OrderedDict[ReplayKey, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flying) + len(self._done)

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        """Put a message in flight and tell what it is; never waits."""
        now = self._drop_dead()
        if key in self._done:
            return Standing.DUPLICATE if redelivered else Standing.COPY
        flight = self._flying.get(key)
        if flight is not None and flight.holder == holder:
            return flight.standing
        if flight is not None and not redelivered:
            return Standing.COPY
        if flight is None:
            self._make_room()  # before anything is put: where there is no room, nothing has changed
        standing = Standing.NEW if flight is None else Standing.AGAIN
        self._flying[key] = _Flight(now + self.keep_for, holder, standing)
        self._flying.move_to_end(key)
        return standing

    async def done(self, key: ReplayKey) -> None:
        """Mark a message as settled; never waits."""
        now = self._drop_dead()
        if self._flying.pop(key, None) is None and key not in self._done:
            self._make_room()
        self._done[key] = now + self.keep_for
        self._done.move_to_end(key)

    async def was_settled(self, key: ReplayKey) -> bool:
        """Return whether a message was settled; never waits."""
        self._drop_dead()
        return key in self._done

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        """Take a message that is in flight back; never waits."""
        flight = self._flying.get(key)
        if flight is not None and flight.holder == holder:
            del self._flying[key]

    def _drop_dead(self) -> float:
        """Forget whose time has come, and return what time it is."""
        now = self._clock.monotonic()
        while self._flying and next(iter(self._flying.values())).dies <= now:
            self._flying.popitem(last=False)
        while self._done and next(iter(self._done.values())) <= now:
            self._done.popitem(last=False)
        return now

    def _make_room(self) -> None:
        if len(self) < self._capacity:
            return
        if not self._done:
            raise full(self._capacity)
        self._done.popitem(last=False)
