"""A sink that writes in a thread: who tells it an event never waits, and never fails for it."""

import asyncio
import atexit
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from busauth._retold import words_of
from busauth._sinks.waiting import Waiting
from busauth.audit import Event, Shipped, Sink
from busauth.clock import Clock, SystemClock
from busauth.errors import evidence

T = TypeVar("T")

MOST = 10_000
"""Events that wait to be written, at most: a few kilobytes each."""

CLOSING = 3.0
"""Seconds that a sink has for what waits when it is closed: after a service has drained, it is what
is left of the half minute that an orchestrator waits."""

_FIRST, _LONGEST = 0.5, 30.0
"""Seconds between attempts to write."""


class Writer(ABC, Generic[T]):
    """Writes events, in the thread of one sink."""

    @abstractmethod
    def encoded(self, item: Shipped) -> T:
        """Return what is written of one; an error costs this one alone."""

    @abstractmethod
    def write(self, items: list[T]) -> None:
        """Write them in order, and take out of the list what was written.

        Raises:
            Exception: whatever is wrong; what is left in the list is tried again.
        """

    def close(self) -> None:
        """Close what was opened; it is opened again where something is to be written."""


class ThreadedSink(Sink):
    """What sinks have in common: a bounded queue, and a thread that begins with the first event.

    What has no room, or cannot be written, is counted, and told in the log once a minute at most.
    """

    def __init__(self, name: str, writer: Writer[T], *, waiting: int, clock: Clock | None) -> None:
        monotonic = (clock or SystemClock()).monotonic
        self._name = name
        self._line = _Line(name, writer, lambda: Waiting(name, waiting, monotonic))
        # Nobody may close it: then what waits is written as it is forgotten, or the process ends.
        weakref.finalize(self, self._line.forgotten).atexit = False
        _LINES.add(self._line)

    def __repr__(self) -> str:
        return f"<{self._name}>"

    @property
    def dropped(self) -> int:
        """Return how many events were not written and never will be."""
        return self._line.waiting.dropped

    def __call__(self, event: Event) -> None:
        """Take an event; where too many wait, count it."""
        self.put(event)

    def put(self, item: Shipped) -> None:
        """Have something written."""
        self._line.put(item)

    async def close(self) -> None:
        """Write what waits, for three seconds at most; what is not written is counted and told."""
        await asyncio.to_thread(self._line.end, CLOSING)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Line(Generic[T]):
    """What waits, and the thread that writes it; it does not hold its sink, which is forgotten."""

    def __init__(self, name: str, writer: Writer[T], begin: Callable[[], Waiting[Shipped]]) -> None:
        self.waiting = begin()
        self._name, self._writer, self._begin = name, writer, begin
        self._thread: threading.Thread | None = None
        self._process, self._is_forked = os.getpid(), False

    def put(self, item: Shipped) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._is_forked = self._is_forked or self._thread is not None
            if (
                self._is_forked
            ):  # its thread is the parent's, which writes what waited; the lock may be
                self.waiting, self._thread = self._begin(), None
        if self._is_forked:
            self.waiting.refuse("it was used before this process was forked: make one after that")
            return
        if not self.waiting.put(item):
            return
        # A daemon, so that a disk that hangs keeps no process; `end` waits for it.
        self._thread = threading.Thread(
            target=self._work, args=(self._thread,), name=self._name, daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread is to be had now: the next event asks again
            self.waiting.left()
            self.waiting.tell(words_of(error))

    def end(self, seconds: float) -> None:
        """Have what waits written, and wait for that."""
        self.begin_to_end()
        self.wait_for_end(seconds)

    def begin_to_end(self) -> None:
        """Have what waits written, and the thread end after that."""
        if self._thread is not None and self._thread.is_alive():
            self.waiting.end()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until that is done; tell it where that takes longer."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():  # forgotten there by chance
            return
        thread.join(seconds)
        if thread.is_alive():
            self.waiting.tell(f"not closed within {CLOSING:g} s", at_once=True)

    def forgotten(self) -> None:
        """Do the same; no event loop in which its sink is forgotten by chance waits for it."""
        self.begin_to_end()
        if asyncio._get_running_loop() is None:  # noqa: SLF001 -- in a finalizer nothing may raise
            self.wait_for_end(CLOSING)

    def _work(self, before: threading.Thread | None) -> None:
        if before is not None and before.ident is not None:  # it closes what this one opens again
            before.join()
        while items := self.waiting.take():
            self._write(self._encoded(items))
        self._safely_close()
        self.waiting.tell_rest()

    def _encoded(self, items: list[Shipped]) -> list[T]:
        found = []
        for item in items:
            try:
                found.append(self._writer.encoded(item))
            except Exception as error:
                self.waiting.drop(1, _told(error))
        return found

    def _write(self, items: list[T]) -> None:
        """Write until it is done; while the sink is closed, once."""
        delay = _FIRST
        while items:
            try:
                self._writer.write(items)
            except Exception as error:
                if self.waiting.is_ending:
                    self.waiting.drop(len(items), _told(error))
                    return
                self.waiting.tell(_told(error))
                self.waiting.pause(delay)
                delay = min(_LONGEST, 2 * delay)

    def _safely_close(self) -> None:
        try:
            self._writer.close()
        except Exception as error:
            self.waiting.tell(_told(error))


_LINES: weakref.WeakSet[_Line[Any]] = weakref.WeakSet()
"""Those that may have something to write; a thread that writes keeps its own there."""


@atexit.register
def _end_all() -> None:
    """Have all write what waits as the process ends, which none of them keeps for longer."""
    lines, until = list(_LINES), time.monotonic() + CLOSING
    for line in lines:
        line.begin_to_end()
    for line in lines:
        line.wait_for_end(max(0.0, until - time.monotonic()))


def _told(error: Exception) -> str:
    return evidence(words_of(error)) or type(error).__name__
