"""One delivery, as aiormq hands it over; aio-pika's message is made of it for who asks.

aio-pika makes a message, with a dozen checked assignments, and a task for every delivery. A guard
needs the headers and the body, so once a guarded consumer has seen its first delivery, aiormq hands
it the further ones directly (`handed_directly`).
"""

from collections.abc import Mapping
from functools import partial
from types import FunctionType
from typing import Any, Protocol, Self, cast

from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelInvalidStateError
from aio_pika.message import IncomingMessage
from aio_pika.queue import consumer as aio_pikas_consumer
from aio_pika.tools import ensure_awaitable
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from busauth.late.proof import Properties, Route

_PROCESSED = "_IncomingMessage__processed"


class Arrived(IncomingMessage):
    """aio-pika's message, without the check at each assignment whether it is settled already."""

    __slots__ = ()
    __setattr__ = object.__setattr__  # type: ignore[assignment]  # said more generally


class Delivery:
    """A message as received, not settled yet.

    Attributes:
        channel: where it came in; None when that was closed before anybody looked.
        tag: its delivery tag on that channel.
        headers, body: as received.
    """

    __slots__ = ("_delivered", "_message", "body", "channel", "headers", "tag")

    def __init__(self, delivered: DeliveredMessage) -> None:
        self._delivered: DeliveredMessage | None = delivered
        self._message: AbstractIncomingMessage | None = None
        self.channel: Channel | None = cast("Channel", delivered.channel)
        self.tag = delivered.delivery_tag
        self.headers: Mapping[str, Any] = delivered.header.properties.headers or {}
        self.body: bytes = delivered.body

    @classmethod
    def of(cls, message: AbstractIncomingMessage) -> Self:
        """Take what aio-pika has made already."""
        self = cls.__new__(cls)
        self._delivered, self._message = None, message
        self.channel, self.tag = channel_of(message), message.delivery_tag
        self.headers, self.body = message.headers, message.body
        return self

    @property
    def message(self) -> AbstractIncomingMessage:
        """Return aio-pika's message, always the same one."""
        if self._message is None:
            assert self._delivered is not None  # noqa: S101 -- one of both is always there
            self._message = Arrived(self._delivered)
        return self._message

    @property
    def message_id(self) -> str | None:
        """Return the sender's message id, if any."""
        if self._message is None and self._delivered is not None:
            return self._delivered.header.properties.message_id
        return self.message.message_id

    @property
    def content_encoding(self) -> str | None:
        """Return what the sender says of the body."""
        if self._message is None and self._delivered is not None:
            return self._delivered.header.properties.content_encoding
        return self.message.content_encoding

    @property
    def redelivered(self) -> bool:
        """Return the broker's word for whether it delivered this message before."""
        if self._message is None and self._delivered is not None:
            return bool(self._delivered.redelivered)
        return bool(self.message.redelivered)

    @property
    def properties(self) -> Properties:
        """Return the properties that a proof binds."""
        if self._message is None and self._delivered is not None:
            said = self._delivered.header.properties
            return Properties(
                said.message_type,
                said.content_type,
                said.content_encoding,
                said.reply_to,
                said.correlation_id,
            )
        told = self.message
        return Properties(
            told.type,
            told.content_type,
            told.content_encoding,
            told.reply_to,
            told.correlation_id,
        )

    @property
    def raw(self) -> Basic.Properties:
        """Return all properties with their headers, as they were decoded."""
        if self._message is None and self._delivered is not None:
            return self._delivered.header.properties
        told = self.message
        return Basic.Properties(
            content_type=told.content_type,
            content_encoding=told.content_encoding,
            headers=dict(told.headers),
            priority=told.priority,
            correlation_id=told.correlation_id,
            reply_to=told.reply_to,
            message_id=told.message_id,
            timestamp=told.timestamp,
            message_type=told.type,
            app_id=told.app_id,
        )

    @property
    def origin(self) -> str:
        """Return where it was published to, as text for people."""
        return str(Route(self.message.exchange or "", self.message.routing_key or ""))

    @property
    def is_settled(self) -> bool:
        """Return whether somebody has settled the message through aio-pika, its handler perhaps."""
        return self._message is not None and self._message.processed

    @property
    def is_lost(self) -> bool:
        """Return whether its channel is closed, so that the broker has it back already."""
        return self.channel is None or bool(self.channel.is_closed)

    def settled(self) -> None:
        """Note on aio-pika's message that it is settled: who tries again is told, as ever."""
        if self._message is not None:
            object.__setattr__(self._message, _PROCESSED, True)


class DirectCallback(Protocol):
    """What aiormq calls for a delivery."""

    async def __call__(self, delivered: DeliveredMessage) -> None:
        """Take it."""
        ...


def channel_of(message: AbstractIncomingMessage) -> Channel | None:
    """Return the channel that a message came in on, None when it is closed."""
    try:
        return cast("Channel", message.channel)
    except ChannelInvalidStateError:
        return None


def handed_directly(
    channel: Channel | None, tag: str | None, registered: object, direct: DirectCallback
) -> None:
    """Have aiormq call `direct` for further deliveries, if `registered` itself is what is called.

    A callback that somebody has wrapped stays: what they do around it must not be left out. Only
    what aio-pika puts around each callback may go, and it is told by its code: wrappers of others
    say as well what they wrap, and some are equal to it.
    """
    if channel is None or tag is None:
        return
    current = channel.consumers.get(tag)
    if type(current) is not partial or current.func is not aio_pikas_consumer:
        return
    called = current.args[0] if current.args else None
    if called is registered or _made_awaitable(called) is registered:
        channel.consumers[tag] = direct


class _Probe:
    async def __call__(self) -> Any:
        """Be an object that is called, as a guarded consumer is."""


_AIO_PIKAS_WRAPPER = getattr(ensure_awaitable(_Probe()), "__code__", None)


def _made_awaitable(called: object) -> object:
    """Return what aio-pika made awaitable, None for what anybody else has wrapped."""
    if not isinstance(called, FunctionType) or called.__code__ is not _AIO_PIKAS_WRAPPER:
        return None
    return called.__wrapped__  # type: ignore[attr-defined]  # aio-pika's `functools.wraps` sets it
