"""Methods and content to frames; what is sent often is packed here, the rest by pamqp."""

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Connection, Queue
from pamqp.constants import FRAME_BODY, FRAME_END, FRAME_END_CHAR, FRAME_HEADER, FRAME_METHOD
from pamqp.frame import marshal as method

from busauth.testing.broker.model.message import Delivery, Message
from busauth.testing.broker.wire.faults import Ids

__all__ = ["DeclareOk", "OpenOk", "close", "confirm", "delivery", "get_ok", "method", "returned"]

_METHOD: Final = Struct(">BHII")
_NEXT: Final = Struct(">BBHI")
_TAG: Final = Struct(">QB")
_CODE: Final = Struct(">H")
_IDS: Final = Struct(">HH")
_CONFIRM: Final = Struct(">BHIIQBB")
_CONFIRM_SIZE = 13
_AROUND = 8
_SHORT = 255

Close = type[Connection.Close] | type[Channel.Close]


class DeclareOk(Queue.DeclareOk):
    """queue.declare-ok for whatever name a queue has."""

    def validate(self) -> None:
        """The model has judged the name."""


class OpenOk(Channel.OpenOk):
    """channel.open-ok with nothing in its reserved string, as RabbitMQ has it."""

    def validate(self) -> None:
        """There is nothing to judge."""


def short(value: str) -> bytes:
    """Encode a short string; what is too long for one ends in dots, as RabbitMQ's texts do."""
    data = value.encode("utf-8", "surrogateescape")
    if len(data) > _SHORT:
        data = data[: _SHORT - 3] + b"..."
    return bytes([len(data)]) + data


_tag = lru_cache(maxsize=4096)(short)


@lru_cache(maxsize=4096)
def address(exchange: str, routing_key: str) -> bytes:
    """Encode where a message was published to."""
    return short(exchange) + short(routing_key)


def close(kind: Close, number: int, code: int, text: str, ids: Ids) -> bytes:
    """Return a close frame, whatever octets its text has."""
    arguments = _CODE.pack(code) + short(text) + _IDS.pack(*ids)
    return _method(kind, number, arguments) + FRAME_END_CHAR


def confirm(number: int, tag: int, *, ack: bool, multiple: bool) -> bytes:
    """Return basic.ack or basic.nack."""
    kind = Basic.Ack if ack else Basic.Nack
    return _CONFIRM.pack(FRAME_METHOD, number, _CONFIRM_SIZE, kind.index, tag, multiple, FRAME_END)


def delivery(number: int, consumer_tag: str, given: Delivery, frame_max: int) -> bytes:
    """Return basic.deliver with its content."""
    message = given.message
    where = address(message.exchange, message.routing_key)
    arguments = _tag(consumer_tag) + _TAG.pack(given.tag, given.redelivered) + where
    head = _method(Basic.Deliver, number, arguments)
    return head + _content(number, given.header(), message.body, frame_max)


def get_ok(number: int, given: Delivery, frame_max: int) -> bytes:
    """Return basic.get-ok with its content."""
    message = given.message
    where = address(message.exchange, message.routing_key)
    left = given.remaining.to_bytes(4, "big")
    head = _method(Basic.GetOk, number, _TAG.pack(given.tag, given.redelivered) + where + left)
    return head + _content(number, given.header(), message.body, frame_max)


def returned(number: int, code: int, text: str, message: Message, frame_max: int) -> bytes:
    """Return basic.return with its content."""
    where = address(message.exchange, message.routing_key)
    head = _method(Basic.Return, number, _CODE.pack(code) + short(text) + where)
    return head + _content(number, message.header, message.body, frame_max)


def _method(kind: type[Frame], number: int, arguments: bytes) -> bytes:
    """Return a method frame without its end."""
    return _METHOD.pack(FRAME_METHOD, number, len(arguments) + 4, kind.index) + arguments


def _content(number: int, header: bytes, body: bytes, frame_max: int) -> bytes:
    """Return the end of a method frame, and the frames of its content."""
    head = _NEXT.pack(FRAME_END, FRAME_HEADER, number, len(header)) + header
    size = len(body)
    if not size:
        return head + FRAME_END_CHAR
    if size <= frame_max - _AROUND:
        return b"%b%b%b\xce" % (head, _NEXT.pack(FRAME_END, FRAME_BODY, number, size), body)
    return b"".join((head, *_pieces(number, body, frame_max - _AROUND), FRAME_END_CHAR))


def _pieces(number: int, body: bytes, room: int) -> Iterator[bytes | memoryview]:
    view = memoryview(body)
    for at in range(0, len(body), room):
        piece = view[at : at + room]
        yield _NEXT.pack(FRAME_END, FRAME_BODY, number, len(piece))
        yield piece
