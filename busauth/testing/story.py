"""What happened to one message, step by step: what its guard decided, and what the broker did."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from busauth._arguments import kind_of
from busauth.audit import Event, EventKind
from busauth.testing.broker.model.journal import Record
from busauth.testing.published import Published

_REMEMBERED = 100_000
"""Steps of all messages together, and publications; the oldest are forgotten."""


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

    def is_pause_of(self, queues: Collection[str]) -> bool:
        """Return whether a consumer of one of the queues was told to wait."""
        is_pause = self.event is not None and self.event.kind is EventKind.DEFERRED
        return is_pause and self.queue in queues


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


class Witness:
    """Has seen what happened to each message, and says so where a test expected something else.

    Attributes:
        events: what guards told, in order.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._steps: deque[tuple[str | None, Step]] = deque(maxlen=_REMEMBERED)
        self._published: deque[Published] = deque(maxlen=_REMEMBERED)

    def story(self, sent: Sent) -> Story:
        """Return what happened to a message; the broker's own steps only with the embedded one.

        While it waits, what its consumer pauses for is part of that.
        """
        if not isinstance(sent, Sent):
            raise TypeError(f"got {kind_of(sent)}: expected what `await kit.publish(...)` returned")
        queues: set[str] = set()
        steps: list[Step] = []
        for message_id, step in self._steps:
            if message_id == sent.message_id:
                queues.add(step.queue)
            elif message_id is not None or not step.is_pause_of(queues):
                continue
            steps.append(step)
        return Story(sent, tuple(steps))

    def published(
        self, routing_key: str | None = None, *, exchange: str | None = None
    ) -> list[Published]:
        """Return what the services under test have published, in the order of its confirmations.

        Args:
            routing_key: only with this one; with the default exchange, the queue's name.
            exchange: only to this one; empty for the default exchange.
        """
        return [
            each
            for each in self._published
            if routing_key in (None, each.routing_key) and exchange in (None, each.exchange)
        ]

    def assert_handled(self, sent: Sent) -> Event:
        """Fail, and tell the message's story, unless its handler ran and it was acknowledged."""
        __tracebackhide__ = True
        return self.assert_outcome(sent, EventKind.HANDLED)

    def assert_refused(self, sent: Sent, code: str) -> Event:
        """Fail, and tell the message's story, unless it was refused with this code."""
        __tracebackhide__ = True
        return self.assert_outcome(sent, EventKind.REFUSED, code)

    def assert_outcome(self, sent: Sent, kind: EventKind, code: str | None = None) -> Event:
        """Fail, and tell the message's story, unless the latest attempt at it ended like this.

        Returns:
            The guard's event, for a closer look.
        """
        __tracebackhide__ = True
        story = self.story(sent)
        found = story.outcome
        if found is None or found.kind != kind or code not in (None, found.code):
            wanted = f"{kind} {code or ''}".strip()
            raise AssertionError(f"expected {wanted}, found {_named(found)}\n{story}")
        return found

    def assert_untouched(self, sent: Sent) -> None:
        """Fail, and tell the message's story, if any attempt at it has ended."""
        __tracebackhide__ = True
        story = self.story(sent)
        if story.outcome is not None:
            raise AssertionError(f"expected no attempt, found {_named(story.outcome)}\n{story}")


def _named(event: Event | None) -> str:
    return "no attempt" if event is None else f"{event.kind} {event.code or ''}".strip()
