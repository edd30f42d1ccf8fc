"""Messages that wait in a queue, in the order in which they leave it."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Protocol

from busauth.testing.broker.model.message import Message

_position = attrgetter("position")
_NOTHING = Message("", "", b"", b"")


class Entry:
    """A message in one queue.

    Attributes:
        message: what it is.
        position: its place in the order of arrival.
        expires_at: seconds on the monotonic clock; None for never.
        redelivered: whether somebody had it before.
        returns: how often it came back.
        failures: how often of these because it was rejected, or its holder was gone.
    """

    __slots__ = ("expires_at", "failures", "message", "position", "redelivered", "returns")

    def __init__(self, message: Message, position: int, expires_at: float | None) -> None:
        self.message = message
        self.position = position
        self.expires_at = expires_at
        self.redelivered = False
        self.returns = 0
        self.failures = 0

    def let_go(self) -> None:
        """Keep no message for those who still hold a delivery of a queue that is gone."""
        self.message = _NOTHING


class Ready(Protocol):
    """An order of messages."""

    @property
    def bytes(self) -> int:
        """Return the bytes of all bodies."""
        ...

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Entry]: ...
    def append(self, entry: Entry) -> None:
        """Add a new message."""
        ...

    def give_back(self, entry: Entry) -> None:
        """Take back what was delivered."""
        ...

    def head(self) -> Entry:
        """Return the message that leaves next."""
        ...

    def pop(self) -> Entry:
        """Remove and return it."""
        ...


class ByArrival:
    """First in, first out; what comes back goes where it was."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def append(self, entry: Entry) -> None:
        """Add at the end."""
        self._entries.append(entry)
        self.bytes += len(entry.message.body)

    def give_back(self, entry: Entry) -> None:
        """Put back before everything that arrived later."""
        self.bytes += len(entry.message.body)
        if not self._entries or entry.position < self._entries[0].position:
            self._entries.appendleft(entry)
            return
        self._entries.insert(bisect_left(self._entries, entry.position, key=_position), entry)

    def head(self) -> Entry:
        """Return the oldest."""
        return self._entries[0]

    def pop(self) -> Entry:
        """Remove and return the oldest."""
        entry = self._entries.popleft()
        self.bytes -= len(entry.message.body)
        return entry


class ByPriority:
    """The highest priority first, then by arrival.

    Args:
        highest: `x-max-priority`; what is above counts as this.
    """

    def __init__(self, highest: int) -> None:
        self._levels = [ByArrival() for _ in range(highest + 1)]

    @property
    def bytes(self) -> int:
        """Bytes of all bodies."""
        return sum(level.bytes for level in self._levels)

    def __len__(self) -> int:
        return sum(map(len, self._levels))

    def __iter__(self) -> Iterator[Entry]:
        return (entry for level in reversed(self._levels) for entry in level)

    def _level(self, entry: Entry) -> ByArrival:
        return self._levels[min(entry.message.priority, len(self._levels) - 1)]

    def _first(self) -> ByArrival:
        return next(level for level in reversed(self._levels) if level)

    def append(self, entry: Entry) -> None:
        """Add at the end of its priority."""
        self._level(entry).append(entry)

    def give_back(self, entry: Entry) -> None:
        """Put back to its place in its priority."""
        self._level(entry).give_back(entry)

    def head(self) -> Entry:
        """Return the oldest of the highest priority."""
        return self._first().head()

    def pop(self) -> Entry:
        """Remove and return it."""
        return self._first().pop()


class ReturnsFirst:
    """What came back leaves first, in the order in which it came back: a quorum queue's order."""

    def __init__(self) -> None:
        self._returned: deque[Entry] = deque()
        self._new = ByArrival()
        self._returned_bytes = 0

    @property
    def bytes(self) -> int:
        """Bytes of all bodies."""
        return self._new.bytes + self._returned_bytes

    def __len__(self) -> int:
        return len(self._returned) + len(self._new)

    def __iter__(self) -> Iterator[Entry]:
        return iter((*self._returned, *self._new))

    def append(self, entry: Entry) -> None:
        """Add at the end."""
        self._new.append(entry)

    def give_back(self, entry: Entry) -> None:
        """Queue up behind what came back earlier."""
        self._returned.append(entry)
        self._returned_bytes += len(entry.message.body)

    def head(self) -> Entry:
        """Return what leaves next."""
        return self._returned[0] if self._returned else self._new.head()

    def pop(self) -> Entry:
        """Remove and return it."""
        if not self._returned:
            return self._new.pop()
        entry = self._returned.popleft()
        self._returned_bytes -= len(entry.message.body)
        return entry


def drained(ready: Ready) -> Iterable[Entry]:
    """Remove everything, in order."""
    while ready:
        yield ready.pop()
