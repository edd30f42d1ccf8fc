"""A content header taken apart without decoding what nobody asks for.

Every property, and every field of the headers, keeps the bytes that came: a broker that decodes and
encodes again turns a double into a float and an int64 into an int8.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pamqp import decode, encode
from pamqp.commands import Basic

Raw = dict[str, bytes]
"""Encoded values by name, in the order in which they came."""

_FLAGS_AT, _VALUES_AT = 12, 14
_FLAGS: Final[Mapping[str, int]] = {
    name: Basic.Properties.flags[name] for name in Basic.Properties.attributes()
}
_TYPES: Final[Mapping[str, str]] = {name: Basic.Properties.amqp_type(name) for name in _FLAGS}
_FIXED: Final[Mapping[str, int]] = {"octet": 1, "timestamp": 8}
_FIELD_SIZES: Final[Mapping[int, int]] = {
    ord(kind): size
    for kinds, size in (("V", 0), ("tbB", 1), ("su", 2), ("Iif", 4), ("D", 5), ("lLdT", 8))
    for kind in kinds
}
_TYPE_NAMES: Final[Mapping[int, str]] = {
    ord(kind): name
    for kind, name in (
        *(("S", "longstr"), ("x", "binary"), ("F", "table"), ("A", "array"), ("V", "void")),
        *(("t", "bool"), ("b", "byte"), ("B", "unsignedbyte"), ("s", "short")),
        *(("u", "unsignedshort"), ("I", "signedint"), ("i", "unsignedint"), ("l", "long")),
        *(("L", "long"), ("f", "float"), ("d", "double"), ("D", "decimal"), ("T", "timestamp")),
    )
}
_STRINGS: Final = frozenset(b"Sx")
_NESTED: Final = frozenset(b"FA")
_MAX_DEPTH = 64


def split(header: bytes) -> Raw:
    """Return the properties in a content header frame's payload.

    Raises:
        ValueError: they end early or late, or a field has an unknown type.
    """
    if len(header) < _VALUES_AT:
        raise ValueError("the header ends before its flags")
    raw, at, size = {}, _VALUES_AT, len(header)
    for name, kind in _present(header[_FLAGS_AT:_VALUES_AT]):
        if kind == "shortstr":
            end = at + 1 + header[at] if at < size else size + 1
        elif kind == "table":
            end = _nested_end(header, at, 0, named=True)
        else:
            end = at + _FIXED[kind]
        if end > size:
            raise ValueError(f"{name} ends early")
        raw[name], at = header[at:end], end
    if at != size:
        raise ValueError("bytes left over after the last property")
    return raw


@lru_cache(maxsize=1024)
def _present(flags: bytes) -> tuple[tuple[str, str], ...]:
    """Return the names and the types of the properties that are there, in their order."""
    bits = int.from_bytes(flags, "big")
    if bits & 1:
        raise ValueError("unknown property flags")
    return tuple((name, _TYPES[name]) for name, flag in _FLAGS.items() if bits & flag)


def join(raw: Raw, size: int) -> bytes:
    """Return the content header frame's payload for a body of `size` bytes."""
    flags = sum(_FLAGS[name] for name in raw)
    values = (raw[name] for name in _FLAGS if name in raw)
    return struct.pack(">HHQH", Basic.frame_id, 0, size, flags) + b"".join(values)


def text(raw: Raw, name: str) -> str | None:
    """Return a short string; None where it is not set."""
    return raw[name][1:].decode("utf-8", "replace") if name in raw else None


def short_string(value: str) -> bytes:
    """Encode a short string."""
    return encode.short_string(value)


def split_table(table: bytes) -> Raw:
    """Return the fields of an encoded table, each value with its type octet.

    Raises:
        ValueError: it ends early, or a field has an unknown type.
    """
    fields, at = {}, 4
    while at < len(table):
        name_end = at + 1 + table[at]
        end = _field_end(table, name_end, 0)
        fields[table[at + 1 : name_end].decode("utf-8", "surrogateescape")] = table[name_end:end]
        at = end
    return fields


def join_table(fields: Mapping[str, bytes]) -> bytes:
    """Return an encoded table."""
    data = b"".join(
        bytes([len(key)]) + key + value
        for key, value in (
            (name.encode("utf-8", "surrogateescape"), value) for name, value in fields.items()
        )
    )
    return struct.pack(">I", len(data)) + data


def type_of(field: bytes) -> str:
    """Return RabbitMQ's word for a field's type."""
    return _TYPE_NAMES[field[0]]


def decoded(field: bytes) -> Any:
    """Decode one field; what pamqp cannot read is None."""
    try:
        return decode.embedded_value(field)[1]
    except (ValueError, OverflowError, OSError):
        return None


def headers(raw: Raw) -> dict[str, Any]:
    """Decode the headers; empty where there are none."""
    if "headers" not in raw:
        return {}
    return {name: decoded(field) for name, field in split_table(raw["headers"]).items()}


def with_headers(raw: Raw, changes: Mapping[str, bytes | None]) -> Raw:
    """Return the properties with header fields replaced, added last, or, for None, removed."""
    fields = split_table(raw["headers"]) if "headers" in raw else {}
    fields |= {name: value for name, value in changes.items() if value is not None}
    kept = {name: value for name, value in fields.items() if changes.get(name, b"") is not None}
    return {**raw, "headers": join_table(kept)}


def long(value: int) -> bytes:
    """Encode a field as a signed 64-bit integer, as RabbitMQ writes its counts."""
    return b"l" + struct.pack(">q", value)


def long_string(value: str) -> bytes:
    """Encode a field as a long string."""
    data = value.encode("utf-8", "surrogateescape")
    return b"S" + struct.pack(">I", len(data)) + data


def timestamp(value: float) -> bytes:
    """Encode a field as a timestamp: whole seconds since the epoch."""
    return b"T" + struct.pack(">Q", int(value))


def array(fields: list[bytes]) -> bytes:
    """Encode a field as an array of encoded fields."""
    data = b"".join(fields)
    return b"A" + struct.pack(">I", len(data)) + data


def table(fields: Mapping[str, bytes]) -> bytes:
    """Encode a field as a table."""
    return b"F" + join_table(fields)


def as_text(field: bytes) -> bytes:
    """Return a field with every byte array in it as a long string."""
    kind = field[:1]
    if kind == b"x":
        return b"S" + field[1:]
    if kind == b"A":
        return array([as_text(each) for each in split_array(field)])
    if kind == b"F":
        return table({name: as_text(each) for name, each in split_table(field[1:]).items()})
    return field


def split_array(field: bytes) -> list[bytes]:
    """Return the encoded fields in an array field.

    Raises:
        ValueError: this is no array.
    """
    if field[:1] != b"A":
        raise ValueError("not an array")
    items, at = [], 5
    while at < len(field):
        end = _field_end(field, at, 0)
        items.append(field[at:end])
        at = end
    return items


def _nested_end(data: bytes, at: int, depth: int, *, named: bool) -> int:
    """Walk a table's or an array's fields: what passed can be split later without surprises."""
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    if end > len(data) or at + 4 > len(data):
        raise ValueError("a table or an array ends early")
    at += 4
    while at < end:
        at = _field_end(data, at + 1 + data[at] if named else at, depth + 1)
    if at != end:
        raise ValueError("a field goes past the end of its table or array")
    return end


def _field_end(data: bytes, at: int, depth: int) -> int:
    if at >= len(data):
        raise ValueError("a field ends early")
    if depth > _MAX_DEPTH:
        raise ValueError(f"fields nested deeper than {_MAX_DEPTH}")
    kind = data[at]
    if kind in _FIELD_SIZES:
        end = at + 1 + _FIELD_SIZES[kind]
    elif kind in _NESTED:
        end = _nested_end(data, at + 1, depth, named=kind == ord("F"))
    elif kind in _STRINGS:
        end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
    else:
        raise ValueError(f"unknown field type {kind}")
    if end > len(data):
        raise ValueError("a field ends early")
    return end
