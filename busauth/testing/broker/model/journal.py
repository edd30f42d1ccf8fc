"""What happened to messages, step by step, for tests that want to tell."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from busauth.testing.broker.model.message import Message


class Step(StrEnum):
    """A station in a message's life."""

    PUBLISHED = "published"
    UNROUTABLE = "unroutable"
    QUEUED = "queued"
    REFUSED = "refused"
    DELIVERED = "delivered"
    ACKED = "acked"
    RETURNED = "returned to the queue"
    DEAD_LETTERED = "dead-lettered"
    DROPPED = "dropped"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Record:
    """One step.

    Attributes:
        at: seconds since the epoch.
        step: what happened.
        message: to which message; a dead letter is a new one.
        queue: where; empty for steps outside of queues.
        detail: why, or to whom.
        source: of a dead letter's first step: the message that it was made of.
    """

    at: float
    step: Step
    message: Message
    queue: str = ""
    detail: str = ""
    source: Message | None = None


class Journal:
    """Remembers the latest steps, and tells them; where nobody wants to know, it costs nothing.

    Args:
        now: the clock's `now`.
        capacity: how many steps are kept.

    Attributes:
        enabled: whether anybody wants to know.
    """

    def __init__(self, now: Callable[[], float], capacity: int) -> None:
        self._now = now
        self.enabled = capacity > 0
        self._listeners: list[Callable[[Record], None]] = []
        self._records: deque[Record] = deque(maxlen=capacity)

    def listen(self, listener: Callable[[Record], None]) -> None:
        """Tell each step from now on."""
        self._listeners.append(listener)
        self.enabled = True

    def forget(self, listener: Callable[[Record], None]) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)
        self.enabled = bool(self._listeners or self._records.maxlen)

    def tell(
        self,
        step: Step,
        message: Message,
        queue: str = "",
        detail: str = "",
        source: Message | None = None,
    ) -> None:
        """Remember a step."""
        if not self.enabled:
            return
        record = Record(self._now(), step, message, queue, detail, source)
        self._records.append(record)
        for listener in self._listeners:
            listener(record)

    def __iter__(self) -> Iterator[Record]:
        """Go through the steps, oldest first."""
        return iter(tuple(self._records))

    def story(self, message_id: str) -> list[Record]:
        """Return the steps of every message with this id, and of dead letters made of them."""
        return [record for record in self if record.message.message_id() == message_id]
