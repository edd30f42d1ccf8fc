"""What a letter says of itself: each time that it became one, and how it was sent again before."""

import json
from dataclasses import dataclass
from typing import Any

from busauth.errors import evidence

_LONGEST, _MOST = 64 * 1024, 100
"""Characters, and entries, that are read: whoever can publish there can write it."""

_TRIES = 1_000_000


@dataclass(frozen=True, slots=True)
class StoryEntry:
    """One time that a message became a letter.

    Attributes:
        at: when, in ISO 8601, UTC.
        code: why.
        attempt: how often its handler was tried until then, from 1 on; 0 where that is not known.
        by: who had sent it again before that, by their own word; None the first time.
        authority: with what: ``kept``, ``fresh`` or ``operator``.
    """

    at: str
    code: str
    attempt: int = 0
    by: str | None = None
    authority: str | None = None


def told_by(header: object) -> tuple[StoryEntry, ...]:
    """Return the entries of a story's header, oldest first; none of what is no story."""
    if not isinstance(header, str) or len(header) > _LONGEST:
        return ()
    try:
        told = json.loads(header)
    except (ValueError, RecursionError):
        return ()
    listed = told[:_MOST] if isinstance(told, list) else ()
    return tuple(entry for each in listed if (entry := _entry(each)) is not None)


def _entry(told: Any) -> StoryEntry | None:
    if not isinstance(told, dict):
        return None
    at, code, attempt = _text(told.get("at")), _text(told.get("code")), told.get("attempt")
    if at is None or code is None:
        return None
    tries = attempt if isinstance(attempt, int) and 0 <= attempt <= _TRIES else 0
    by, authority = _text(told.get("by")), _text(told.get("authority"))
    return StoryEntry(at, code, int(tries), by, authority)


def _text(value: object) -> str | None:
    return evidence(value) if isinstance(value, str) and value else None
