"""What a message met, as rows of a timeline: from the broker's steps and the bus's decisions.

Nothing of a token is in a row: `evidence` keeps it out of whatever a sender may have chosen.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from busauth._redaction import redact
from busauth.audit import Event, EventKind
from busauth.caller import acting_for
from busauth.errors import Refused, evidence
from busauth.testing.broker.model.journal import Record, Step

_SHOWN = 6  # characters of a message's id: enough to tell a few dozen apart
_WAITING = 10_000
_NEIGHBOUR = re.compile(r".+\.(?:(?P<kind>dead|rejected|parked)|retry\.(?P<ms>[0-9]+))", re.DOTALL)


class Tone(StrEnum):
    """What a row is like, at a glance; the words say it, too."""

    PLAIN = "plain"
    GOOD = "good"
    LATE = "late"
    BAD = "bad"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the timeline.

    Attributes:
        at: seconds since the epoch.
        message: the beginning of its id.
        what: what happened.
        queue: where.
        who: the verified subject, and who acts for it.
        why: evidence, for people.
        tone: what it is like.
    """

    at: float
    message: str = ""
    what: str
    queue: str = ""
    who: str = ""
    why: str = ""
    tone: Tone = Tone.PLAIN


_WORDS: Mapping[Step, tuple[str, Tone]] = {
    Step.PUBLISHED: ("published", Tone.PLAIN),
    Step.UNROUTABLE: ("unroutable", Tone.BAD),
    Step.QUEUED: ("queued", Tone.PLAIN),
    Step.REFUSED: ("refused by the queue", Tone.BAD),
    Step.DELIVERED: ("delivered", Tone.PLAIN),
    Step.RETURNED: ("back in the queue", Tone.LATE),
    Step.DEAD_LETTERED: ("moved by the broker", Tone.LATE),
    Step.DROPPED: ("dropped", Tone.BAD),
    Step.PURGED: ("purged", Tone.BAD),
}
"""That a message was acknowledged is told by whoever handled or refused it."""

_KINDS: Mapping[str, str] = {"dead": "dead-lettered", "rejected": "rejected", "parked": "parked"}
_PUT_AWAY: Mapping[str, str] = {
    "dead": "with the reason in its headers",
    "rejected": "with the reason in its headers; of too many, the oldest are dropped",
    "parked": "until its caller brings a fresh token",
}
_TONES: Mapping[EventKind, Tone] = {
    EventKind.ACCEPTED: Tone.GOOD,
    EventKind.HANDLED: Tone.GOOD,
    EventKind.RESUMED: Tone.GOOD,
    EventKind.REFUSED: Tone.BAD,
    EventKind.FAULT: Tone.BAD,
    EventKind.PUBLISHED: Tone.PLAIN,
}


class BrokerRows:
    """Rows of the embedded broker's steps; it measures how long a message waited in a queue."""

    def __init__(self) -> None:
        self._queued: dict[tuple[str | None, str], float] = {}

    def row(self, record: Record) -> Row | None:
        """Return a step's row; None for what another row says as well."""
        if record.step not in _WORDS:
            return None
        queue = record.queue or record.message.routing_key
        if _NEIGHBOUR.fullmatch(queue):
            return self._put_away(record, queue)
        what, tone = _WORDS[record.step]
        detail = "" if record.step is Step.PUBLISHED else record.detail  # by which login
        why = self._waited(record) or detail
        return _row(record.at, record.message.message_id(), what, queue, why=why, tone=tone)

    def _put_away(self, record: Record, queue: str) -> Row | None:
        """A copy that busauth made: where it lies counts, not that it was published."""
        found = _NEIGHBOUR.fullmatch(queue)
        if found is None or record.step is not Step.QUEUED:
            return None
        message_id = record.message.message_id()
        if found["ms"]:
            why = f"for {int(found['ms']) / 1000:g} s, then once more"
            return _row(record.at, message_id, "put off", queue, why=why, tone=Tone.LATE)
        why = _PUT_AWAY[found["kind"]]
        return _row(record.at, message_id, _KINDS[found["kind"]], queue, why=why, tone=Tone.LATE)

    def _waited(self, record: Record) -> str:
        key = record.message.message_id(), record.queue
        if record.step is Step.QUEUED:
            self._queued[key] = record.at
            if len(self._queued) > _WAITING:
                self._queued.pop(next(iter(self._queued)))
        if record.step is not Step.DELIVERED or key not in self._queued:
            return ""
        return f"after {record.at - self._queued.pop(key):.1f} s in the queue"


def decided(event: Event) -> Row:
    """Return the row of a bus's decision."""
    words = _SAID.get(event.kind, _detail)(event)
    tone = _TONES.get(event.kind, Tone.LATE)
    who = acting_for(event.actor, event.subject) or ""
    # What was judged is told by its instant: the letter is put away after that.
    judged = event.kind is EventKind.REFUSED and event.decided_at
    at = judged or event.at
    return _row(at, event.message_id, event.kind, event.queue, who=who, why=words, tone=tone)


def refused(refusal: Refused, queue: str, at: float) -> Row:
    """Return the row of a request that the edge refused."""
    return _row(at, None, "refused", queue, why=f"at the edge: {refusal.detail}", tone=Tone.BAD)


def note(text: str, at: float, tone: Tone = Tone.NOTE) -> Row:
    """Return a row that is about no message."""
    return Row(at=at, what=redact(text), tone=tone)


def _accepted(event: Event) -> str:
    age = "" if event.age is None else f"{event.age:.1f} s old, "
    return f"the token is {age}in time, and allows it"


def _late(event: Event) -> str:
    return f"{event.late or 0:.1f} s past its end; {event.detail or 'a policy takes it'}"


def _handled(event: Event) -> str:
    late = "" if event.late is None else f", {event.late:.1f} s past the token's end"
    return f"in {event.duration or 0:.1f} s{late}"


def _detail(event: Event) -> str:
    return event.detail or event.code or ""


_SAID: Mapping[EventKind, Callable[[Event], str]] = {
    EventKind.ACCEPTED: _accepted,
    EventKind.ACCEPTED_LATE: _late,
    EventKind.HANDLED: _handled,
}


def _row(at: float, message_id: str | None, what: str, queue: str, **more: Any) -> Row:
    """Keep tokens, and whatever steers a terminal, out of what senders chose."""
    safe = {name: evidence(text) or "" for name, text in more.items() if name != "tone"}
    return Row(
        at=at,
        message=(evidence(message_id) or "-")[:_SHOWN],
        what=what,
        queue=evidence(queue) or "",
        tone=more["tone"],
        **safe,
    )
