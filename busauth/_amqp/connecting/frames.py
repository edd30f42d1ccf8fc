"""What the client library may see of a broker's frames: what it could not read is left out.

pamqp raises for properties, header names, routing keys and exchange names that are no UTF-8, for
instants beyond any date, for unknown types and for tables that are nested too deeply. All of it is
valid to a broker, which passes on what a publisher sent. Such a message keeps its delivery tag, its
size and its body, and is marked where no publisher can write: in the content header's weight, which
brokers set to zero (AMQP 0-9-1, section 4.2.6.1).
"""

import struct
from collections.abc import Callable
from functools import lru_cache

import pamqp.frame
from pamqp.commands import Basic, Connection
from pamqp.constants import FRAME_END_CHAR, FRAME_HEADER, FRAME_METHOD

UNREADABLE = 0xFFFF
"""The weight of a content header whose properties were left out."""

_DELIVER = struct.pack(">I", Basic.Deliver.index)
_GET_OK = struct.pack(">I", Basic.GetOk.index)
_RETURN = struct.pack(">I", Basic.Return.index)
_CARRYING = frozenset({_DELIVER, _GET_OK, _RETURN})
_NAMELESS = b"nameless"
_CLOSE = struct.pack(">I", Connection.Close.index)

_HEAD = 7
"""Bytes of a frame before its payload: type, channel, size."""

_TAG = 9
"""Bytes of a delivery tag and of the bits after it."""

_MORE_FLAGS = 0x0003
_SIZES = dict(zip(b"tbBsuIilLfdDV", (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 5, 0), strict=True))
_LONG = dict.fromkeys(b"Sx", 4)


class Sieve:
    """Passes one connection's frames on, in their order.

    Attributes:
        goodbye: the code and the words with which the broker has closed the connection.
    """

    def __init__(self) -> None:
        self.goodbye: tuple[int, str] | None = None
        self._carriers: dict[bytes, bytes] = {}

    def passed(self, frame: bytes) -> bytes:
        """Return a whole frame as the client library may see it."""
        if frame[0] == FRAME_HEADER:
            return self._header(frame)
        if frame[0] == FRAME_METHOD:
            method = frame[_HEAD : _HEAD + 4]
            if method in _CARRYING:
                return self._carrier(frame)
            if method == _CLOSE:
                self.goodbye = _said(frame)
        return frame

    def _carrier(self, frame: bytes) -> bytes:
        channel, method = frame[1:3], frame[_HEAD : _HEAD + 4]
        self._carriers[channel] = method
        if method == _RETURN or _names_are_readable(frame, method):
            return frame
        self._carriers[channel] = _NAMELESS
        return _without_names(frame, method)

    def _header(self, frame: bytes) -> bytes:
        """A publication that comes back stays whole: without its id it would count as confirmed."""
        carrier = self._carriers.get(frame[1:3])
        if carrier == _RETURN:
            return frame
        if carrier != _NAMELESS and (are_surely_readable(frame) or _can_be_decoded(frame)):
            return frame
        return _without_properties(frame)


def _names_at(frame: bytes, method: bytes) -> int:
    """Return where the exchange and the routing key begin; a consumer's tag is its own."""
    tag = 1 + frame[_HEAD + 4] if method == _DELIVER else 0
    return _HEAD + 4 + tag + _TAG


def _names_are_readable(frame: bytes, method: bytes) -> bool:
    return frame[_names_at(frame, method) : -1].isascii() or _can_be_decoded(frame)


def are_surely_readable(frame: bytes) -> bool:
    """Return True where pamqp reads a content header's properties, False where it must be tried.

    It costs a fraction of reading them, and is most messages' case: plain values and ASCII names.
    """
    payload = frame[_HEAD:-1]
    flags = int.from_bytes(payload[12:14])
    if flags & _MORE_FLAGS:
        return False
    try:
        return _end_of_properties(payload, flags) <= len(payload)
    except (LookupError, _DoubtError):
        return False


class _DoubtError(Exception):
    """It has to be tried."""


def _end_of_properties(payload: bytes, flags: int) -> int:
    at = 14
    for end_of in _present(flags):
        at = end_of(payload, at)
    return at


@lru_cache(maxsize=256)
def _present(flags: int) -> tuple[Callable[[bytes, int], int], ...]:
    return tuple(end_of for flag, end_of in _PROPERTIES if flags & flag)


def _end_of_text(payload: bytes, at: int) -> int:
    start = at + 1
    end = start + payload[at]
    if not payload[start:end].isascii():
        raise _DoubtError
    return end


def _end_of_octet(_payload: bytes, at: int) -> int:
    return at + 1


def _end_of_instant(payload: bytes, at: int) -> int:
    """Seconds of 32 bits are surely a date."""
    if any(payload[at : at + 4]):
        raise _DoubtError
    return at + 8


def _end_of_table(payload: bytes, at: int) -> int:
    """Nested tables and arrays, and types that are rare, have to be tried."""
    end = at + 4 + int.from_bytes(payload[at : at + 4])
    at += 4
    while at < end:
        start = at + 1
        at = start + payload[at]
        if not payload[start:at].isascii():
            raise _DoubtError
        kind = payload[at]
        at += 1
        at += _SIZES[kind] if kind in _SIZES else 4 + int.from_bytes(payload[at : at + _LONG[kind]])
    if at != end:
        raise _DoubtError
    return end


_PROPERTIES = (
    (0x8000, _end_of_text),  # content_type
    (0x4000, _end_of_text),  # content_encoding
    (0x2000, _end_of_table),  # headers
    (0x1000, _end_of_octet),  # delivery_mode
    (0x0800, _end_of_octet),  # priority
    (0x0400, _end_of_text),  # correlation_id
    (0x0200, _end_of_text),  # reply_to
    (0x0100, _end_of_text),  # expiration
    (0x0080, _end_of_text),  # message_id
    (0x0040, _end_of_instant),  # timestamp
    (0x0020, _end_of_text),  # type
    (0x0010, _end_of_text),  # user_id
    (0x0008, _end_of_text),  # app_id
    (0x0004, _end_of_text),  # cluster_id
)


def _can_be_decoded(frame: bytes) -> bool:
    """Try it as the client library will, some calls deeper: tables may be nested."""
    try:
        pamqp.frame.unmarshal(frame)
    except Exception:
        return False
    return True


def _said(frame: bytes) -> tuple[int, str]:
    """Return what ``connection.close`` says: a code, and a short string."""
    code, words = frame[_HEAD + 4 : _HEAD + 6], frame[_HEAD + 7 : _HEAD + 7 + frame[_HEAD + 6]]
    return int.from_bytes(code), words.decode(errors="replace")


def _without_names(frame: bytes, method: bytes) -> bytes:
    counted = frame[-5:-1] if method == _GET_OK else b""
    return _framed(frame, frame[_HEAD : _names_at(frame, method)] + b"\0\0" + counted)


def _without_properties(frame: bytes) -> bytes:
    """Keep class and size."""
    weight, no_flags = struct.pack(">H", UNREADABLE), b"\0\0"
    payload = frame[_HEAD:-1]
    return _framed(frame, payload[:2] + weight + payload[4:12] + no_flags)


def _framed(frame: bytes, payload: bytes) -> bytes:
    return frame[:3] + struct.pack(">I", len(payload)) + payload + FRAME_END_CHAR
