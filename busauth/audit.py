"""What happened, told as events that hold no token."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

LOGGER = logging.getLogger("busauth")

ACCEPTED = "accepted"
ACCEPTED_LATE = "accepted-late"
HANDLED = "handled"
REFUSED = "refused"
DISCARDED = "discarded"
DEFERRED = "deferred"
RESUMED = "resumed"
RETRIED = "retried"
DEAD_LETTERED = "dead-lettered"
SETTLED_BY_HANDLER = "settled-by-handler"
ABANDONED = "abandoned"
PUBLISHED = "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step in a message's life, safe to log and to ship.

    Attributes:
        kind: what happened; one of this module's constants.
        queue: the consumer's queue, or the routing key of a publication.
        at: the instant of the decision, seconds since the epoch.
        message_id: the sender's message id, if any.
        issuer: the verified issuer; None before the token is known to be genuine.
        subject: the verified subject; None before the token is known to be genuine.
        age: seconds between the token's `iat` and `at`, where known.
        late: seconds past `exp`, where the token was accepted late.
        code: the refusal's code, or what a deferral waits for.
        detail: the evidence, for people.
    """

    kind: str
    queue: str
    at: float
    message_id: str | None = None
    issuer: str | None = None
    subject: str | None = None
    age: float | None = None
    late: float | None = None
    code: str | None = None
    detail: str | None = None


Auditor = Callable[[Event], None]
"""Receives every event. It must not block; an error in it is logged and changes no decision."""

_WARNINGS = frozenset({REFUSED, DISCARDED, DEFERRED, ABANDONED, ACCEPTED_LATE, SETTLED_BY_HANDLER})


def log_event(event: Event) -> None:
    """Write an event to the ``busauth`` logger: warnings for what somebody should look at."""
    level = logging.WARNING if event.kind in _WARNINGS else logging.DEBUG
    LOGGER.log(
        level,
        "%s queue=%s message_id=%s subject=%s code=%s %s",
        event.kind, event.queue, event.message_id, event.subject, event.code, event.detail or "",
    )  # fmt: skip


def told_safely(auditor: Auditor) -> Auditor:
    """Wrap an auditor so that its failure is logged and goes no further."""

    def tell(event: Event) -> None:
        try:
            auditor(event)
        except Exception:
            LOGGER.exception("the auditor failed on a %s event", event.kind)

    return tell
