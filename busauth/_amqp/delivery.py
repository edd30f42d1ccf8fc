"""One delivery, as aiormq hands it over; aio-pika's message is made of it for a handler that asks.

aio-pika makes a message, with a dozen checked assignments, and a task for every delivery. A guard
needs the headers and the body, so once a guarded consumer has seen its first delivery, aiormq hands
it the further ones directly (`handed_directly`).

What a handler gets is a message of its own: whatever it does to that, and to the headers in it,
what is retried, refused or given back is what came.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from pamqp.header import ContentHeader

from busauth._amqp.connecting.sieve.frames import UNREADABLE
from busauth._messages.proof import Properties, Route, SeenMessage
from busauth.caller import Caller
from busauth.errors import BadMessage, evidence

# aio-pika keeps these private, and a message must know that it was settled without it.
_PROCESSED = "_IncomingMessage__processed"
_CHANNEL = "_IncomingMessage__channel"
# RabbitMQ's own headers, which differ from one delivery of a message to the next.
_COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})
_STAMPS = "x-opt-rabbitmq-"
"""What a broker writes on each delivery: counts, and the instant at which it was sent."""
_NAMED = 20
"""Headers that are named at most where a message is printed."""


class Arrived(IncomingMessage):
    """aio-pika's message for a handler, without the check at each assignment whether it is settled.

    Attributes:
        returned: whether its handler has put it back into its queue.
    """

    __slots__ = ("returned",)
    __setattr__ = object.__setattr__  # type: ignore[assignment]  # said more generally

    def __init__(self, delivered: DeliveredMessage, hidden: frozenset[str] = frozenset()) -> None:
        super().__init__(delivered)
        seen = {name: value for name, value in self.headers.items() if name not in hidden}
        self.headers = _of_its_own(seen)
        self.returned = False

    def __repr__(self) -> str:
        """Name it without what its headers say and what is in it: they hold tokens, and data."""
        names = sorted(evidence(str(name)) or "" for name in self.headers)[:_NAMED]
        said = (
            f"message_id={evidence(self.message_id)!r}, routing_key={evidence(self.routing_key)!r}"
        )
        return f"<{type(self).__name__} {said}, {self.body_size} bytes, headers {names}>"

    async def ack(self, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 -- aio-pika's
        """Acknowledge the message."""
        with self._settling():
            await super().ack(multiple)

    async def nack(self, multiple: bool = False, requeue: bool = True) -> None:  # noqa: FBT001, FBT002 -- aio-pika's
        """Give up on the message, and note whether that puts it back."""
        with self._settling():
            await super().nack(multiple, requeue)
        self.returned = requeue

    async def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 -- aio-pika's
        """Give up on the message, and note whether that puts it back."""
        with self._settling():
            await super().reject(requeue)
        self.returned = requeue

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """Note that it is settled where only the wait for the socket was cut off."""
        # A queue with room takes a frame before there is anything to wait for.
        channel = channel_of(self)
        is_written_at_once = channel is not None and not channel.write_queue.full()
        try:
            yield
        except asyncio.CancelledError:
            if is_written_at_once:
                object.__setattr__(self, _PROCESSED, True)
            raise


class Delivery:
    """A message as received, not settled yet.

    Attributes:
        channel: where it came in; None when that was closed before anybody looked.
        tag: its delivery tag on that channel.
        raw: its properties and headers, as they were decoded; whatever a sender wrote.
        headers, body: as received.
        message_id: the sender's message id, if any.
        redelivered: the broker's word for whether it delivered this message before.
        content_encoding: what the sender says of the body.
        is_unreadable: whether it lost its properties on the way here, as they cannot be read.
        hidden: names of headers that its handler is not shown.
        mark: by which its copies point back at it, where somebody watches; None for no mark.
    """

    __slots__ = (
        "_delivered",
        "_is_given_back",
        "_message",
        "_outer",
        "body",
        "channel",
        "content_encoding",
        "headers",
        "hidden",
        "is_unreadable",
        "mark",
        "message_id",
        "raw",
        "redelivered",
        "tag",
    )

    def __init__(
        self, delivered: DeliveredMessage, outer: AbstractIncomingMessage | None = None
    ) -> None:
        self._delivered = delivered
        self._outer = outer
        self._message: Arrived | None = None
        self._is_given_back = False
        self.channel: Channel | None = cast("Channel | None", delivered.channel)
        self.tag = delivered.delivery_tag
        self.raw: Basic.Properties = delivered.header.properties
        self.headers: dict[str, Any] = self.raw.headers or {}
        self.body: bytes = delivered.body
        self.message_id: str | None = self.raw.message_id
        self.redelivered = bool(delivered.redelivered)
        self.content_encoding: str | None = self.raw.content_encoding
        self.is_unreadable = delivered.header.weight == UNREADABLE
        self.hidden: frozenset[str] = frozenset()
        self.mark: str | None = None

    @classmethod
    def of(cls, message: AbstractIncomingMessage) -> Self:
        """Take what aio-pika has made a message of already."""
        return cls(_delivered(message), message)

    @property
    def message(self) -> AbstractIncomingMessage:
        """Return aio-pika's message for the handler, always the same one.

        Raises:
            BadMessage: ``message.property``: aio-pika cannot make one of these properties.
        """
        if self._message is None:
            try:
                self._message = Arrived(self._delivered, self.hidden)
            except Exception as error:  # whatever a sender's value makes of aio-pika's conversions
                found = f"{type(error).__name__}: {error}"
                expected = "properties that aio-pika has values for"
                raise BadMessage("message.property", found=found, expected=expected) from error
        return self._message

    @property
    def consumer_tag(self) -> str | None:
        """Return which consumer it was delivered to."""
        return self._delivered.consumer_tag

    @property
    def content_type(self) -> str | None:
        """Return what the sender says that the body is."""
        return self.raw.content_type

    @property
    def exchange(self) -> str:
        """Return where it was published to."""
        return self._delivered.exchange or ""

    @property
    def routing_key(self) -> str:
        """Return what it was published with."""
        return self._delivered.routing_key or ""

    @property
    def properties(self) -> Properties:
        """Return the properties that a proof binds."""
        said = self.raw
        return Properties(
            said.message_type,
            said.content_type,
            said.content_encoding,
            said.reply_to,
            said.correlation_id,
        )

    def seen(
        self,
        caller: Caller | None = None,
        *,
        token_sha256: str | None = None,
        transaction_token: str | None = None,
        is_transaction: bool = False,
    ) -> SeenMessage:
        """Return it as a proof speaks of it.

        Args:
            caller: whose it is; None where that is not known.
            token_sha256: the hex SHA-256 of its token, None where it has none.
            transaction_token: the one that came beside it, if any.
            is_transaction: whether its token is one itself.
        """
        return SeenMessage(
            token_sha256=token_sha256,
            transaction_token=transaction_token,
            is_transaction=is_transaction,
            body=self.body,
            message_id=self.message_id,
            properties=self.properties,
            headers=self.headers,
            issuer=caller.issuer if caller else None,
            subject=caller.subject if caller else None,
        )

    def is_like(self, other: Self) -> bool:
        """Return whether both could be one message, delivered twice.

        What the broker writes anew with each delivery is left aside, and nothing else: two that
        differ in anything that a handler can see are two.
        """
        return (
            (self.body, self.exchange, self.routing_key)
            == (other.body, other.exchange, other.routing_key)
            and _said(self.raw) == _said(other.raw)
            and _sent(self.headers) == _sent(other.headers)
        )

    def goes_on_as(self, again: Self) -> bool:
        """Be settled as a later delivery of the same message from now on.

        Returns:
            False where somebody has settled this one already, so that the later one is left.
        """
        if self.is_settled:
            return False
        self.channel, self.tag = again.channel, again.tag
        self._delivered, self.redelivered = again._delivered, again.redelivered
        # Who holds aio-pika's message already, a handler perhaps, settles the later one by it.
        for message in filter(None, (self._message, self._outer)):
            for name in (_CHANNEL, "delivery_tag", "consumer_tag", "redelivered"):
                object.__setattr__(message, name, getattr(again.message, name))
        return True

    @property
    def origin(self) -> str:
        """Return where it was published to, as text for people."""
        return str(Route(self.exchange, self.routing_key))

    @property
    def is_called(self) -> bool:
        """Return whether it came through aio-pika's callback, which somebody may have wrapped."""
        return self._outer is not None

    @property
    def is_open(self) -> bool:
        """Return whether it is there to be settled: neither lost nor settled."""
        return not (self.is_lost or self.is_settled)

    @property
    def may_be_lost(self) -> bool:
        """Return whether the broker may have it back without anybody knowing of it here."""
        return False

    @property
    def is_settled(self) -> bool:
        """Return whether it was given back, or settled through aio-pika, by its handler perhaps."""
        made, outer = self._message, self._outer
        return (
            self._is_given_back
            or (made is not None and made.processed)
            or (outer is not None and outer.processed)
        )

    @property
    def is_returned(self) -> bool:
        """Return whether its handler has put it back into its queue, so that it comes again."""
        return self._message is not None and self._message.returned

    @property
    def is_lost(self) -> bool:
        """Return whether its channel is closed, so that the broker has it back already."""
        return self.channel is None or bool(self.channel.is_closed)

    def given_back(self) -> None:
        """Note that the broker is told to take it back."""
        self._is_given_back = True
        self.settled()

    def settled(self) -> None:
        """Note on aio-pika's messages that it is settled: who tries again is told, as ever."""
        for each in (self._message, self._outer):
            if each is not None:
                object.__setattr__(each, _PROCESSED, True)


def _delivered(message: AbstractIncomingMessage) -> DeliveredMessage:
    """Return what aio-pika made a message of; what came is not measured again."""
    delivery = Basic.Deliver()
    delivery.consumer_tag, delivery.delivery_tag = message.consumer_tag, message.delivery_tag
    delivery.redelivered = bool(message.redelivered)
    delivery.exchange, delivery.routing_key = message.exchange or "", message.routing_key or ""
    header = ContentHeader(body_size=len(message.body), properties=message.properties)
    channel = cast("Channel", channel_of(message))
    return DeliveredMessage(delivery=delivery, header=header, body=message.body, channel=channel)


def _of_its_own(value: Any) -> Any:
    """Copy what can be changed: headers are made of tables, lists and byte arrays."""
    if isinstance(value, dict):
        return {name: _of_its_own(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_of_its_own(item) for item in value]
    return bytearray(value) if isinstance(value, bytearray) else value


class DirectCallback(Protocol):
    """What aiormq calls for a delivery."""

    async def __call__(self, delivered: DeliveredMessage) -> None:
        """Take it."""
        ...


def _sent(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in headers.items()
        if name not in _COUNTS and not name.startswith(_STAMPS)
    }


def _said(properties: Basic.Properties) -> list[Any]:
    """Return all properties but the headers."""
    return [value for name, value in properties if name != "headers"]


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
    called = inner = current.args[0] if current.args else None
    if isinstance(called, FunctionType) and called.__code__ is _AIO_PIKAS_WRAPPER:
        inner = called.__wrapped__  # type: ignore[attr-defined]  # by its `functools.wraps`
    if called is registered or inner is registered:
        channel.consumers[tag] = direct


class _Probe:
    async def __call__(self) -> Any:
        """Be an object that is called, as a guarded consumer is."""


# One code object for all that it wraps; it has no name that could be imported.
_AIO_PIKAS_WRAPPER = getattr(ensure_awaitable(_Probe()), "__code__", None)
