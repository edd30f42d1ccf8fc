"""The record of a first token, as it travels on a copy: one line of JSON, under a seal.

Whatever waits or comes back carries it unchanged: a retry, a parked message, a dead letter. What a
delivery may do is at most what this record allows, whatever token it comes with.
"""

import json
from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from busauth.caller import FirstToken

HEADER = "busauth-first"
_LIMIT = 128 * 1024
"""Characters; a frame is no longer."""


@cache
def _record() -> TypeAdapter[FirstToken]:
    """Return what reads one: made when the first comes back, as most services see none."""
    return TypeAdapter(FirstToken)


def written(first: FirstToken) -> str:
    """Return a record as text; the same record is always the same text."""
    return json.dumps(said(first), separators=(",", ":"), sort_keys=True)


def said(first: FirstToken) -> dict[str, Any]:
    """Return a record as JSON has it."""
    return asdict(first) | {"scopes": sorted(first.scopes), "roles": sorted(first.roles)}


def read(value: object) -> FirstToken | None:
    """Return what a record says, whoever wrote it; None for anything that is none."""
    if not isinstance(value, str) or len(value) > _LIMIT:
        return None
    try:
        return _record().validate_json(value, strict=True)
    except ValidationError:  # another version may have written it in another way
        return None


def read_said(value: object) -> FirstToken | None:
    """Return what a record in JSON that was parsed says; None for anything that is none."""
    return read(json.dumps(value)) if isinstance(value, dict) else None
