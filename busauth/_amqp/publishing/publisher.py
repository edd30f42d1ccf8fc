"""The one place where messages are published: own channels, confirmed, mandatory, within a frame.

A publication is over when the broker has confirmed that it was *routed*. A return, a negative
confirmation, a closed channel or a timeout is a `PublishError`. Where nobody need listen
(`Outgoing.must_route`) there is no return: the broker's confirmation is that it has seen to it.

What is given up is never written: a publication waits here, and not in a queue of frames, until
the broker takes it (docs/adr/0018). Once it is written nobody can call it back; given up then, its
fate is unknown, its error says so, and nothing with its message id is written until the broker has
answered.

Channels are this publisher's own (`lanes`), so that a mistake in a publication (an exchange that
does not exist closes the channel) disturbs no other: whoever shared its channel is told that their
own fate is unknown, and whoever had not been written goes out on the next channel.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import aiormq.exceptions
from aiormq.abc import AbstractConnection

from busauth._amqp.connecting.rights import WHERE
from busauth._amqp.connecting.within import Within
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import header_frame_size
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.lanes import Lanes, Sent
from busauth.errors import PublishError, evidence, held_by

Outlet = Callable[[Delivery], Awaitable[AbstractConnection]]
"""Returns the connection on which to publish about a message; may raise `PublishError`."""

_SURELY = 16 * 1024
"""Bytes: a frame of this size holds whatever is bounded by half of it, without measuring."""
_LARGE = 2**63
"""What a number on the wire stays below (AMQP 0-9-1, section 4.2.5.1): pamqp refuses the rest."""

_UNKNOWN = ", and whether it was published is unknown: it may be yet"
_UNSENT = ": it was not sent"
_DECLARE = (
    "expected an exchange that is there: declare it first (a consumer's Binding does so as its "
    "service starts), or check its name"
)


class ClosedTogetherError(PublishError):
    """Several were on their way on one channel when the broker closed it for one of them.

    What was published of them is unknown. Where twice is harmless, each may be sent again, apart.
    """


class Publisher:
    """Publishes on channels of its own.

    Args:
        timeout: seconds after which a publication is given up, where it says nothing else.
    """

    def __init__(self, *, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._lanes: dict[AbstractConnection, Lanes] = {}

    async def publish(
        self,
        connection: AbstractConnection,
        outgoing: Outgoing,
        *,
        exchange: str,
        routing_key: str,
        apart: bool = False,
        within: Within | None = None,
    ) -> None:
        """Return once the broker has confirmed that the message was routed, where it must be.

        Args:
            connection: on which.
            outgoing: what.
            exchange: where to.
            routing_key: with which key.
            apart: where no other publication of this publisher's is on its way.
            within: how long it may take.

        Raises:
            PublishError: it was not, or the confirmation did not come: then its fate is unknown.
            ClosedTogetherError: the channel was closed, and perhaps for another one.
        """
        outgoing.properties.message_id = outgoing.properties.message_id or uuid4().hex
        check_frame(outgoing, frame_max(connection))
        target = f"exchange {exchange!r}, routing key {routing_key!r}"
        if connection not in self._lanes:
            # each reconnection leaves one behind, whose lanes are of no more use
            living = {known: lanes for known, lanes in self._lanes.items() if not known.is_closed}
            self._lanes = {**living, connection: Lanes(connection)}
        lanes, sent = self._lanes[connection], None
        within = within or Within.of(None, self._timeout)
        try:
            async with within.limit():
                sent = await lanes.write(outgoing, exchange, routing_key, apart=apart)
                # given up, it stays in aiormq's books: the broker's answer is still to come
                await asyncio.shield(sent.answer)
        except asyncio.CancelledError as error:  # a closed connection cancels what is pending, too
            if was_cancelled():
                raise
            closed = f"the connection was closed{_UNKNOWN if sent else _UNSENT}"
            raise PublishError(f"{target}: {closed}") from error
        except Exception as error:  # aiormq rejects what is pending with whatever closed a channel
            _raise_if_shared(target, sent, error)
            why = _why(error, within, sent) if sent else _why_unsent(error, within)
            raise PublishError(f"{target}: {why}") from error


def _why(error: Exception, within: Within, sent: Sent) -> str:
    match error:
        case aiormq.exceptions.AMQPChannelError() if sent.is_kept_out(str(error)):
            return f"{error}: it was not published; {_way_in(error)}"
        case aiormq.exceptions.PublishError():
            return "returned as unroutable; declare the queue or bind one"
        case aiormq.exceptions.DeliveryError():
            return "refused by the broker (a full queue rejects publications)"
        case TimeoutError():
            return f"not confirmed within {within.seconds:g} s{_UNKNOWN}"
        case aiormq.exceptions.AMQPChannelError():
            return _words(error)
        case _:
            return f"{_words(error)}{_UNKNOWN}"


def _way_in(error: Exception) -> str:
    """Say what to do about an exchange that takes nothing."""
    if isinstance(error, aiormq.exceptions.ChannelNotFoundEntity):
        return _DECLARE
    if "internal exchange" in str(error):
        return "expected an exchange that is not internal, such as one that is bound to it"
    return f"expected that this user may write to it; {WHERE}"


def _why_unsent(error: Exception, within: Within) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"the broker took nothing for {within.seconds:g} s (it blocks publishers while its "
            f"memory or disk is short), or has not answered for this message id{_UNSENT}"
        )
    return f"{_words(error)}{_UNSENT}"


def _raise_if_shared(target: str, sent: Sent | None, error: Exception) -> None:
    """Raise for a channel that was closed with several on their way, and return for all else.

    The broker does not say which one it means. Whom its words cannot mean does not hear them.

    Raises:
        ClosedTogetherError: for this publication.
    """
    if not isinstance(error, aiormq.exceptions.AMQPChannelError):
        return
    if sent is None or sent.is_alone(error):
        return
    # Of an exchange that had taken something and is no more, some may have got in before that.
    is_gone = isinstance(error, aiormq.exceptions.ChannelNotFoundEntity) and not sent.is_first
    if sent.is_kept_out(str(error)) and not is_gone:
        return
    if not sent.may_be_meant(str(error)):
        what = "the broker closed its channel because of another publication"
        raise ClosedTogetherError(f"{target}: {what}{_UNKNOWN}") from None
    what = f"{_words(error)}; if another one was the cause{_UNKNOWN}"
    raise ClosedTogetherError(f"{target}: {what}") from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


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
        if isinstance(each, asyncio.CancelledError):
            ends = was_cancelled()  # else something that was awaited has ended, and not this task
        else:
            ends = isinstance(each, (KeyboardInterrupt, SystemExit, GeneratorExit))
        if ends:
            raise each


def frame_max(connection: AbstractConnection) -> int:
    """Return the negotiated frame size in bytes, 0 where there is no limit."""
    return int(connection.connection_tune.frame_max or 0)


def _at_most(headers: Mapping[str, Any]) -> float:
    """Bound the bytes of headers that are text and numbers; infinite where others are there."""
    # a character takes four bytes in UTF-8 at most; types, lengths and a number fit 16
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
        said = evidence(str(error))  # its words have the whole value, which may be a token
        raise PublishError(f"a header or property cannot be encoded: {said}") from None
    if limit and size > limit:
        raise PublishError(
            f"headers and properties take {size} bytes: expected at most {limit}, the negotiated "
            "frame; move data into the body"
        )
