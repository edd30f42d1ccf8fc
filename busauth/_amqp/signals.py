"""SIGINT and SIGTERM while a service runs: it is told, and so is whoever was told before.

Handlers are the links of a chain. Each is told and passes the signal on, so that one signal reaches
all services of a process, and the host's own handler behind them. A link whose service has stopped
is taken out, in whatever order they stop; behind the last of them is what the host had installed.
A host may have saved a link, and put it back when its service has stopped: then a signal does what
it would have done before that service began.

A loop's own handlers (`loop.add_signal_handler`) stay with their loop and are called as well.
"""

import asyncio
import functools
import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from busauth.audit import LOGGER

_WATCHED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def told_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have a service told of SIGINT and SIGTERM while inside.

    Outside of the main thread no signal can be had, which is said once, and nothing is done.

    Args:
        stop: is called from a signal handler.
    """
    links = [_Link(number, stop) for number in _WATCHED]
    try:
        for link in links:
            link.begin()
    except ValueError:  # Python's own word for another thread
        LOGGER.info(
            "a service runs outside of the main thread: signals do not stop it, stop() does"
        )
    try:
        yield
    finally:
        for link in links:
            link.end()


class _Link:
    def __init__(self, number: signal.Signals, tell: Callable[[], None]) -> None:
        self._number = number
        self._tell = tell
        self._has_begun = False
        self.is_over = False
        self._before: Any = signal.getsignal(number)

    @property
    def before(self) -> Any:
        """Return what a signal would meet without this link, and without those that are over."""
        return _living(self._before)

    def begin(self) -> None:
        """Take the handler's place, unless it is one that Python cannot put back.

        Raises:
            ValueError: this is not the main thread.
        """
        if self.before is not None:  # None where it was installed by C, and not by Python
            signal.signal(self._number, self)
            self._has_begun = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Tell the service, and then who was told before; once it has stopped, be them."""
        before = self.before
        if self.is_over and not callable(before):
            # A host has put this link back: what the system does is to end this process, as a rule.
            signal.signal(number, before)
            if before is signal.SIG_DFL:
                signal.raise_signal(number)
            return
        if not self.is_over:
            self._tell()
        if callable(before) and (self.is_over or not _only_ends(before)):
            before(number, frame)

    def end(self) -> None:
        """Take out what is over, down to the first that is not; a host's later handler stays."""
        self.is_over = True
        current = signal.getsignal(self._number)
        if self._has_begun and _living(current) is not current:
            signal.signal(self._number, _living(current))


def _living(handler: Any) -> Any:
    """Return the first handler of a chain that is no link, or whose service has not stopped."""
    while isinstance(handler, _Link) and handler.is_over:
        handler = handler.before
    return handler


def _only_ends(handler: Callable[..., object]) -> bool:
    """Return whether a handler is Python's or asyncio's, which end what shall be drained."""
    if isinstance(handler, functools.partial):  # as `asyncio.run` installs its own
        handler = handler.func
    asyncios = inspect.ismethod(handler) and isinstance(handler.__self__, asyncio.Runner)
    return asyncios or handler is signal.default_int_handler
