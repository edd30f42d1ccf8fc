"""Handlers that block run in threads, which nobody can cancel."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from busauth._amqp.handling.threads import NoThreadError, in_threads

WHO: ContextVar[str] = ContextVar("who")


class Gate:
    """Holds threads up until it is opened."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Semaphore(0)
        self.open = threading.Event()

    def pass_through(self, *, error: BaseException | None = None) -> str:
        self.loop.call_soon_threadsafe(self.begun.release)
        assert self.open.wait(20)
        if error is not None:
            raise error
        return "passed"


async def test_a_thread_has_a_copy_of_its_callers_context() -> None:
    """What is set where it is awaited is there, and what it sets stays in the thread."""

    def handler(*, add: str) -> tuple[str, bool]:
        before = WHO.get()
        WHO.set(before + add)
        return before, threading.current_thread() is threading.main_thread()

    WHO.set("alice")
    assert await in_threads(handler, 1)(add="!") == ("alice", False)
    assert WHO.get() == "alice"


async def test_there_are_no_more_threads_than_slots() -> None:
    """Threads are kept and used again."""
    names = set[str]()
    handler = in_threads(lambda: names.add(threading.current_thread().name), 2)
    await asyncio.gather(*(handler() for _ in range(50)))
    assert len(names) <= 2


async def test_what_returns_has_done_its_work_however_often_it_was_cancelled() -> None:
    """A cancellation waits for the thread; its task is not a cancelled one after that."""
    gate = Gate()
    task = asyncio.create_task(in_threads(gate.pass_through, 1)())
    await gate.begun.acquire()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    gate.open.set()
    assert await task == "passed"
    assert not task.cancelling()


async def test_what_raises_was_cancelled_if_it_was() -> None:
    """Nobody takes the error of a handler that was cut off for its own."""
    gate = Gate()
    task = asyncio.create_task(in_threads(gate.pass_through, 1)(error=ValueError()))
    await gate.begun.acquire()
    task.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("fails", [True, False])
async def test_a_limit_that_passes_meanwhile(fails: bool) -> None:
    """It is told as one where the thread has failed; what has returned is not undone by it."""
    gate, limit = Gate(), asyncio.timeout(None)

    async def limited() -> Any:
        async with limit:
            error = ValueError() if fails else None
            return await in_threads(gate.pass_through, 1)(error=error)

    task = asyncio.create_task(limited())
    await gate.begun.acquire()
    limit.reschedule(asyncio.get_running_loop().time())
    while not limit.expired():
        await asyncio.sleep(0)
    assert not task.done()
    gate.open.set()
    if fails:
        with pytest.raises(TimeoutError):
            await task
    else:
        assert await task == "passed"


async def test_what_has_not_begun_is_cancelled_at_once() -> None:
    """A call that waits for a thread never runs."""
    gate, ran = Gate(), []

    def handler(*, first: bool) -> None:
        ran.append(first)
        if first:
            gate.pass_through()

    handler_in_thread = in_threads(handler, 1)
    first = asyncio.create_task(handler_in_thread(first=True))
    await gate.begun.acquire()
    second = asyncio.create_task(handler_in_thread(first=False))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await first
    assert ran == [True]


async def test_what_has_no_thread_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no further thread can be begun, the call is over, and no other thread has it."""
    gate, ran = Gate(), []

    def handler(*, first: bool) -> None:
        ran.append(first)
        if first:
            gate.pass_through()

    handler_in_thread = in_threads(handler, 2)
    first = asyncio.create_task(handler_in_thread(first=True))
    await gate.begun.acquire()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(NoThreadError, match="no more"):
            await handler_in_thread(first=False)
    gate.open.set()
    await first
    await handler_in_thread(first=False)  # after whatever the pool has kept
    assert ran == [True, False]


def none_left(_: threading.Thread) -> None:
    raise RuntimeError("no more threads")


def stop() -> None:
    raise StopIteration("the end")


def give_up() -> None:
    raise asyncio.CancelledError


async def later() -> None:
    """Do nothing."""


def hand_on() -> Any:
    return later()


@pytest.mark.parametrize(
    ("handler", "error", "words"),
    [
        (stop, RuntimeError, "raised StopIteration"),
        (give_up, asyncio.CancelledError, None),
        (hand_on, TypeError, "returned what is to be awaited, expected an `async def`"),
    ],
)
async def test_whatever_a_thread_ends_with_is_told(
    handler: Callable[[], Any], error: type[BaseException], words: str | None
) -> None:
    """No error is lost, or waited for in vain; a coroutine that nobody awaits is one."""
    with pytest.raises(error, match=words):
        await in_threads(handler, 1)()
