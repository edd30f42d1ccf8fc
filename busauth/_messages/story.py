"""The story of a letter, as it travels on each of its copies: one line of JSON, under a seal.

Each time that a message became a letter is a chapter of it: when, why, at which attempt, and how it
had been sent again before. A letter that comes back as a letter is one letter with a longer story.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

HEADER = "busauth-story"
LETTER = "busauth-letter"
AUTHORITY = "busauth-authority"
_LATEST = 19
"""Chapters that are told next to the first one."""

_LIMIT = 16 * 1024
"""Characters."""

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_AUTHORITY = re.compile(r"[a-z]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """How a message became a letter, once.

    Attributes:
        at: when, in ISO 8601, UTC.
        code: why.
        attempt: at which attempt of its handler, from 1 on.
        by: who had sent it again before, as they say; None where nobody has.
        authority: by whose authority that was: ``kept``, ``fresh`` or ``operator``.
    """

    at: Annotated[str, Field(max_length=40)]
    code: Annotated[str, Field(max_length=100)]
    attempt: Annotated[int, Field(ge=1)] = 1
    by: Annotated[str | None, Field(max_length=100)] = None
    authority: Annotated[str | None, Field(max_length=20)] = None

    @classmethod
    def of(
        cls, at: float, code: str, attempt: int, *, by: str | None, authority: str | None
    ) -> "Chapter":
        """Return the chapter of an instant, seconds since the epoch."""
        told = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        return cls(at=told, code=code, attempt=attempt, by=by, authority=authority)


Story = tuple[Chapter, ...]
"""The first one, and the latest."""


@cache
def _story() -> TypeAdapter[Story]:
    """Return what reads one: made when the first comes back."""
    return TypeAdapter(Story)


def longer(story: Sequence[Chapter], chapter: Chapter) -> Story:
    """Return a story with one more chapter; of a long one, the first and the latest."""
    told = (*story, chapter)
    return (told[0], *told[1:][-_LATEST:])


def written(story: Sequence[Chapter]) -> str:
    """Return a story as text; the same one is always the same text."""
    told = [
        {
            name: value
            for name in ("at", "code", "attempt", "by", "authority")
            if (value := getattr(each, name)) is not None
        }
        for each in story
    ]
    return json.dumps(told, separators=(",", ":"))


def read(value: object) -> Story:
    """Return the story that a header tells, whoever wrote it; none for anything odd."""
    if not isinstance(value, str) or len(value) > _LIMIT:
        return ()
    try:
        return _story().validate_json(value, strict=True)[: _LATEST + 1]
    except ValidationError:
        return ()


def letter_id(value: object) -> str | None:
    """Return a letter's id, whoever wrote it; None for anything odd."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def authority(value: object) -> str | None:
    """Return the name of an authority, whoever wrote it; None for anything odd."""
    return value if isinstance(value, str) and _AUTHORITY.fullmatch(value) else None
