"""Bytes to frames (AMQP 0-9-1, section 4.2.3), however they are cut into packets."""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from pamqp.constants import FRAME_END, FRAME_MIN_SIZE

from busauth.testing.broker.wire.faults import out_of_step

GREETING: Final = -1
"""The kind of what comes before all frames: the protocol header."""

_GREETING_SIZE = 8
_HEAD: Final = Struct(">BHI")
_HEAD_SIZE: Final = _HEAD.size
_AROUND = 8
"""Octets of a frame around its payload."""


class FrameReader:
    """Cuts one connection's bytes into frames.

    Attributes:
        frame_max: how large a payload may be. The frame's own 8 octets come on top, as RabbitMQ
            lets clients exceed the size by them.
        closed: nothing is read any more.
    """

    def __init__(self) -> None:
        self.frame_max = FRAME_MIN_SIZE
        self.closed = False
        self._greeted = False
        self._rest = bytearray()
        self._wanted = _GREETING_SIZE

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Return (kind, channel number, payload) of each frame that is complete now.

        Raises:
            Fault: 501, a frame is too large or has a wrong end; frames before it were returned.
        """
        if self.closed:
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at = 0
        if not self._greeted and len(data) >= _GREETING_SIZE:
            self._greeted, at = True, _GREETING_SIZE
            yield GREETING, 0, data[:at]
        if self._greeted:
            for kind, number, start, end in self._spans(data, at):
                at = end + 1
                yield kind, number, data[start:end]
                if self.closed:
                    return
        self._rest += data[at:]

    def _spans(self, data: bytes, at: int) -> Iterator[tuple[int, int, int, int]]:
        size = len(data)
        while size - at >= _HEAD_SIZE and not self.closed:
            kind, number, length = _HEAD.unpack_from(data, at)
            if length > self.frame_max:
                reason = f"{{frame_too_large,{length},{self.frame_max - _AROUND}}}"
                raise out_of_step(kind, b"", reason)
            start = at + _HEAD_SIZE
            end = start + length
            if end >= size:
                self._wanted = length + _AROUND
                return
            if data[end] != FRAME_END:
                raise out_of_step(
                    kind, data[start:end], f"{{invalid_frame_end_marker,{data[end]}}}"
                )
            yield kind, number, start, end
            at = end + 1
        self._wanted = _HEAD_SIZE
