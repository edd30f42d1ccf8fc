"""Every point at which a message's way can be broken off, numbered: where it waits for something.

A task of the message's (a delivery of it, one that such a task has begun, or one that is named) is
driven step by step. Whenever it hands a future to the loop it is suspended, and that is a point. At
one of them a bystander is called, who may cancel the task, have what it awaits fail, cut a
connection or kill the process.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage

from tests.exhaustive.virtual import VirtualLoop

_LASTING = ("reader", "writer", "heartbeat")
"""A connection's own tasks, which go on when the message is long forgotten."""

_SETTLING = ("basic_ack", "basic_nack", "basic_reject")


@dataclass(frozen=True)
class Point:
    """One suspension.

    Attributes:
        depth: 0 in the delivery's own task, 1 in one that it began, and so on.
        stack: qualified names of what is suspended, the outermost first; never empty.
        is_ours: whether the task itself is busauth's, and not the client library's.
        is_gathering: whether it waits for the end of other tasks, whatever that is.
    """

    depth: int
    stack: tuple[str, ...]
    is_ours: bool = False
    is_gathering: bool = False

    @property
    def is_publishing(self) -> bool:
        """Whether a copy may be on its way."""
        return self.stack[-1].endswith("Publisher.publish")  # it waits for what it has written

    @property
    def is_settling(self) -> bool:
        """Whether the broker may have been told by now."""
        return any(name.endswith(_SETTLING) for name in self.stack)

    @property
    def can_fail(self) -> bool:
        """Whether what is awaited may raise: time and gathered results do not."""
        return not self.is_gathering and self.stack[-2:] != ("LoopClock.sleep", "sleep")

    def __str__(self) -> str:
        return f"{'+' * self.depth}{' > '.join(self.stack[-3:])}"


Bystander = Callable[[Point], BaseException | None]
"""Is called at the chosen point; what it returns is raised there."""


@dataclass
class Suspensions:
    """Watches the tasks of one message.

    Attributes:
        body: what the message is known by: its body never changes.
        queue: where it is consumed, where others are called the same; None for wherever it is.
        chosen: at which point `bystander` is called; None for none.
        is_watching: whether points are numbered; those before do not count.
        points: all so far.
        failed: what the bystander itself failed with: whom it was called in may swallow that.
    """

    body: bytes
    chosen: int | None = None
    bystander: Bystander = lambda _point: None
    is_watching: bool = True
    queue: str | None = None
    points: list[Point] = field(default_factory=list)
    failed: Exception | None = None
    _current: "_Driven | None" = None

    def driven(self, coro: Any) -> Any:
        """Return what is to be a task instead of a coroutine: itself where it is nobody's."""
        if self._carries(coro):
            return _Driven(self, coro, 0)
        if self._current is None or getattr(coro, "__name__", "").endswith(_LASTING):
            return coro
        return _Driven(self, coro, self._current.depth + 1)

    def named(self, coro: Coroutine[Any, Any, Any]) -> "_Driven":
        """Return a coroutine that belongs to the message's way, for a task."""
        return _Driven(self, coro, 0)

    def _carries(self, coro: Any) -> bool:
        """Whether a coroutine was called with a delivery of the message."""
        frame = getattr(coro, "cr_frame", None)
        return frame is not None and any(map(self._is_it, frame.f_locals.values()))

    def _is_it(self, value: object) -> bool:
        if not isinstance(value, DeliveredMessage | AbstractIncomingMessage):
            return False
        return value.body == self.body and self.queue in (None, value.routing_key)

    def suspended(self, driven: "_Driven", awaited: object) -> BaseException | None:
        """Number a point; return what is to be raised at it."""
        if not self.is_watching:
            return None
        point = Point(
            driven.depth,
            tuple(_names(driven.inner)),
            is_ours=_is_ours(driven.inner),
            is_gathering=type(awaited).__name__ == "_GatheringFuture",
        )
        self.points.append(point)
        return self._called(point) if len(self.points) - 1 == self.chosen else None

    def _called(self, point: Point) -> BaseException | None:
        try:
            return self.bystander(point)
        except Exception as error:
            self.failed = error
            raise

    def check(self) -> None:
        """Raise what the bystander failed with: then nothing, or half of it, has happened."""
        if self.failed is not None:
            raise self.failed

    def stepping(self, driven: "_Driven | None") -> "_Driven | None":
        """Note who is stepping now; return who was before."""
        before, self._current = self._current, driven
        return before


def install(loop: asyncio.AbstractEventLoop, watches: list[Suspensions]) -> None:
    """Let all of them see every task that is made; a virtual loop remembers these."""
    made: list[asyncio.Task[Any]] = loop.tasks if isinstance(loop, VirtualLoop) else []

    def make(its_loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> "asyncio.Task[Any]":
        driven = next((each for watch in watches if (each := watch.driven(coro)) is not coro), coro)
        task: asyncio.Task[Any] = asyncio.Task(driven, loop=its_loop, **named)
        made.append(task)
        return task

    loop.set_task_factory(make)


class _Driven(Coroutine[Any, Any, Any]):
    """A coroutine whose suspensions are seen."""

    def __init__(self, watch: Suspensions, inner: Coroutine[Any, Any, Any], depth: int) -> None:
        self.inner, self.depth = inner, depth
        self._watch = watch

    def send(self, value: Any) -> Any:
        return self._step(self.inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self.inner.throw, *error)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("made for a task")

    def _step(self, resume: Callable[..., Any], *given: Any) -> Any:
        before = self._watch.stepping(self)
        try:
            awaited = resume(*given)
        finally:
            self._watch.stepping(before)
        error = self._watch.suspended(self, awaited)
        if error is None:
            return awaited
        if awaited is not None:
            awaited._asyncio_future_blocking = False  # nobody waits for it any more
        return self._step(self.inner.throw, error)


def _names(coro: Any) -> Iterator[str]:
    """Name what is suspended, from the outermost coroutine to the innermost."""
    if _code(coro) is None:
        yield type(coro).__qualname__  # an object that is awaited, as aiormq's
    while (code := _code(coro)) is not None:
        yield code.co_qualname
        coro = coro.cr_await if hasattr(coro, "cr_await") else coro.gi_yieldfrom


def _code(coro: Any) -> Any:
    names = (name for name in ("cr_code", "gi_code") if hasattr(coro, name))
    return next((getattr(coro, name) for name in names), None)


def _is_ours(coro: Any) -> bool:
    code = getattr(coro, "cr_code", None)
    return code is not None and "/busauth/_amqp/" in code.co_filename
