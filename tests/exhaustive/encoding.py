"""Property bytes of one's own: any type, any length, right or wrong (AMQP 0-9-1, section 4.2.5)."""

from collections.abc import Iterable, Mapping
from struct import pack

from tests.conformance.frames import header

Field = tuple[str, bytes]
"""A name, and a value with its type in front."""

FLAGS = {
    "content_type": 1 << 15,
    "content_encoding": 1 << 14,
    "headers": 1 << 13,
    "delivery_mode": 1 << 12,
    "priority": 1 << 11,
    "correlation_id": 1 << 10,
    "reply_to": 1 << 9,
    "expiration": 1 << 8,
    "message_id": 1 << 7,
    "timestamp": 1 << 6,
    "message_type": 1 << 5,
    "user_id": 1 << 4,
    "app_id": 1 << 3,
}
"""In the order in which they are written."""


def short(raw: bytes) -> bytes:
    """A short string."""
    return bytes([len(raw)]) + raw


def text(raw: bytes | str) -> bytes:
    """A long string as a field."""
    data = raw.encode() if isinstance(raw, str) else raw
    return b"S" + pack(">I", len(data)) + data


def octets(raw: bytes) -> bytes:
    """A byte array as a field."""
    return b"x" + pack(">I", len(raw)) + raw


def number(value: int) -> bytes:
    """A signed 64-bit integer as a field."""
    return b"l" + pack(">q", value)


def array(values: Iterable[bytes]) -> bytes:
    """An array as a field."""
    whole = b"".join(values)
    return b"A" + pack(">I", len(whole)) + whole


def table(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A table, as a property has it."""
    whole = b"".join(short(name) + value for name, value in fields)
    return pack(">I", len(whole)) + whole


def nested(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A table as a field."""
    return b"F" + table(fields)


def content_header(size: int, properties: Mapping[str, bytes]) -> bytes:
    """Return the frame of a content header with these encoded properties."""
    flags = sum(FLAGS[name] for name in properties)
    values = b"".join(properties[name] for name in FLAGS if name in properties)
    return header(size, flags, values)
