"""Handlers that block, in threads: a bounded number, each with its caller.

A thread cannot be cancelled. What waits for one and is cancelled (by a deadline, with its channel,
by a loop that ends) goes on waiting until the thread has ended: its slot is held and its message
unsettled until then, so that no more of them run than there are slots. What has returned by then
has done its work, and is handled; what has raised was cancelled.

Where no thread begins, as the process may have no more of them or ends, nothing runs, then or
later.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps
from typing import Any, NamedTuple, cast

from busauth._callables import name_of, short_name_of
from busauth.errors import Deferred


class _Ended(NamedTuple):
    """How a call ended. An error is handed over as a value: no future takes a `StopIteration`."""

    result: Any
    error: BaseException | None = None


class NoThreadError(Deferred):
    """No thread could be begun, and no message is guilty of that."""


def in_threads(handler: Callable[..., Any], most: int) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return what runs a plain function in a thread and awaits its end.

    Its context is a copy of the one that awaits it: the caller, their lease, a trace. What it
    returns raises a `NoThreadError` where no thread can be begun.

    Args:
        handler: what blocks.
        most: threads at once; they are begun as they are needed, and stay.
    """
    pool = ThreadPoolExecutor(most, thread_name_prefix=f"busauth {short_name_of(handler)}")

    @wraps(handler, updated=())
    async def threaded(**arguments: Any) -> Any:
        running, context = Future[_Ended](), copy_context()

        def run() -> None:
            if running.set_running_or_notify_cancel():
                running.set_result(context.run(_called, handler, arguments))

        try:
            pool.submit(run)
        except RuntimeError as error:
            # A pool that cannot begin a thread keeps what it was given for those that it has.
            if running.cancel():
                raise NoThreadError(f"no thread for {name_of(handler)}: {error}") from error
        return await _result(running)

    threaded.__qualname__ = name_of(handler)  # a partial and an object have none
    return threaded


def _called(handler: Callable[..., Any], arguments: dict[str, Any]) -> _Ended:
    try:
        result = handler(**arguments)
    except BaseException as error:
        return _Ended(None, error)
    if not inspect.isawaitable(result):
        return _Ended(result)
    if inspect.iscoroutine(result):
        result.close()  # it never ran: a warning about that would name nobody
    what = f"{name_of(handler)} returned what is to be awaited, expected an `async def`"
    return _Ended(None, TypeError(what))


async def _result(running: Future[_Ended]) -> Any:
    """Return what a thread returns, however often this is cancelled meanwhile.

    Raises:
        BaseException: what it raised; a cancellation instead, if there was one.
    """
    waiting = asyncio.wrap_future(running)
    held: list[asyncio.CancelledError] = []
    while not waiting.done():
        try:
            await asyncio.wait((waiting,))
        except asyncio.CancelledError as cancelled:
            if running.cancel():  # not begun: it never will be
                raise
            held.append(cancelled)
    ended, task = waiting.result(), cast("asyncio.Task[Any]", asyncio.current_task())
    if ended.error is not None:
        raise held[-1] if held else ended.error
    for _ in held:
        task.uncancel()
    return ended.result
