"""One channel's wire: methods in, and what the model sends on its own."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from struct import Struct
from typing import Any, Final

from pamqp import commands
from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.constants import FRAME_METHOD

from busauth.testing.broker.model.channels.channel import Channel
from busauth.testing.broker.model.connection import Connection
from busauth.testing.broker.model.message import Delivery, Message
from busauth.testing.broker.model.words.errors import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    INTERNAL_ERROR,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    SYNTAX_ERROR,
    UNEXPECTED_FRAME,
    AMQPError,
)
from busauth.testing.broker.wire.confirms import Confirms
from busauth.testing.broker.wire.faults import Fault, Ids, fault, internal
from busauth.testing.broker.wire.framing import decoding, encoding
from busauth.testing.broker.wire.framing.content import Complete, Content, check_frame
from busauth.testing.broker.wire.framing.decoding import Publication
from busauth.testing.broker.wire.framing.methods import HANDLERS, asks_for_no_reply
from busauth.testing.broker.wire.output import Output
from busauth.testing.broker.wire.throttle import Throttle

_PUBLISH, _ACK = (kind.index.to_bytes(4, "big") for kind in (Basic.Publish, Basic.Ack))
_PUBLISH_IDS: Final = (60, 40)
_ACK_IDS: Final = (60, 80)
_ACK_ARGUMENTS: Final = Struct(">4xQB")
_DEADLY: Final = frozenset({INTERNAL_ERROR, SYNTAX_ERROR})
"""RabbitMQ's channel dies of properties that it cannot read, and tells no more than that."""


@dataclass(frozen=True)
class Line:
    """What a connection's channels share.

    Attributes:
        model: the connection's other half.
        output: the way to the client.
        throttle: whether it may publish.
        frame_max: bytes of a frame that the client takes.
        largest: bytes of a body that are taken from it.
        tells_cancels: the client understands that the broker cancels a consumer.
    """

    model: Connection
    output: Output
    throttle: Throttle
    frame_max: int
    largest: int
    tells_cancels: bool


class _State(Enum):
    STARTING = auto()
    OPEN = auto()
    CLOSING = auto()


class WireChannel:
    """What a client does on one channel number; also the model's `ChannelSink`.

    Args:
        number: the channel number.
        line: the connection.
        forget: called when the number is free again.
    """

    def __init__(self, number: int, line: Line, forget: Callable[[int], object]) -> None:
        self._number = number
        self._line = line
        self._output = line.output
        self._forget = forget
        self.writable: Callable[[], bool] = line.output.writable
        self._state = _State.STARTING
        self._model: Channel | None = None
        self._content: Content | None = None
        self._held = 0
        self._confirms = Confirms()

    def receive(self, kind: int, payload: bytes) -> None:
        """Take a frame.

        Raises:
            Fault: the connection has to be closed.
            HangUp: it has to be cut.
        """
        if self._content is not None:
            content, whole = self._content, self._content.add(kind, payload)
            if whole is None:
                self._hold(content.kept)
            else:
                self._content = None
                self._hold(0)
                self._whole(content, whole)
        elif kind == FRAME_METHOD:
            self._method(payload)
        else:
            check_frame(kind, payload)
            raise fault(UNEXPECTED_FRAME, "expected method frame, got non method frame instead")

    # --- methods --------------------------------------------------------------------------------

    def _method(self, payload: bytes) -> None:
        head = payload[:4]
        if head == _PUBLISH:
            if self._line.throttle.reason:
                self._line.throttle.published()
            publication = decoding.publication(payload)
            self._content = Content(publication, _PUBLISH_IDS, self._line.largest)
        elif head == _ACK and len(payload) == _ACK_ARGUMENTS.size and self._model is not None:
            tag, bits = _ACK_ARGUMENTS.unpack(payload)
            try:
                self._model.ack(tag, multiple=bits & 1 == 1)
            except AMQPError as error:
                self._refuse(error, _ACK_IDS)
        else:
            check_frame(FRAME_METHOD, payload)
            self._other(decoding.method(payload), decoding.ids_of(payload))

    def _other(self, method: Frame, ids: Ids) -> None:
        if type(method) in decoding.WITH_CONTENT:
            self._content = Content(method, ids, self._line.largest)
        else:
            self._handle(method, ids)

    def _handle(self, method: Frame, ids: Ids) -> None:
        if self._state is _State.CLOSING:
            self._finish(method)
        elif self._model is None:
            self._open(method, ids)
        elif isinstance(method, commands.Channel.Close):
            self._line.model.close_channel(self._number)
            self._reply(commands.Channel.CloseOk())
            self._forget(self._number)
        else:
            try:
                self._ask(self._model, method)
            except AMQPError as error:
                self._refuse(error, ids)

    def _open(self, method: Frame, ids: Ids) -> None:
        if not isinstance(method, commands.Channel.Open):
            raise fault(CHANNEL_ERROR, "expected 'channel.open'", ids)
        self._model = self._line.model.channel(self._number, self)
        self._state = _State.OPEN
        self._reply(encoding.OpenOk(""))

    def _finish(self, method: Frame) -> None:
        """Ignore everything until close-ok."""
        if isinstance(method, commands.Channel.CloseOk):
            self._forget(self._number)
        elif isinstance(method, commands.Channel.Close):
            self._reply(commands.Channel.CloseOk())

    def _ask(self, model: Channel, method: Any) -> None:
        if isinstance(method, Basic.Get):
            self._get(model, method)
            return
        handler = HANDLERS.get(type(method))
        if handler is None:
            text = "unimplemented method"
            if isinstance(method, commands.Channel.Open):
                raise AMQPError(CHANNEL_ERROR, "second 'channel.open' seen")
            raise AMQPError(COMMAND_INVALID, text)
        reply = handler(model, method)
        if reply is not None and not asks_for_no_reply(method):
            self._reply(reply)

    def _get(self, model: Channel, method: Basic.Get) -> None:
        delivery = model.get(method.queue, no_ack=method.no_ack)
        if delivery is None:
            self._reply(Basic.GetEmpty())
        else:
            self._write(encoding.get_ok(self._number, delivery, self._line.frame_max))

    def _refuse(self, error: AMQPError, ids: Ids) -> None:
        """Close the channel, or, by raising, the connection."""
        if error.code in _DEADLY:
            raise internal() from error
        if error.closes_connection:
            raise Fault(error.code, error.text, ids) from error
        self._line.model.close_channel(self._number)
        self._model = None
        self._state = _State.CLOSING
        kind = commands.Channel.Close
        self._write(encoding.close(kind, self._number, error.code, error.text, ids))

    # --- content --------------------------------------------------------------------------------

    def _whole(self, content: Content, whole: Complete) -> None:
        if self._model is None:
            if self._state is _State.STARTING:
                raise fault(CHANNEL_ERROR, "expected 'channel.open'", content.ids)
            return
        try:
            self._publish(self._model, content.method, whole)
        except AMQPError as error:
            self._refuse(error, content.ids)

    def _hold(self, size: int) -> None:
        """Count what is there of a message; too much of such is a reason to wait."""
        if size != self._held:
            self._line.model.hold(size - self._held)
            self._held = size
        if size and self._line.model.engine.overfull:
            self._line.throttle.published()

    def _publish(self, model: Channel, method: Publication | Frame, whole: Complete) -> None:
        if not isinstance(method, Publication):
            raise AMQPError(COMMAND_INVALID, "unimplemented method")
        if method.immediate:
            raise AMQPError(NOT_IMPLEMENTED, "immediate=true")
        if whole.size > self._line.largest:
            text = f"message size {whole.size} is larger than configured max size "
            raise AMQPError(PRECONDITION_FAILED, f"{text}{self._line.largest}")
        message = Message(method.exchange, method.routing_key, whole.header, whole.body)
        model.publish(message, mandatory=method.mandatory)

    # --- what the model sends -------------------------------------------------------------------

    def deliver(self, consumer_tag: str, delivery: Delivery) -> None:
        """basic.deliver"""
        frames = encoding.delivery(self._number, consumer_tag, delivery, self._line.frame_max)
        self._output.write(frames)

    def returned(self, code: int, text: str, message: Message) -> None:
        """basic.return"""
        frames = encoding.returned(self._number, code, text, message, self._line.frame_max)
        self._output.write(frames)

    def confirmed(self, tag: int, *, ack: bool) -> None:
        """basic.ack or basic.nack, at the end of the batch or before the channel's next reply."""
        if not self._confirms:
            self._output.before_flush(self._confirm)
        self._confirms.add(tag, ack=ack)

    def cancelled(self, consumer_tag: str) -> None:
        """basic.cancel: the queue is gone."""
        if self._line.tells_cancels:
            self._reply(Basic.Cancel(consumer_tag, nowait=True))

    def _reply(self, method: Frame) -> None:
        self._write(encoding.method(method, self._number))

    def _write(self, frames: bytes) -> None:
        if self._confirms:
            self._confirm()
        self._output.write(frames)

    def _confirm(self) -> None:
        for tag, ack, multiple in self._confirms.drain():
            self._output.write(encoding.confirm(self._number, tag, ack=ack, multiple=multiple))
