"""A method's content, put together from its frames (AMQP 0-9-1, section 4.2.6)."""

from struct import Struct
from typing import Final, NamedTuple

from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD

from busauth.testing.broker.model.words.errors import UNEXPECTED_FRAME
from busauth.testing.broker.wire.faults import (
    Fault,
    Ids,
    fault,
    unexpected_frame,
    unknown_frame,
)
from busauth.testing.broker.wire.framing.decoding import Publication, method_class

_HEAD: Final = Struct(">HHQ")
_METHOD_SIZE = 4
_CLASS = Basic.frame_id


class Complete(NamedTuple):
    """A content that has come as a whole.

    Attributes:
        header: the content header frame's payload.
        body: its bytes; empty for what was too large to keep.
        size: how many bytes the body had.
    """

    header: bytes
    body: bytes
    size: int


class Content:
    """What has come so far of one method's content.

    Args:
        method: what the content belongs to.
        ids: its class and method.
        largest: bytes of a body; more is counted, and not kept.
    """

    __slots__ = ("_body", "_header", "_largest", "_left", "_size", "ids", "method")

    def __init__(self, method: Publication | Frame, ids: Ids, largest: int) -> None:
        self.method = method
        self.ids = ids
        self._largest = largest
        self._header = b""
        self._body: bytes | bytearray = b""
        self._size = self._left = 0

    @property
    def kept(self) -> int:
        """Bytes of the body that are kept so far."""
        return len(self._body)

    def add(self, kind: int, payload: bytes) -> Complete | None:
        """Take a frame; return the content once it is whole.

        A body that is larger than announced is never whole, as on RabbitMQ.

        Raises:
            Fault: 505, another frame was due; 501, this is none.
        """
        if not self._header:
            self._take_header(kind, payload)
        elif kind == FRAME_BODY:
            self._take_body(payload)
        else:
            check_frame(kind, payload)
            raise self._unexpected("content body, got non content body frame instead")
        return None if self._left else Complete(self._header, bytes(self._body), self._size)

    def _take_header(self, kind: int, payload: bytes) -> None:
        if kind != FRAME_HEADER or len(payload) < _HEAD.size:
            check_frame(kind, payload)
            raise self._not_a_header()
        class_id, weight, self._size = _HEAD.unpack_from(payload)
        if weight:
            raise self._not_a_header()
        if class_id != _CLASS:
            raise self._unexpected(
                f"content header for class {_CLASS}, got one for class {class_id} instead"
            )
        self._header, self._left = payload, self._size

    def _take_body(self, payload: bytes) -> None:
        self._left -= len(payload)
        if self._left < 0 or self._size > self._largest:
            self._body = b""
        elif not self._body:
            self._body = payload
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += payload

    def _not_a_header(self) -> Fault:
        return self._unexpected(
            f"content header for class {_CLASS}, got non content header frame instead"
        )

    def _unexpected(self, what: str) -> Fault:
        return fault(UNEXPECTED_FRAME, f"expected {what}", self.ids)


def check_frame(kind: int, payload: bytes, *, on_channel: bool = True) -> None:
    """Refuse what has no place on any channel.

    Raises:
        Fault: 501, this is no frame; 505, a heartbeat on a channel.
        HangUp: a method that does not exist.
    """
    if kind == FRAME_METHOD and len(payload) >= _METHOD_SIZE:
        method_class(payload)
    elif kind == FRAME_HEARTBEAT and not payload:
        if on_channel:
            raise unexpected_frame(kind, payload)
    elif kind != FRAME_BODY and (kind != FRAME_HEADER or len(payload) < _HEAD.size):
        raise unknown_frame(kind, payload)
