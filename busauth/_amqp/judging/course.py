"""A course of work that stops where somebody else has to do something, and goes on after that.

A consumer calls its handler, and publishes its copies. Where somebody else does both, a consumer's
own course runs until it needs them, waits there while they do it, and runs on. It is one coroutine,
stepped by hand in the task of whoever awaits it: what it sets in the context is set for them, what
cancels them cancels it, and no second task can outlive them.
"""

from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from types import coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Needed:
    """What travels up in place of a future, from `needed` to the course's step."""

    what: Any


@coroutine
def needed(what: Any) -> Generator[_Needed, None, None]:
    """Stop a course until whoever runs it goes on, or fails it.

    Args:
        what: what they are to do.
    """
    yield _Needed(what)


class Course(Generic[T]):
    """A coroutine that is run from one stop to the next.

    Args:
        begin: returns what awaits `needed` somewhere; called as it first goes on.

    Attributes:
        is_over: whether it has returned or raised.
        result: what it has returned.
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._begin = begin
        self._running: Coroutine[Any, Any, T] | None = None
        self.is_over = False
        self.result: T | None = None

    @property
    def has_begun(self) -> bool:
        """Return whether it has gone on once."""
        return self._running is not None

    @coroutine
    def go_on(self, error: BaseException | None = None) -> Generator[Any, Any, Any]:
        """Run on, and return what is needed next, None once it is over.

        Args:
            error: what became of what it needed, raised where that is awaited; None where it is
                done.

        Raises:
            BaseException: what the course raises.
        """
        running = self._running = self._running or self._begin()
        step = partial(running.send, None) if error is None else partial(running.throw, error)
        while True:
            try:
                awaited = step()
            except StopIteration as ended:
                self.is_over, self.result = True, ended.value
                return None
            except BaseException:
                self.is_over = True
                raise
            if isinstance(awaited, _Needed):
                return awaited.what
            try:  # a future: the event loop's affair, and what comes of it is the course's
                step = partial(running.send, (yield awaited))
            except BaseException as thrown:
                step = partial(running.throw, thrown)
