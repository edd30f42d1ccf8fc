"""Tasks that outlive the handler they were started in, and publish in its caller's name.

A task inherits the caller of the handler that starts it. Children that the handler awaits are meant
to; a task that serves other messages as well would publish their work in the first caller's name,
and nobody can tell one from the other while the handler runs. When it ends, one can: who used its
lease, and goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from busauth._amqp.handling.plan import Handler
from busauth._callables import name_of
from busauth.audit import Event
from busauth.caller import Lease, Subject, acting, caller_in_scope, current_lease

T = TypeVar("T")

_handled: ContextVar[Event | None] = ContextVar("busauth_handled", default=None)
"""The message whose handler was about to run, in its own context."""


class TaskWatch:
    """Watches who publishes under the leases of handlers."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], str] = {}

    def begins(self, event: Event) -> None:
        """Take note, in a message's own context, that its handler is about to run."""
        _handled.set(event)

    def around(self, handler: Handler) -> Handler:
        """Return the handler, watched; called without a caller in scope, as it is."""

        @wraps(handler)
        async def watched(*given: Any, **named: Any) -> Any:
            if not caller_in_scope():
                return await handler(*given, **named)
            with acting(_WatchedLease(current_lease(), self, handler)):
                return await handler(*given, **named)

        return watched

    def check(self) -> None:
        """Fail if a task went on publishing; each is told once.

        Raises:
            AssertionError: says which tasks, and what to do.
        """
        __tracebackhide__ = True
        found, self._found = self._found, {}
        if found:
            raise AssertionError("\n".join(found.values()))

    def goes_on(self, task: asyncio.Task[Any], handler: Handler, event: Event | None) -> None:
        """Take note of a task that published under a lease, and outlives its handler."""
        name = name_of(handler)
        whose = "its caller" if event is None else event.subject
        message = "" if event is None else f", message {event.message_id} from {event.queue}"
        self._found[task.get_name(), name] = (
            f"the task {task.get_name()!r} was started in the handler {name}{message}; it "
            f"published in the name of {whose}, and goes on after that handler: what it does for "
            "other messages is published in that name as well, or not at all. Start it as nobody, "
            "`with as_nobody(): ...`, or await it before the handler returns (docs/tasks.md)"
        )


class _WatchedLease(Lease):
    """A handler's lease, that knows which other tasks have used it; the handler's own answers."""

    __slots__ = ("_event", "_handler", "_lease", "_others", "_over", "_own", "_watch")

    def __init__(self, lease: Lease, watch: TaskWatch, handler: Handler) -> None:
        super().__init__("", hop=lease.hop, published_at=lease.published_at, cause=lease.cause)
        self._lease, self._watch, self._handler = lease, watch, handler
        self._own, self._event = _current_task(), _handled.get()
        self._others: set[asyncio.Task[Any]] = set()
        self._over = False

    def token(self) -> str:
        task = _current_task()
        if task is not None and task is not self._own:
            self._others.add(task)
            self._look()
        return self._lease.token()

    @property
    def is_proven(self) -> bool:
        return self._lease.is_proven

    @property
    def is_transaction(self) -> bool:
        return self._lease.is_transaction

    async def subject(self) -> Subject:
        self.token()  # first: who asks has used it
        return await self._lease.subject()

    async def had(self, ask: Callable[[Subject], Awaitable[T]], what: str) -> T:
        self.token()
        return await self._lease.had(ask, what)

    async def fresh(self) -> str:
        self.token()
        return await self._lease.fresh()

    def end(self, why: str = "") -> None:
        """Look who goes on; the handler's own lease is ended by who opened it."""
        self._over = True
        self._look()

    def _look(self) -> None:
        for task in self._others if self._over else ():
            if not task.done() and not task.cancelling():
                self._watch.goes_on(task, self._handler, self._event)


def _current_task() -> asyncio.Task[Any] | None:
    """Return the running task; None in a thread, which its handler waits for."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None
