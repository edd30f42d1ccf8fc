"""A message as any AMQP client received it, and as a consumer of busauth's sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp.connecting.sieve.frames import UNREADABLE
from busauth._amqp.delivery import Delivery
from busauth._arguments import kind_of
from busauth.errors import ConfigurationError

_TEXTS = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "user_id",
    "app_id",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message as it was received, all of it: what is left out, a proof or a seal may speak of.

    Headers and properties are as AMQP 0-9-1 (sections 1.8 and 4.2.5) names and clients decode them;
    they are its sender's, and whatever they are refuses the message and raises nothing.

    Attributes:
        body: its bytes, as they came.
        exchange, routing_key: where to and with which key it was published, as its delivery says.
        redelivered: the broker's word for whether it delivered this message before.
        queue: where it came from; None leaves that unchecked.
        headers: its headers table, None where there is none.
        content_type, content_encoding, delivery_mode, priority: properties of it, None for none.
        correlation_id, reply_to, expiration, message_id, type, user_id, app_id: likewise.
        timestamp: as a client decodes it: seconds since the epoch, or an instant.
        cluster_id: deprecated, and never looked at.
    """

    body: bytes = field(repr=False)
    exchange: Any
    routing_key: Any
    redelivered: bool
    queue: str | None = None
    headers: Mapping[str, Any] | None = field(default=None, repr=False)
    content_type: Any = None
    content_encoding: Any = None
    delivery_mode: Any = field(default=None, repr=False)
    priority: Any = None
    correlation_id: Any = field(default=None, repr=False)
    reply_to: Any = field(default=None, repr=False)
    expiration: Any = None
    message_id: Any = field(default=None, repr=False)
    timestamp: Any = None
    type: Any = field(default=None, repr=False)
    user_id: Any = field(default=None, repr=False)
    app_id: Any = field(default=None, repr=False)
    cluster_id: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes):
            raise ConfigurationError(
                f"Received(body=...): got {kind_of(self.body)}, expected bytes, as they came: a "
                "proof speaks of those"
            )
        if not isinstance(self.redelivered, bool):
            raise ConfigurationError(
                f"Received(redelivered=...): got {kind_of(self.redelivered)}, expected the "
                "broker's word, True or False"
            )


class InHand(Delivery):
    """A delivery that somebody else settles: it is open until they have put it back."""

    __slots__ = ("_is_put_back",)

    def __init__(self, delivered: DeliveredMessage) -> None:
        super().__init__(delivered)
        self._is_put_back = False

    def put_back(self) -> None:
        """Note that whoever has it in hand does not go on with it, so that it comes again."""
        self._is_put_back = True

    @property
    def is_called(self) -> bool:
        """Return True: what goes on where it is judged is around it."""
        return True

    @property
    def is_lost(self) -> bool:
        """Return False: whether its channel lives is known to others."""
        return False

    @property
    def may_be_lost(self) -> bool:
        """Return True: so it is, as long as it is in hand."""
        return True

    @property
    def is_settled(self) -> bool:
        """Return whether it was put back."""
        return self._is_put_back

    @property
    def is_returned(self) -> bool:
        """Return whether it was put back."""
        return self._is_put_back


def in_hand(message: Received | AbstractIncomingMessage, queue: str) -> InHand:
    """Return a message as a consumer sees it.

    Args:
        message: as it was received.
        queue: whose rules it is judged by.

    Raises:
        ConfigurationError: it was settled already, came from another queue, or is no message.
    """
    if isinstance(message, AbstractIncomingMessage) and message.processed:
        raise ConfigurationError(
            "got a message that was settled already, or consumed with no_ack=True: expected one "
            "that can still be given back"
        )
    return seen(message, queue)


def seen(message: Received | AbstractIncomingMessage, queue: str) -> InHand:
    """Return the same of a message that nobody is about to settle, for who only looks at it.

    Raises:
        ConfigurationError: it came from another queue, or is no message.
    """
    if isinstance(message, AbstractIncomingMessage):
        return InHand(_of_aio_pika(message))
    if not isinstance(message, Received):
        raise ConfigurationError(
            f"got {kind_of(message)}, expected a message of aio-pika's, or busauth.messages"
            ".Received(...) of another client's"
        )
    if message.queue not in (None, queue):
        raise ConfigurationError(
            f"got a message of queue {message.queue!r}, expected one of {queue!r}: each queue is "
            "judged by rules of its own, made with guard.judge(queue=...)"
        )
    return InHand(_delivered(message))


def _of_aio_pika(message: AbstractIncomingMessage) -> DeliveredMessage:
    header = ContentHeader(body_size=len(message.body), properties=message.properties)
    return _made(message.exchange, message.routing_key, bool(message.redelivered), header, message)


def _delivered(message: Received) -> DeliveredMessage:
    header = ContentHeader(body_size=len(message.body))
    if _is_readable(message):
        header.properties = _properties(message)
        return _made(message.exchange, message.routing_key, message.redelivered, header, message)
    # As what no client can decode: nothing of it is believed, and the bytes become a letter.
    header.weight, header.properties = UNREADABLE, Basic.Properties()
    return _made("", "", message.redelivered, header, message)


def _made(
    exchange: str | None,
    routing_key: str | None,
    redelivered: bool,  # noqa: FBT001 -- one of a delivery's own fields
    header: ContentHeader,
    message: Received | AbstractIncomingMessage,
) -> DeliveredMessage:
    delivery = Basic.Deliver()
    delivery.consumer_tag, delivery.delivery_tag = None, None  # they are somebody else's
    delivery.redelivered = redelivered
    delivery.exchange, delivery.routing_key = exchange or "", routing_key or ""
    return DeliveredMessage(
        delivery=delivery,
        header=header,
        body=message.body,
        channel=None,  # type: ignore[arg-type]
    )


def _is_readable(message: Received) -> bool:
    """Return whether its properties, its route and its headers' names are what AMQP allows."""
    headers = message.headers
    texts = [getattr(message, name) for name in _TEXTS]
    return (
        all(each is None or isinstance(each, str) for each in (*texts, message.type))
        and isinstance(message.exchange, str)
        and isinstance(message.routing_key, str)
        and (headers is None or isinstance(headers, Mapping))
        and all(isinstance(name, str) for name in headers or ())
        and all(each is None or isinstance(each, int) for each in _numbers(message))
        and (message.timestamp is None or isinstance(message.timestamp, int | datetime))
    )


def _numbers(message: Received) -> tuple[Any, Any]:
    return message.delivery_mode, message.priority


def _properties(message: Received) -> Basic.Properties:
    said = {name: getattr(message, name) for name in _TEXTS}
    properties = Basic.Properties(headers=dict(message.headers or {}), **said)
    # Past its constructor, which takes two modes only: no other one is looked at.
    properties.delivery_mode, properties.priority = _numbers(message)
    properties.message_type, properties.timestamp = message.type, _instant(message.timestamp)
    return properties


def _instant(said: int | datetime | None) -> datetime | None:
    """Return an instant in UTC, as the wire means it; None where there is no such year."""
    if isinstance(said, datetime):
        return said.replace(tzinfo=UTC) if said.tzinfo is None else said
    try:
        return None if said is None else datetime.fromtimestamp(said, UTC)
    except (ValueError, OverflowError, OSError):
        return None
