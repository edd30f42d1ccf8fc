"""The one place where messages are published: own channels, confirmed, mandatory, within a frame.

A publication is over when the broker has confirmed that it was *routed*. A return, a negative
confirmation, a closed channel or a timeout is a `PublishError`.

What is given up is never written: a publication waits here, and not in a queue of frames, until
the broker takes it (docs/adr/0018). Once it is written nobody can call it back; given up then, its
fate is unknown, its error says so, and nothing with its message id is written until the broker has
answered.

Channels are this publisher's own and of one purpose each, so that a mistake in a handler's
publication (an exchange that does not exist closes the channel) cannot disturb a dead letter.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast
from uuid import uuid4

import aiormq
import aiormq.exceptions
from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth.amqp.copies import Outgoing
from busauth.amqp.delivery import Delivery
from busauth.amqp.headers import header_frame_size
from busauth.amqp.patience import answered
from busauth.errors import PublishError, held_by

Outlet = Callable[[Delivery], Awaitable[AbstractConnection]]
"""Returns the connection on which to publish about a message; may raise `PublishError`."""


_SURELY = 16 * 1024
"""Bytes: a frame of this size holds whatever is bounded by half of it, without measuring."""
_LARGE = 2**63

_AHEAD = 64 * 1024
"""Bytes that are written before it is asked again whether the socket takes more."""

_UNKNOWN = ", and whether it was published is unknown: it may be yet"
_UNSENT = ": it was not sent"

_Answer = asyncio.Future[object]


class _Lane:
    """One channel of one connection, reopened when it was closed."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._channel: Channel | None = None
        self._room = 0
        self._in_flight: dict[str, asyncio.Future[None]] = {}

    async def write(self, outgoing: Outgoing, exchange: str, routing_key: str) -> _Answer:
        """Write in the order of asking, once the broker takes it, and return its answer to come.

        Cut off before this returns, nothing is written. Two messages with one id are never in
        flight together: aiormq tells a returned message by its id, and a sender may have chosen
        that id twice.
        """
        message_id = str(outgoing.properties.message_id)
        while (other := self._in_flight.get(message_id)) is not None:
            await asyncio.wait((other,))
        over = self._in_flight[message_id] = asyncio.get_running_loop().create_future()
        over.add_done_callback(lambda _: self._in_flight.pop(message_id))
        try:
            async with self._turn:
                channel = await self._taking()
                answer = self._write(channel, outgoing, exchange, routing_key)
        except BaseException:
            over.set_result(None)
            raise
        answer.add_done_callback(lambda _: over.set_result(None))
        return answer

    async def _taking(self) -> Channel:
        """Return the channel once what is put into its connection's queue is written at once."""
        while True:
            channel = self._channel
            if self._connection.is_closed:
                raise ConnectionError("the connection was closed")
            if not _is_unblocked(self._connection):
                await unblocked(self._connection)
            elif channel is None or channel.is_closed:
                opening = self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._channel = cast("Channel", await answered(self._connection, opening))
            elif self._room <= 0 or channel.write_queue.full():
                await drained(channel)
                self._room = _AHEAD
            else:
                return channel

    def _write(
        self, channel: Channel, outgoing: Outgoing, exchange: str, routing_key: str
    ) -> _Answer:
        """Do what `Channel.basic_publish` does, in one go: it cannot tell what was written."""
        header = ContentHeader(properties=outgoing.properties, body_size=len(outgoing.body))
        method = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        bodies = _split(outgoing.body, channel.max_content_size)
        frame = ChannelFrame.marshall(channel.number, [method, header, *bodies])
        channel.write_queue.put_nowait(frame)
        self._room -= len(frame.payload)
        channel.delivery_tag += 1
        answer = channel.confirmations[channel.delivery_tag] = channel.create_future()
        told, message_id = channel.message_id_delivery_tag, str(outgoing.properties.message_id)
        told[message_id] = channel.delivery_tag
        answer.add_done_callback(lambda _: told.pop(message_id, None))
        return answer


def _split(body: bytes, size: int) -> list[ContentBody]:
    """Return a body's frames; without a limit it is one."""
    size = size if size > 0 else len(body)
    return [ContentBody(body[start : start + size]) for start in range(0, len(body), size or 1)]


def _is_unblocked(connection: AbstractConnection) -> bool:
    """Return whether no alarm blocks publications: then aiormq's answer is there at once."""
    asking = connection.ready()
    try:
        asking.send(None)
    except StopIteration:
        return True
    finally:
        asking.close()
    return False


async def unblocked(connection: AbstractConnection) -> None:
    """Return once no alarm of the broker's blocks publications, or the connection is closed."""
    ready, closed = asyncio.ensure_future(connection.ready()), connection.closing
    try:
        await asyncio.wait((ready, closed), return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
        closed.cancel()


async def drained(channel: Channel) -> None:
    """Return once what was written before is on its way, and the socket takes more.

    A frame of no bytes goes through the connection's queue: given up, it leaves nothing behind.
    """
    passed = channel.create_future()
    await channel.write_queue.put(
        ChannelFrame(payload=b"", should_close=False, drain_future=passed)
    )
    await passed


class Publisher:
    """Publishes on channels of its own.

    Args:
        timeout: seconds after which a publication is given up.
    """

    def __init__(self, *, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._lanes: dict[AbstractConnection, _Lane] = {}

    async def publish(
        self, connection: AbstractConnection, outgoing: Outgoing, *, exchange: str, routing_key: str
    ) -> None:
        """Return once the broker has confirmed that the message was routed.

        Raises:
            PublishError: it was not, or the confirmation did not come: then its fate is unknown.
        """
        outgoing.properties.message_id = outgoing.properties.message_id or uuid4().hex
        check_frame(outgoing, frame_max(connection))
        target = f"exchange {exchange!r}, routing key {routing_key!r}"
        answer: _Answer | None = None
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._lane(connection).write(outgoing, exchange, routing_key)
                await asyncio.shield(answer)
        except asyncio.CancelledError as error:
            if was_cancelled():
                raise
            closed = f"the connection was closed{_UNKNOWN if answer else _UNSENT}"
            raise PublishError(f"{target}: {closed}") from error
        except Exception as error:  # aiormq rejects what is pending with whatever closed a channel
            why = self._why(error) if answer else self._why_unsent(error)
            raise PublishError(f"{target}: {why}") from error

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
                return f"not confirmed within {self._timeout:g} s{_UNKNOWN}"
            case aiormq.exceptions.AMQPChannelError():
                return f"{type(error).__name__}: {error}; if another one was the cause{_UNKNOWN}"
            case _:
                return f"{type(error).__name__}: {error}{_UNKNOWN}"

    def _why_unsent(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return (
                f"the broker took nothing for {self._timeout:g} s (it blocks publishers while its "
                f"memory or disk is short), or has not answered for this message id{_UNSENT}"
            )
        return f"{type(error).__name__}: {error}{_UNSENT}"


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


def raise_if_ending(error: BaseException) -> None:
    """Raise what ends this task or this process, also out of a group, and return for all others.

    Raises:
        BaseException: the task's own cancellation, or what no task may keep to itself.
    """
    for each in held_by(error):
        if _ends_us(each):
            raise each


def _ends_us(error: BaseException) -> bool:
    """Return whether an error ends this task or this process; all others leave it at work."""
    if isinstance(error, asyncio.CancelledError):
        return was_cancelled()
    return isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))


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
