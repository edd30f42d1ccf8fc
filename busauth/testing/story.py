"""What happened to one message, step by step: what its guard decided, and what the broker did."""

from collections.abc import Iterable
from dataclasses import dataclass

from busauth.audit import Event
from busauth.testing.broker.model.journal import Record


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a test has published.

    Attributes:
        message_id: its `message_id`, which every copy keeps.
        routing_key: where it was sent to.
        by: the token's subject; None without one.
        at: when, seconds since the epoch.
    """

    message_id: str
    routing_key: str
    by: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        at: seconds since the epoch.
        queue: where.
        what: what happened, in a word or two.
        why: evidence; empty where nothing is to be said.
        event: the guard's own event, where it was the guard's step.
    """

    at: float
    queue: str
    what: str
    why: str = ""
    event: Event | None = None


def decided(event: Event) -> Step:
    """Take a guard's event."""
    return Step(event.at, event.queue, event.kind, event.detail or "", event)


def moved(record: Record) -> Step:
    """Take a broker's record."""
    return Step(record.at, record.queue, record.step, record.detail)


@dataclass(frozen=True, slots=True)
class Story:
    """A message's steps, in the order in which they happened; prints as a table.

    Attributes:
        sent: the message.
        steps: what happened to it, and to the copies that were made of it.
    """

    sent: Sent
    steps: tuple[Step, ...]

    @property
    def outcome(self) -> Event | None:
        """Return how the latest attempt at the message ended; None when there was none."""
        events = (step.event for step in reversed(self.steps) if step.event is not None)
        return next((event for event in events if event.kind.is_outcome), None)

    def __str__(self) -> str:
        by = "nobody" if self.sent.by is None else self.sent.by
        title = f"message {self.sent.message_id} to {self.sent.routing_key}, published by {by}"
        return "\n".join([f"{title}:", *self._lines()])

    def _lines(self) -> Iterable[str]:
        if not self.steps:
            return ["    nothing has happened to it"]
        width = max(len(step.queue) for step in self.steps)
        return [
            f"  {step.at - self.sent.at:>+9.1f} s  {step.queue:<{width}}  {step.what:<13} "
            f"{step.why}".rstrip()
            for step in self.steps
        ]
