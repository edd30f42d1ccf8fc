"""Whatever can be reached from an object: what a process holds of a secret is found there."""

import re
from collections.abc import Iterator
from typing import Any

from tests.scanning import Listening

_RUN = frozenset({"_pytest", "pluggy", "execnet", "xdist", "hypothesis", "coverage"})


def reached(start: object) -> Iterator[object]:
    """Return each object that an object holds, however deep."""
    seen, left = dict[int, object](), [start]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type | type(re)) or _is_of_the_run(each):
            continue
        seen[id(each)] = each  # held, so that no other object gets its number
        yield each
        left += _parts(each)


def _is_of_the_run(each: object) -> bool:
    """Whether it is of who runs the tests, and listens to what is said: it holds all of them."""
    return type(each).__module__.partition(".")[0] in _RUN or isinstance(each, Listening)


def strings_in(start: object) -> list[str]:
    """Return every text that can be reached from an object, bytes included."""
    found = [each for each in reached(start) if isinstance(each, str | bytes)]
    return [each if isinstance(each, str) else each.decode("latin-1") for each in found]


def _parts(each: Any) -> list[object]:
    if isinstance(each, dict):
        return [*each.keys(), *each.values()]
    if isinstance(each, list | tuple | set | frozenset):
        return list(each)
    slots = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [getattr(each, name, None) for name in slots if isinstance(name, str)]
    closure = getattr(each, "__closure__", None)
    cells = closure if isinstance(closure, tuple) else ()  # some answer to any name
    closed = [cell.cell_contents for cell in cells]
    own = getattr(each, "__dict__", {})
    values = list(own.values()) if isinstance(own, dict) else []
    return [*held, *closed, getattr(each, "__self__", None), *values]
