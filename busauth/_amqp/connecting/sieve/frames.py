"""What the client library may see of a broker's frames: what it could not read is left out.

pamqp raises for properties, header names, routing keys and exchange names that are no UTF-8, for
instants beyond any date, for unknown types and for tables that are nested too deeply. All of it is
valid to a broker, which passes on what a publisher sent. Such a message keeps its delivery tag, its
size and its body, and is marked where no publisher can write: in the content header's weight, which
brokers set to zero (AMQP 0-9-1, section 4.2.6.1).
"""

import asyncio
import struct
from collections.abc import Callable
from functools import lru_cache
from time import monotonic

import pamqp.frame
from pamqp.commands import Basic, Connection
from pamqp.constants import AMQP, FRAME_END_CHAR, FRAME_HEADER, FRAME_METHOD

UNREADABLE = 0xFFFF
"""The weight of a content header whose properties were left out."""

# A method's class and its number, as they stand at the beginning of its frame's payload.
DELIVER = struct.pack(">I", Basic.Deliver.index)
_GET_OK = struct.pack(">I", Basic.GetOk.index)
_RETURN = struct.pack(">I", Basic.Return.index)
_CARRYING = frozenset({DELIVER, _GET_OK, _RETURN})
_NAMELESS = b"nameless"  # in place of a method: what lost its names is unreadable as well
_CLOSE = struct.pack(">I", Connection.Close.index)

HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
"""A sign of life, as a broker gives it (AMQP 0-9-1, section 4.2.7)."""

_SIGN_EVERY = 0.5
"""Seconds between two that are given in its place: less than any heartbeat."""

HEAD = 7
"""Bytes of a frame before its payload: type, channel, size."""

_CHUNK = 64 * 1024  # bytes: as many as asyncio's streams hold before they ask the socket to wait

_TAG = 9
"""Bytes of a delivery tag and of the bits after it."""

_MORE_FLAGS = 0x0003  # one says that more flags follow, and no property has the other

# Bytes of a field's value, by its type's letter: RabbitMQ's, which clients use in place of those of
# AMQP 0-9-1, section 4.2.1.
SIZES = dict(zip(b"tbBsuIilLfdDV", (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 5, 0), strict=True))
_LONG = dict.fromkeys(b"Sx", 4)  # bytes of the length that stands before the value


class FrameReader:
    """What aiormq uses of a stream: bytes, of whole frames that passed the sieve.

    It reads what there is and cuts it up, which costs less than to ask the stream for each piece.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._sieve = Sieve()
        self._frame, self._at = b"", 0
        self._read, self._from = b"", 0
        self._asides = dict[bytes, Callable[[bytes], bool]]()
        self._is_aside = False  # something was taken aside since the client library saw a frame
        self._seen_at = 0.0
        self.began = b""
        self.is_left = False

    def aside(self, channel: int, takes: Callable[[bytes], bool]) -> None:
        """Let somebody else have a channel's frames: those that it returns True for."""
        self._asides[channel.to_bytes(2)] = takes

    @property
    def goodbye(self) -> tuple[int, str] | None:
        """Return the code and the words with which the broker has closed the connection."""
        return self._sieve.goodbye

    def at_eof(self) -> bool:
        """Return whether nothing is left to read."""
        is_read = self._at == len(self._frame) and self._from == len(self._read)
        return is_read and self._reader.at_eof()

    async def read(self, size: int = -1) -> bytes:
        """Return what there is, unsieved: aiormq asks so for what is no frame."""
        return await self._reader.read(size)

    async def readexactly(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            asyncio.IncompleteReadError: the broker is gone.
        """
        start = self._at
        if start == len(self._frame):
            start = 0
            while not (frame := self._next()):
                await self._fill(size)
            self._frame = self._sieve.passed(frame)
        self._at = start + size
        return self._frame[start : self._at]

    def _next(self) -> bytes:
        """Return the next frame that nobody takes aside, nothing where there is none yet.

        What is taken aside would count as silence to aiormq, which gives up a silent broker.
        """
        while frame := self._cut():
            takes = self._asides.get(frame[1:3])
            if takes is None or not takes(frame):
                return frame
            self._is_aside = True
        if self._is_aside and (now := monotonic()) - self._seen_at >= _SIGN_EVERY:
            self._is_aside, self._seen_at = False, now
            return HEARTBEAT
        return b""

    def _cut(self) -> bytes:
        """Return the next frame, nothing where it is not whole yet."""
        start = self._from
        head = self._read[start : start + HEAD]
        end = start + HEAD
        if not head.startswith(AMQP):  # a broker of another version says so, and closes
            end += int.from_bytes(head[3:]) + 1
        if len(head) < HEAD or len(self._read) < end:
            return b""
        self._from = end
        return self._read[start:end]

    async def _fill(self, wanted: int) -> None:
        more = await self._reader.read(_CHUNK)
        left = self._read[self._from :]
        if not more and self.is_left:
            raise asyncio.CancelledError  # aiormq would tell the log of a loss
        if not more:
            raise asyncio.IncompleteReadError(left, wanted)
        self._read, self._from = left + more, 0
        self.began = self.began or more[:HEAD]


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
            method = frame[HEAD : HEAD + 4]
            if method in _CARRYING:
                return self._carrier(frame)
            if method == _CLOSE:  # whoever connects is told in the broker's words
                code, length = frame[HEAD + 4 : HEAD + 6], frame[HEAD + 6]
                words = frame[HEAD + 7 : HEAD + 7 + length]
                self.goodbye = int.from_bytes(code), words.decode(errors="replace")
        return frame

    def _carrier(self, frame: bytes) -> bytes:
        channel, method = frame[1:3], frame[HEAD : HEAD + 4]
        self._carriers[channel] = method
        names = _names_at(frame)
        if method == _RETURN or frame[names:-1].isascii() or _can_be_decoded(frame):
            return frame
        self._carriers[channel] = _NAMELESS
        # `get-ok` ends with a count of messages, which whoever asked for one looks at.
        counted = frame[-5:-1] if method == _GET_OK else b""
        return _framed(frame, frame[HEAD:names] + b"\0\0" + counted)

    def _header(self, frame: bytes) -> bytes:
        carrier = self._carriers.get(frame[1:3])
        if carrier == _RETURN:  # without its id, what comes back would count as confirmed
            return frame
        if carrier != _NAMELESS and (are_surely_readable(frame) or _can_be_decoded(frame)):
            return frame
        # Class and size are kept: the frames of its body are counted by them.
        weight, no_flags, payload = struct.pack(">H", UNREADABLE), b"\0\0", frame[HEAD:-1]
        return _framed(frame, payload[:2] + weight + payload[4:12] + no_flags)


def _names_at(frame: bytes) -> int:
    """Return where the names stand in what carries a message."""
    # A consumer's tag is the client's own, so it can be read; the names stand behind it.
    tag = 1 + frame[HEAD + 4] if frame[HEAD : HEAD + 4] == DELIVER else 0
    return HEAD + 4 + tag + _TAG


def are_names_plain(frame: bytes) -> bool:
    """Return whether exchange and routing key are surely read, in what carries a message."""
    return frame[_names_at(frame) : -1].isascii()


def are_surely_readable(frame: bytes) -> bool:
    """Return True where pamqp reads a content header's properties, False where it must be tried.

    It costs a fraction of reading them, and is most messages' case: plain values and ASCII names.
    """
    payload = frame[HEAD:-1]
    flags = int.from_bytes(payload[12:14])
    at = 14
    try:
        for _, kind in present(flags):
            if kind is _TEXT:
                start = at + 1
                at = start + payload[at]
                if not payload[start:at].isascii():
                    return False
            elif kind is _TABLE:
                at = _end_of_table(payload, at)
            elif kind is _OCTET:
                at += 1
            elif any(payload[at : at + 4]):  # seconds of 32 bits are surely a date
                return False
            else:
                at += 8
    except (LookupError, _DoubtError):  # it ends too early, or says what is rarely said
        return False
    return at <= len(payload) and not flags & _MORE_FLAGS


class _DoubtError(Exception):
    """It has to be tried."""


@lru_cache(maxsize=256)
def present(flags: int) -> tuple[tuple[int, str], ...]:
    """Return the properties that are there, in their order; publishers have habits."""
    return tuple([(flag, kind) for flag, kind in _PROPERTIES if flags & flag])


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
        at += SIZES[kind] if kind in SIZES else 4 + int.from_bytes(payload[at : at + _LONG[kind]])
    if at != end:
        raise _DoubtError
    return end


_TEXT, _TABLE, _OCTET, _INSTANT = "text", "table", "octet", "instant"
_PROPERTIES = (
    (0x8000, _TEXT),  # content_type
    (0x4000, _TEXT),  # content_encoding
    (0x2000, _TABLE),  # headers
    (0x1000, _OCTET),  # delivery_mode
    (0x0800, _OCTET),  # priority
    (0x0400, _TEXT),  # correlation_id
    (0x0200, _TEXT),  # reply_to
    (0x0100, _TEXT),  # expiration
    (0x0080, _TEXT),  # message_id
    (0x0040, _INSTANT),  # timestamp
    (0x0020, _TEXT),  # type
    (0x0010, _TEXT),  # user_id
    (0x0008, _TEXT),  # app_id
    (0x0004, _TEXT),  # cluster_id
)


def _can_be_decoded(frame: bytes) -> bool:
    """Try it as the client library will, some calls deeper: tables may be nested."""
    try:
        pamqp.frame.unmarshal(frame)
    except Exception:  # pamqp lets through whatever a value makes of its parsers
        return False
    return True


def _framed(frame: bytes, payload: bytes) -> bytes:
    return frame[:3] + struct.pack(">I", len(payload)) + payload + FRAME_END_CHAR
