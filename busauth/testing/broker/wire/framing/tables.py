"""Tables and arrays (AMQP 0-9-1, section 4.2.5.5), read strictly; pamqp decodes single values."""

import datetime
import math
from collections.abc import Iterator
from typing import Any, Final

from pamqp import decode

from busauth.testing.broker.model.words.judging import Sized

_SIZES: Final = {
    kind: size
    for kinds, size in ((b"V", 0), (b"tbB", 1), (b"su", 2), (b"Iif", 4), (b"D", 5), (b"lLdT", 8))
    for kind in kinds
}
_COUNTED: Final = frozenset(b"SxFA")
_NESTED: Final = frozenset(b"FA")
_TABLE, _TIMESTAMP = b"FT"
_WIDTHS: Final = {
    ord(kind): width
    for kind, width in (
        ("b", "byte"),
        ("B", "unsignedbyte"),
        ("s", "short"),
        ("u", "unsignedshort"),
        ("I", "signedint"),
        ("i", "unsignedint"),
        ("l", "long"),
    )
}
_MAX_DEPTH = 64


def table(data: bytes, depth: int = 0) -> dict[str, Any]:
    """Decode the fields of a table, without its size; the first of two with the same name counts.

    Raises:
        ValueError: a field ends early, has an unknown type, is no number, or is nested too deep.
    """
    fields: dict[str, Any] = {}
    at = 0
    while at < len(data):
        kind_at = at + 1 + data[at]
        name = data[at + 1 : kind_at].decode("utf-8", "surrogateescape")
        at, value = _field(data, kind_at, depth)
        fields.setdefault(name, value if depth else _sized(data[kind_at], value))
    return fields


def _sized(kind: int, value: Any) -> Any:
    """Note how wide an argument's integer is, which refusals tell."""
    return Sized.of(value, _WIDTHS[kind]) if kind in _WIDTHS else value


def _array(data: bytes, depth: int) -> Iterator[Any]:
    at = 0
    while at < len(data):
        at, value = _field(data, at, depth)
        yield value


def _field(data: bytes, at: int, depth: int) -> tuple[int, Any]:
    """Return where the field at a type octet ends, and its value."""
    if at >= len(data):
        raise ValueError("a field ends early")
    kind, start = data[at], at + 1
    if kind in _SIZES:
        end = start + _SIZES[kind]
    elif kind in _COUNTED:
        start += 4
        end = start + int.from_bytes(data[at + 1 : start], "big")
    else:
        raise ValueError(f"unknown field type {kind}")
    if end > len(data):
        raise ValueError("a field ends early")
    if kind in _NESTED:
        return end, _nested(kind, data[start:end], depth + 1)
    return end, _single(kind, data[at:end])


def _nested(kind: int, data: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"fields nested deeper than {_MAX_DEPTH}")
    return table(data, depth) if kind == _TABLE else list(_array(data, depth))


def _single(kind: int, field: bytes) -> Any:
    try:
        value = decode.embedded_value(field)[1]
    except (OverflowError, OSError, ValueError):
        if kind != _TIMESTAMP:
            raise
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)  # beyond what Python can tell
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a number")
    return value
