"""What happened, told as events that hold no token."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

LOGGER = logging.getLogger("busauth")


class EventKind(StrEnum):
    """What can happen to a message, or to a consumer."""

    ACCEPTED = "accepted"
    """The handler is about to run."""

    ACCEPTED_LATE = "accepted-late"
    """The same, for a token that had expired; a policy accepted it."""

    HANDLED = "handled"
    """The handler returned, and the message is acknowledged."""

    REFUSED = "refused"
    """A copy with the reason is confirmed, and the message acknowledged."""

    DISCARDED = "discarded"
    """A policy said so: acknowledged without a copy."""

    PARKED = "parked"
    """A copy that waits for its caller is confirmed, and the message acknowledged."""

    RELEASED = "released"
    """A parked or dead-lettered message was sent again, for a caller with a fresh token."""

    DUPLICATE = "duplicate"
    """It was handled before, and its acknowledgement got lost: acknowledged again."""

    SEAL_BROKEN = "seal-broken"
    """What a copy says of itself is not believed; it is handled as if it came first."""

    RETRIED = "retried"
    """The handler failed; a copy waits for the next attempt."""

    DEFERRED = "deferred"
    """The consumer cannot decide: it has stopped consuming."""

    RESUMED = "resumed"
    """The consumer consumes again."""

    SETTLED_BY_HANDLER = "settled-by-handler"
    """The handler settled the message itself; it was left alone."""

    ABANDONED = "abandoned"
    """The channel was closed: the broker will deliver the message again."""

    PUBLISHED = "published"
    """The broker confirmed that a message was routed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step in a message's life, safe to log and to ship.

    Attributes:
        kind: what happened.
        queue: the consumer's queue, or the routing key of a publication.
        at: the instant of the decision, seconds since the epoch.
        message_id: the sender's message id, if any.
        issuer: the verified issuer; None before the token is known to be genuine.
        subject: the verified subject; None before the token is known to be genuine.
        age: seconds between the token's `iat` and `at`, where known.
        late: seconds past `exp`, where the token was accepted late.
        code: the refusal's code, or what a deferral waits for.
        detail: the evidence, for people.
        publisher: who published the message, where that is proven.
        published_at: when, by that publisher's word, seconds since the epoch.
    """

    kind: EventKind
    queue: str
    at: float
    message_id: str | None = None
    issuer: str | None = None
    subject: str | None = None
    age: float | None = None
    late: float | None = None
    code: str | None = None
    detail: str | None = None
    publisher: str | None = None
    published_at: float | None = None


Auditor = Callable[[Event], None]
"""Receives every event. It must not block; an error in it is logged and changes no decision."""

_WARNINGS = frozenset(
    {
        EventKind.ACCEPTED_LATE,
        EventKind.REFUSED,
        EventKind.DISCARDED,
        EventKind.PARKED,
        EventKind.RELEASED,
        EventKind.DUPLICATE,
        EventKind.SEAL_BROKEN,
        EventKind.DEFERRED,
        EventKind.SETTLED_BY_HANDLER,
        EventKind.ABANDONED,
    }
)


def log_event(event: Event) -> None:
    """Write an event to the ``busauth`` logger: warnings for what somebody should look at."""
    level = logging.WARNING if event.kind in _WARNINGS else logging.DEBUG
    LOGGER.log(
        level,
        "%s queue=%s message_id=%s subject=%s code=%s %s",
        event.kind, event.queue, event.message_id, event.subject, event.code, event.detail or "",
    )  # fmt: skip


class Telling:
    """An auditor whose failure is logged and goes no further.

    Args:
        auditor: who is told.
    """

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._is_log = auditor is log_event

    def is_heard(self, kind: EventKind) -> bool:
        """Return whether an event of this kind would be told at all, before one is made."""
        return not self._is_log or kind in _WARNINGS or LOGGER.isEnabledFor(logging.DEBUG)

    def __call__(self, event: Event) -> None:
        """Tell it."""
        try:
            self._auditor(event)
        except Exception:
            LOGGER.exception("the auditor failed on a %s event", event.kind)


def told_safely(auditor: Auditor) -> Telling:
    """Wrap an auditor so that its failure is logged and goes no further."""
    return Telling(auditor)
