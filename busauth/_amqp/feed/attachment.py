"""One consumer on a stream: its messages in order, acknowledged in bulk, until it is detached.

A stream is read on a connection of its own, below aio-pika: a restored consumer would begin at the
offset that it first asked for, and an acknowledgement for each message would halve the speed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import aiormq.exceptions
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from yarl import URL

from busauth._amqp.connecting.connect import connected_below
from busauth._amqp.connecting.patience import answered, left
from busauth._amqp.connecting.sieve.tolerant import is_unreadable

_OFFSET = "x-stream-offset"
_OPEN_SECONDS = 30.0  # to connect and to attach, the broker's search for the offset included


class DetachedError(ConnectionError):
    """Nothing more will come; says why."""


class Reading(NamedTuple):
    """One message of a stream.

    Attributes:
        offset: its place.
        body: as it was published.
        arrived: when it came, on the monotonic clock; it was published before.
    """

    offset: int
    body: bytes
    arrived: float


class _Arrived(NamedTuple):
    message: DeliveredMessage
    at: float


class Attachment:
    """A consumer on a stream; see `attach`."""

    def __init__(
        self, connection: AbstractConnection, prefetch: int, monotonic: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._channel: AbstractChannel | None = None
        self._prefetch = prefetch
        self._arrived: asyncio.Queue[_Arrived | str] = asyncio.Queue()
        self._unacknowledged = 0
        connection.closing.add_done_callback(lambda _: self.detach("the connection was closed"))

    async def consume(self, stream: str, start: int | datetime | str) -> None:
        """Begin to read at an offset, or at what is not older than an instant.

        Raises:
            aiormq.exceptions.AMQPError: there is no such stream, or it must not be read.
        """
        channel = self._channel = await self._connection.channel()
        channel.closing.add_done_callback(lambda _: self.detach("the channel was closed"))
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        await channel.queue_declare(stream, passive=True)
        await channel.basic_qos(prefetch_count=self._prefetch)  # a stream takes no consumer without
        await channel.basic_consume(stream, self._take, arguments={_OFFSET: start})

    async def read(self) -> Reading:
        """Return the next message; the one before it is done with.

        Raises:
            DetachedError: there will be none.
        """
        while True:
            # Four times a window, so that the broker always has room to send ahead.
            is_due = self._unacknowledged % max(1, self._prefetch // 4) == 0
            if self._unacknowledged and (self._arrived.empty() or is_due):
                await self._acknowledge()
            arrived = await self._arrived.get()
            if isinstance(arrived, str):
                self._arrived.put_nowait(arrived)  # whoever asks once more is told the same
                raise DetachedError(arrived)
            message = arrived.message
            self._unacknowledged = message.delivery_tag or 0
            if is_unreadable(message):  # it lost its offset as well
                continue
            offset = (message.header.properties.headers or {}).get(_OFFSET)
            if not isinstance(offset, int):
                raise DetachedError("it is no stream: its messages have no offset")
            return Reading(offset, message.body, arrived.at)

    def detach(self, why: str) -> None:
        """Have `read` end once what has arrived was read."""
        self._arrived.put_nowait(why)

    async def close(self) -> None:
        """Close the connection."""
        await left(self._connection)

    async def _acknowledge(self) -> None:
        tag, self._unacknowledged = self._unacknowledged, 0
        if self._channel is not None:
            acknowledging = self._channel.basic_ack(tag, multiple=True, wait=False)
            # A lost channel is told by `read`, behind what has arrived.
            with suppress(aiormq.exceptions.AMQPError, ConnectionError):
                await answered(self._channel, acknowledging)

    async def _cancelled(self, _: object) -> None:
        self.detach("the stream was deleted")

    async def _take(self, message: DeliveredMessage) -> None:
        self._arrived.put_nowait(_Arrived(message, self._monotonic()))


async def attach(
    url: URL,
    stream: str,
    start: int | datetime | str,
    *,
    prefetch: int,
    monotonic: Callable[[], float],
) -> Attachment:
    """Connect, and consume a stream that exists.

    Args:
        url: the broker.
        stream: what to read.
        start: an offset, an instant before which nothing is wanted, or `first` or `last`.
        prefetch: messages that the broker sends ahead.
        monotonic: says when they came.

    Raises:
        ConnectionError, TimeoutError: the broker is out of reach.
        ConfigurationError: it can be reached, and waiting will not help.
        aiormq.exceptions.AMQPError: there is no such stream, or it must not be read.
    """
    async with asyncio.timeout(_OPEN_SECONDS):
        connection = await connected_below(url)
        attachment = Attachment(connection, prefetch, monotonic)
        try:
            await answered(connection, attachment.consume(stream, start), None)
        except BaseException:
            await attachment.close()
            raise
    return attachment


def since(seconds: float) -> datetime:
    """Return an instant as a stream takes it: whole seconds since the epoch."""
    return datetime.fromtimestamp(max(0, int(seconds)), UTC)
