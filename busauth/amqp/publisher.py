"""The one place where messages are published: own channels, confirmed, mandatory, within a frame.

A publication is over when the broker has confirmed that it was *routed*. A return, a negative
confirmation, a closed channel or a timeout is a `PublishError`.

Channels are this publisher's own and of one purpose each, so that a mistake in a handler's
publication (an exchange that does not exist closes the channel) cannot disturb a dead letter.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import aiormq
import aiormq.exceptions
from aiormq.abc import AbstractConnection
from aiormq.channel import Channel

from busauth.amqp.copies import Outgoing
from busauth.amqp.delivery import Delivery
from busauth.amqp.headers import header_frame_size
from busauth.errors import PublishError

Outlet = Callable[[Delivery], Awaitable[AbstractConnection]]
"""Returns the connection on which to publish about a message; may raise `PublishError`."""


_SURELY = 16 * 1024
"""Bytes: a frame of this size holds whatever is bounded by half of it, without measuring."""
_LARGE = 2**63


class _Lane:
    """One channel of one connection, reopened when it was closed."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._opening = asyncio.Lock()
        self._channel: Channel | None = None
        self._in_flight: dict[str, asyncio.Event] = {}

    async def channel(self) -> Channel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                opened = await self._connection.channel(
                    publisher_confirms=True, on_return_raises=True
                )
                self._channel = cast("Channel", opened)
            return self._channel

    @asynccontextmanager
    async def alone(self, message_id: str) -> AsyncIterator[None]:
        """Keep two messages with one id from being in flight together.

        aiormq tells a returned message by its id, and a sender may have chosen that id twice.
        """
        while (other := self._in_flight.get(message_id)) is not None:
            await other.wait()
        self._in_flight[message_id] = asyncio.Event()
        try:
            yield
        finally:
            self._in_flight.pop(message_id).set()


class Publisher:
    """Publishes on channels of its own.

    Args:
        timeout: seconds after which an unconfirmed publication counts as failed.
    """

    def __init__(self, *, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._lanes: dict[AbstractConnection, _Lane] = {}

    async def publish(
        self, connection: AbstractConnection, outgoing: Outgoing, *, exchange: str, routing_key: str
    ) -> None:
        """Return once the broker has confirmed that the message was routed.

        Raises:
            PublishError: it was not, or the confirmation did not come.
        """
        outgoing.properties.message_id = outgoing.properties.message_id or uuid4().hex
        check_frame(outgoing, frame_max(connection))
        target = f"exchange {exchange!r}, routing key {routing_key!r}"
        try:
            async with asyncio.timeout(self._timeout):
                await self._send(connection, outgoing, exchange, routing_key)
        except asyncio.CancelledError as error:
            if was_cancelled():
                raise
            raise PublishError(f"{target}: the connection was closed") from error
        except Exception as error:  # aiormq rejects what is pending with whatever closed a channel
            raise PublishError(f"{target}: {self._why(error)}") from error

    async def _send(
        self, connection: AbstractConnection, outgoing: Outgoing, exchange: str, routing_key: str
    ) -> None:
        lane = self._lane(connection)
        async with lane.alone(str(outgoing.properties.message_id)):
            channel = await lane.channel()
            await channel.basic_publish(
                outgoing.body,
                exchange=exchange,
                routing_key=routing_key,
                properties=outgoing.properties,
                mandatory=True,
                wait=False,  # the confirmation is what is waited for
            )

    def _lane(self, connection: AbstractConnection) -> _Lane:
        if connection not in self._lanes:
            living = {known: lane for known, lane in self._lanes.items() if not known.is_closed}
            self._lanes = {**living, connection: _Lane(connection)}
        return self._lanes[connection]

    def _why(self, error: Exception) -> str:
        match error:
            case aiormq.exceptions.PublishError():
                return "returned as unroutable; declare the queue or bind one"
            case aiormq.exceptions.DeliveryError():
                return "refused by the broker (a full queue rejects publications)"
            case TimeoutError():
                return f"not confirmed within {self._timeout:g} s"
            case _:
                return f"{type(error).__name__}: {error}"


async def connect_like(connection: AbstractConnection) -> AbstractConnection:
    """Open another connection to the same broker, as the same user.

    Raises:
        ConnectionError: the broker is out of reach.
    """
    context = connection.ssl_context if isinstance(connection, aiormq.Connection) else None
    return await aiormq.connect(connection.url, context=context)


def was_cancelled() -> bool:
    """Return whether this task itself was cancelled, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def frame_max(connection: AbstractConnection) -> int:
    """Return the negotiated frame size in bytes, 0 where there is no limit."""
    return int(connection.connection_tune.frame_max or 0)


def _at_most(headers: Mapping[str, Any]) -> float:
    """Bound the bytes of headers that are text and numbers; infinite where others are there."""
    total = 0
    for name, value in headers.items():
        if type(value) is str:
            total += 4 * (len(name) + len(value)) + 16
        elif type(value) is int and abs(value) < _LARGE:
            total += 4 * len(name) + 16
        else:
            return math.inf
    return total


def check_frame(outgoing: Outgoing, limit: int) -> None:
    """Refuse what the broker would close the whole connection for.

    Raises:
        PublishError: the properties and headers do not fit one frame, or cannot be encoded.
    """
    if limit >= _SURELY and _at_most(outgoing.properties.headers or {}) < _SURELY // 2:
        return  # the other properties are short strings
    try:
        size = header_frame_size(outgoing.properties)
    except (ValueError, TypeError, OverflowError) as error:
        raise PublishError(f"a header or property cannot be encoded: {error}") from error
    if limit and size > limit:
        raise PublishError(
            f"headers and properties take {size} bytes: expected at most {limit}, the negotiated "
            "frame; move data into the body"
        )
