"""Reads a message's header table with the type of each value, which pamqp does not tell."""

import struct
from typing import Any

from pamqp.decode import TABLE_MAPPING

from tests.conformance.client import RawConnection

CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 1 << 15, 1 << 14, 1 << 13


def typed_headers(connection: RawConnection) -> dict[str, Any]:
    """The headers of the message that came last: each value as `(type, value)`.

    A table (F) is a dict and an array (A) a list of such values; the type is the letter on the
    wire.
    """
    data = connection.content_headers[-1]
    (flags,) = struct.unpack_from(">H", data, 12)
    at = 14
    for flag in (CONTENT_TYPE, CONTENT_ENCODING):
        if flags & flag:
            at += 1 + data[at]
    return _table(data[at:])[1] if flags & HEADERS else {}


def _table(data: bytes) -> tuple[int, dict[str, Any]]:
    end = 4 + int.from_bytes(data[:4], "big")
    at, table = 4, {}
    while at < end:
        name = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + data[at]
        size, table[name] = _value(data[at:])
        at += size
    return end, table


def _array(data: bytes) -> tuple[int, list[Any]]:
    end = 4 + int.from_bytes(data[:4], "big")
    at, array = 4, []
    while at < end:
        size, value = _value(data[at:])
        array.append(value)
        at += size
    return end, array


def _value(data: bytes) -> tuple[int, tuple[str, Any]]:
    kind, rest = data[:1], data[1:]
    size, value = {b"F": _table, b"A": _array}.get(kind, TABLE_MAPPING[kind])(rest)
    return size + 1, (kind.decode(), value)
