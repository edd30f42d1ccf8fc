"""What waits to be written: bounded, taken by one thread, and what has no room is counted."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from busauth.audit import LOGGER

Item = TypeVar("Item")

MINUTE = 60.0
"""Seconds between two lines in the log that tell of one sink."""

_BATCH = 500


class Seldom:
    """Says once a minute that something may be told.

    Args:
        monotonic: what the minute is measured with.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._told_at = monotonic, float("-inf")

    def is_due(self) -> bool:
        """Return whether a line may be written, which counts as written then."""
        now = self._monotonic()
        if now - self._told_at < MINUTE:
            return False
        self._told_at = now
        return True


class Waiting(Generic[Item]):
    """What one thread takes, and any thread puts there.

    Args:
        name: of the sink, for people.
        most: how many may wait.
        monotonic: what the minute between two lines in the log is measured with.

    Attributes:
        dropped: how many were not kept, for want of room or because they could not be written.
        is_ending: whether its thread ends once nothing waits any more.
    """

    def __init__(self, name: str, most: int, monotonic: Callable[[], float]) -> None:
        self._name, self._most = name, most
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._seldom = Seldom(monotonic)
        self._is_taken = self.is_ending = False
        self._in_hand = self._told = self.dropped = 0

    def put(self, item: Item) -> bool:
        """Have something wait, or count it; return whether a thread must be begun that takes it."""
        with self._changed:
            is_full = len(self._items) >= self._most
            if is_full:
                self.dropped += 1
            else:
                self._items.append(item)
                self._changed.notify()
            begins = not self._is_taken
            if begins:
                self._is_taken, self.is_ending = True, False
        if is_full:
            self.tell("more comes than is written")
        return begins

    def refuse(self, why: str) -> None:
        """Count what is not even let in."""
        with self._changed:
            self.dropped += 1
        self.tell(why)

    def take(self) -> list[Item]:
        """Return what waits, once something does; nothing where the thread is to end."""
        with self._changed:
            while not self._items and not self.is_ending:
                self._changed.wait()
            self._is_taken, self._in_hand = bool(self._items), min(_BATCH, len(self._items))
            return [self._items.popleft() for _ in range(self._in_hand)]

    def left(self) -> None:
        """Note that no thread takes anything."""
        with self._changed:
            self._is_taken = False

    def end(self) -> None:
        """Let the thread end once it has tried to write what waits."""
        with self._changed:
            self.is_ending = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Return after some time, or once it is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_ending, seconds)

    def drop(self, count: int, why: str) -> None:
        """Count what cannot be written."""
        with self._changed:
            self.dropped += count
            self._in_hand -= count
        self.tell(why)

    def tell(self, why: str, *, at_once: bool = False) -> None:
        """Tell the log what is wrong and how much was lost, once a minute at most."""
        if self._seldom.is_due() or at_once:
            self._told = self.dropped
            LOGGER.warning(
                "%s: %s; %d events wait, %d were dropped so far",
                self._name, why, len(self._items) + self._in_hand, self._told,
            )  # fmt: skip

    def tell_rest(self) -> None:
        """Tell what was lost since somebody was told."""
        if self.dropped > self._told:
            self.tell("some were not written", at_once=True)
