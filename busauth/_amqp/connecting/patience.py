"""Waiting for the client library, and no longer than there is somebody to answer.

Where a connection is reset in mid-call, aiormq waits for ever for a writer that is gone:
without regard to its own timeout, and cancelled as well. So a call runs in a task of its own, which
is left behind when its channel or connection is closed, or after a while.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any, Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

from aiormq.abc import AbstractChannel, AbstractConnection, ChannelFrame
from aiormq.exceptions import AMQPChannelError

T = TypeVar("T")
C = TypeVar("C", bound="_Closable")

ANSWER = 30.0
"""Seconds that a broker has for one answer."""

GOODBYE = 5.0
"""Seconds that it has for the answer to a farewell."""


_ONCE_MORE, _TIMES = 0.1, 50
"""Seconds after which what was left behind and has not ended is cancelled again; how often."""


class UnansweredError(ConnectionError, TimeoutError):
    """The broker has not answered in time."""


class _Closable(Protocol):
    def close(self) -> Awaitable[Any]: ...


@runtime_checkable
class _Abortable(Protocol):
    """A connection of ours, which knows its sockets."""

    def abort(self) -> None: ...


async def closed(by: _Closable, seconds: float = GOODBYE) -> None:
    """Close a channel or a connection; whoever does not answer in time is left behind.

    A connection of ours leaves no socket open, in time or not, and cancelled as well: also none
    that the client library had made and not yet taken.

    Raises:
        UnansweredError: there was no answer.
    """
    task = asyncio.ensure_future(by.close())
    task.add_done_callback(heard)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        leave_behind(task)
        if isinstance(by, _Abortable):  # aiormq closes a socket only once it has written all
            by.abort()
    if not done:
        raise UnansweredError(f"no answer in {seconds:g} s")
    task.result()


async def left(by: _Closable) -> None:
    """Close a channel or a connection that is of no use any more, whatever becomes of that."""
    with suppress(Exception):  # it is of no use: nobody could do anything about it
        await closed(by)


@asynccontextmanager
async def leaving(by: C) -> AsyncIterator[C]:
    """Leave a channel or a connection in the end."""
    try:
        yield by
    finally:
        await left(by)


async def answered(
    by: AbstractChannel | AbstractConnection,
    call: Awaitable[T],
    seconds: float | None = ANSWER,
) -> T:
    """Return what a call of the client library returns.

    Args:
        by: the channel or the connection that it is made on.
        call: the call.
        seconds: how long it may take: a call that is given up takes its channel along. None on a
            channel that nobody would open again; heartbeats tell when there is nobody any more.

    Raises:
        ConnectionError: it was closed before there was an answer.
        aiormq.exceptions.AMQPChannelError: likewise, and the broker has said why.
        UnansweredError: there was none in time.
    """
    task, closing = asyncio.ensure_future(call), by.closing
    task.add_done_callback(heard)
    try:
        waited = {task, closing}
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if closing.done():
            # The broker's word where a channel has one, which the call may not have heard yet.
            error = None if closing.cancelled() else closing.exception()
            if isinstance(error, AMQPChannelError):
                raise error
            raise ConnectionError("closed before there was an answer")
        raise UnansweredError(f"no answer in {seconds:g} s")
    finally:
        leave_behind(task)
        if not by.is_closed:
            closing.cancel()  # each `closing` is a future of its own, which would be kept otherwise


_DRAINS: WeakKeyDictionary[AbstractConnection, "asyncio.Task[None]"] = WeakKeyDictionary()
"""What is on its way through the queue of each connection, which all who write there share."""


async def drained(connection: AbstractConnection) -> None:
    """Return once what was written before is on its way, and the socket takes more.

    All who wait share one frame of no bytes in the connection's queue, so that those who give up
    do not fill it.

    Raises:
        ConnectionError: the connection was closed.
    """
    earlier = _DRAINS.get(connection)
    if earlier is not None:  # it may have begun before what was written last
        await _through(connection, earlier)
    draining = _DRAINS.get(connection)
    if draining is None:
        passing = answered(connection, _passed(connection), None)
        # It is everybody's, and so in nobody's context: a caller must not be kept by it.
        draining = _DRAINS[connection] = asyncio.create_task(passing, context=Context())
        draining.add_done_callback(lambda _: _DRAINS.pop(connection, None))
        draining.add_done_callback(heard)
    await _through(connection, draining)


async def _passed(connection: AbstractConnection) -> None:
    passed = connection.create_future()
    frame = ChannelFrame(payload=b"", should_close=False, drain_future=passed)
    await connection.write_queue.put(frame)
    await passed


async def _through(connection: AbstractConnection, draining: "asyncio.Task[None]") -> None:
    await asyncio.wait({draining})  # others wait for it as well, so that it is not cancelled here
    if connection.is_closed or draining.cancelled():
        raise ConnectionError("the connection was closed")
    draining.result()


def is_unblocked(connection: AbstractConnection) -> bool:
    """Return whether no alarm of the broker's blocks publications, as far as it has said so."""
    asking = connection.ready()  # aiormq keeps the event itself private
    try:
        asking.send(None)  # one step and no loop: where it would wait, it is blocked
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


def leave_behind(task: "asyncio.Future[Any]", times: int = _TIMES) -> None:
    """Cancel a call that nobody waits for, and once more while it holds on: it must end some time.

    A close that is cut off swallows one cancellation, and waits for its connection's end, which
    nobody may tell it any more. Left at that, it would keep the event loop from being closed.
    """
    if task.done():
        return
    task.cancel()
    if times > 1:
        task.get_loop().call_later(_ONCE_MORE, leave_behind, task, times - 1)


def heard(task: "asyncio.Future[Any]") -> None:
    """What nobody waits for any more has nobody to tell of its end."""
    if not task.cancelled():
        task.exception()
