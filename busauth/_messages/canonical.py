"""One spelling for each value, so that a digest or a MAC over it means that value and no other.

The spelling is bencode (BEP 3), with a letter each for null, true and false::

    null, true, false   n t f
    integer             i<decimal>e          of 64 bits
    text                <bytes>:<UTF-8>
    list                l<items>e
    table               d<name><value>...e   names sorted by their bytes

Only what every AMQP client hands on unchanged has a spelling. A floating-point number may be cut to
32 bits, bytes may arrive as text, a timestamp loses its fraction: those have none. Where the same
client writes and reads, they have one all the same: `spelled`.
"""

import struct
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

MAX_DEPTH = 8
"""Levels of lists and tables: no sender decides how deep a reader descends."""

MAX_NAME = 128
"""Bytes of a name in a table (AMQP 0-9-1, section 4.2.5.5); pamqp cuts longer ones."""

_SPELLED_DEPTH = 32  # levels: a seal covers what others wrote, who nest more deeply
_INTEGERS = range(-(2**63), 2**63)

_Others = Callable[[object], bytes]


class NotCanonical(ValueError):  # noqa: N818 -- a statement about a value
    """A value that has no spelling here."""


def canonical(value: object) -> bytes:
    """Return the one spelling of a value.

    Raises:
        NotCanonical: it has none; the value itself is not shown.
    """
    if isinstance(value, str):
        return _text(value)
    parts: list[bytes] = []
    _write(value, parts, MAX_DEPTH, _none)
    return b"".join(parts)


def spelled(value: object) -> bytes:
    """Return the one spelling of whatever this client reads in a header, whoever wrote it.

    Raises:
        NotCanonical: it is nothing that a header can hold, or nested too deeply.
    """
    parts: list[bytes] = []
    _write(value, parts, _SPELLED_DEPTH, _other)
    return b"".join(parts)


def _none(value: object) -> bytes:
    raise NotCanonical(f"a value of type {type(value).__name__}")


def _other(value: object) -> bytes:
    """Spell what only this client reads as it was written."""
    match value:
        case float():
            try:  # this client reads 64 bits, and writes 32: what is left of it is what counts
                narrow = struct.pack(">f", value)
            except OverflowError:
                raise NotCanonical("a number that does not fit 32 bits") from None
            return b"r%be" % narrow.hex().encode()
        case bytes() | bytearray():  # text that is no UTF-8 is read as one, written as the other
            return b"y%d:%b" % (len(value), bytes(value))
        case datetime():
            return b"z%de" % int(value.timestamp())  # AMQP has whole seconds
        case Decimal():
            return b"q%be" % str(value).encode()
    return _none(value)


def _write(value: object, parts: list[bytes], levels: int, others: _Others) -> None:
    if isinstance(value, str):
        parts.append(_text(value))
    elif value is None or isinstance(value, bool):  # before int, which a bool is as well
        parts.append(b"n" if value is None else b"t" if value else b"f")
    elif isinstance(value, int):
        if value not in _INTEGERS:
            raise NotCanonical("an integer of more than 64 bits")
        parts.append(b"i%de" % value)
    else:
        _write_container(value, parts, levels, others)


def _write_container(value: object, parts: list[bytes], levels: int, others: _Others) -> None:
    if not isinstance(value, list | tuple | dict):
        parts.append(others(value))
        return
    if levels == 0:
        raise NotCanonical("too many levels")
    parts.append(b"d" if isinstance(value, dict) else b"l")
    if isinstance(value, dict):
        named = {_name(name): item for name, item in value.items()}
        for name in sorted(named):  # by their bytes: a table has no order of its own
            parts.append(b"%d:%b" % (len(name), name))
            _write(named[name], parts, levels - 1, others)
    else:
        for item in value:
            _write(item, parts, levels - 1, others)
    parts.append(b"e")


def _name(name: object) -> bytes:
    if not isinstance(name, str):
        raise NotCanonical(f"a name of type {type(name).__name__}")
    raw = _utf8(name)
    if len(raw) > MAX_NAME:
        raise NotCanonical(f"a name of more than {MAX_NAME} bytes")
    return raw


def _text(value: str) -> bytes:
    raw = _utf8(value)
    return b"%d:%b" % (len(raw), raw)


def _utf8(value: str) -> bytes:
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise NotCanonical("text with a lone surrogate") from None
