"""Where a claim is: its name, or a JSON Pointer (RFC 6901) to what is inside of one.

A name is taken as it stands, dots, colons and slashes included: ``https://shop.example/roles``.
What begins with a slash is a pointer: ``/realm_access/roles`` is the member ``roles`` of the claim
``realm_access``. In its names ``~1`` stands for a slash and ``~0`` for a tilde, so that a claim
whose name begins with a slash can be named, too. A pointer leads through objects alone.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from busauth.errors import ConfigurationError

MISSING: Final = object()
"""What is at a place where nothing is."""

_DEEPEST = 8  # names in a pointer: providers take three
_TILDE = re.compile("~(?![01])")


def check_place(place: str) -> str:
    """Return a place that can lead somewhere.

    Raises:
        ConfigurationError: an empty name, or more names than a pointer may have; an escape that
            there is not.
    """
    keys = keys_of(place)
    if "" in keys:
        why = "expected a claim's name, or a pointer such as /realm_access/roles: a name is empty"
    elif len(keys) > _DEEPEST:
        why = f"leads through {len(keys)} names: expected {_DEEPEST} at most"
    elif place.startswith("/") and _TILDE.search(place):
        why = "expected ~0 for a tilde and ~1 for a slash in a pointer's names (RFC 6901)"
    else:
        return place
    raise ConfigurationError(f"{place!r}: {why}")


def keys_of(place: str) -> tuple[str, ...]:
    """Return the names on the way to a place, from the outside in."""
    if not place.startswith("/"):
        return (place,)
    names = place[1:].split("/")
    return tuple(name.replace("~1", "/").replace("~0", "~") for name in names)


def value_at(claims: Mapping[str, Any], place: str) -> Any:
    """Return what is at a place; `MISSING` where nothing is, or what is no object on the way."""
    value: Any = claims
    for name in keys_of(place):
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return value
