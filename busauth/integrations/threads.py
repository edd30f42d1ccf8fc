"""Publishing from code that does not await (Django, Flask, scripts): a bus in a thread of its own.

```python
from busauth.integrations.threads import BusThread

publisher = BusThread(Bus("amqp://localhost/", guard=guard, service="web"))


def place_order(request: HttpRequest) -> HttpResponse:
    caller = publisher.authenticate(request.headers.get("Authorization"), timeout=5)
    publisher.publish("orders.placed", request.body, token=caller.bearer(), timeout=5)
    return HttpResponse(status=202)
```

Nothing starts before it is first used: a server that forks has a bus in each of its processes.
Whatever is called waits, for so many seconds at most, and raises what it would raise if awaited.
"""

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import CancelledError, Future
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from busauth._amqp.bus import Bus
from busauth._amqp.connecting.within import check_timeout
from busauth._amqp.publishing.outbox import Body, Token
from busauth._arguments import checked
from busauth._retold import retold
from busauth.audit import LOGGER
from busauth.caller import Caller
from busauth.errors import ConfigurationError, Deferred, PublishError

T = TypeVar("T")

_DRAIN = 10.0
"""Seconds for what is under way as it is closed."""

_LEAST = 0.001
"""Seconds: what is late already is given up by the bus itself, which says what became of it."""

_MOST = threading.TIMEOUT_MAX / 2
"""Seconds: years, and as long as a thread can wait for another one."""

_CLOSED = "the bus's thread was closed"


@dataclass(frozen=True, slots=True)
class _Asked:
    """How it is told that the bus's thread has not done what it was asked for.

    Attributes:
        kind: what is raised.
        undone: what is said where it was not begun.
        unknown: what is said where it was.
        grace: seconds for the bus to say itself, after its time, what became of it.
    """

    kind: type[PublishError | Deferred]
    undone: str
    unknown: str
    grace: float


_PUBLISHING = _Asked(
    PublishError, "it was not sent", "whether it was published is unknown: it may be yet", 1.0
)
_DECIDING = _Asked(Deferred, "nothing was decided", "nothing was decided", 0.0)


class _Life:
    """One thread with one event loop, from the bus's start to its stop.

    Attributes:
        begun: its loop, once the bus is connected; or why it is not.
        stopped: is set, in that loop, for it to stop.
        under_way: what is done for other threads.
    """

    def __init__(self, bus: Bus, over: Callable[["_Life"], None]) -> None:
        self.begun: Future[asyncio.AbstractEventLoop] = Future()
        self.stopped = asyncio.Event()
        self.under_way: set[asyncio.Task[Any]] = set()
        self._bus, self._over = bus, over
        # A daemon: Python would else wait for it before it lets anybody close it.
        self.thread = threading.Thread(target=self._run, name="busauth", daemon=True)

    def _run(self) -> None:
        try:
            Context().run(asyncio.run, self._live())  # as nobody, whoever has started it
        except BaseException as error:
            if not self.begun.done():
                self._over(self)  # first: who hears of it may try again at once
                self.begun.set_exception(error)
            elif not self.stopped.is_set():  # else the interpreter ends, and lets no thread begin
                LOGGER.error("the bus's thread has failed", exc_info=retold(error))
        finally:
            self._over(self)

    async def _live(self) -> None:
        async with self._bus:
            self.begun.set_result(asyncio.get_running_loop())
            await self.stopped.wait()
            if self.under_way:
                await asyncio.wait(self.under_way, timeout=_DRAIN)

    async def tracked(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that a stop waits for."""
        task = asyncio.current_task()
        if task is not None:
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        return await work()


class BusThread:
    """A bus that publishes, in a thread of its own, for all threads of a process.

    It starts as it is first used, or entered (``with BusThread(bus) as publisher:``), once for a
    process, and stops as it is closed, left, or as the process ends. A start that fails is tried
    again with the next call. What publishes inside a handler's thread (`asyncio.to_thread`) does so
    for the handler's caller, as it would by awaiting.

    A process that is forked before the first use has a thread and a connection of its own. One that
    is forked after it has neither, and is refused: the connection is its parent's.

    Args:
        bus: one without consumers; nobody else starts it.
    """

    @checked
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._guarded = threading.Lock()
        self._life: _Life | None = None
        self._parents: _Life | None = None
        self._is_closed = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_call, weakref.WeakMethod(self._forked)))
        atexit.register(_call, weakref.WeakMethod(self.close))

    def __repr__(self) -> str:
        return f"<BusThread of {self._bus!r}>"

    def publish(
        self,
        routing_key: str,
        body: Body,
        *,
        exchange: str = "",
        token: Token = None,
        recipient: str | None = None,
        body_type: Any = None,
        must_route: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Publish on behalf of the caller in scope, or of whoever `token` says; see `Bus.publish`.

        Args:
            routing_key: with the default exchange, the queue's name.
            body: as there.
            exchange: where to; default: the default exchange.
            token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.
            recipient: for whom the token is encrypted, where there are several.
            body_type: as there.
            must_route: as there.
            timeout: seconds until it is given up, the bus's start included; None for
                `GuardOptions.publish_timeout`.

        Raises:
            CallerError, NotGenuine, Untimely: as there.
            PublishError: the broker did not confirm that it was routed, or cannot be reached, or
                this was closed; where its fate is unknown, it says so.
            ConfigurationError: it cannot start as it is configured, it was started before this
                process was forked, or an event loop runs in this thread, which it would block.
        """
        until = self._until(timeout)

        def publishing() -> Awaitable[None]:
            return self._bus.publish(
                routing_key,
                body,
                exchange=exchange,
                token=token,
                recipient=recipient,
                body_type=body_type,
                must_route=must_route,
                timeout=max(until - time.monotonic(), _LEAST),
            )

        self._awaited(publishing, until, _PUBLISHING)

    def authenticate(
        self,
        authorization: str | None,
        *,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Caller:
        """Verify an HTTP request's ``Authorization`` value; see `Guard.authenticate`.

        Args:
            authorization: the header's value, None where there is none.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            timeout: seconds until it is given up; None for `GuardOptions.publish_timeout`.

        Raises:
            Refused: with its code and HTTP status.
            Deferred: the issuer's keys, or the broker, are out of reach; answer 503.
            ConfigurationError: as of `publish`.
        """
        until, guard = self._until(timeout), self._bus.guard
        asked = partial(guard.authenticate, authorization, scopes=scopes, roles=roles)
        return self._awaited(asked, until, _DECIDING)

    def close(self) -> None:
        """Stop, once what is under way is done, for ten seconds at most; nothing starts any more.

        Raises:
            ConfigurationError: an event loop runs in this thread, which it would block.
        """
        _check_no_loop("closed")
        with self._guarded:
            self._is_closed, life = True, self._life
        if life is None:
            return
        try:
            loop = life.begun.result(_DRAIN)
            loop.call_soon_threadsafe(life.stopped.set)
        except (Exception, CancelledError):  # it has not begun, or is over
            return
        life.thread.join(_DRAIN)

    def __enter__(self) -> Self:
        """Start, and wait until it is connected.

        Raises:
            PublishError, ConfigurationError: as of `publish`.
        """
        _check_no_loop("entered")
        self._begun(self._until(None), _PUBLISHING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.close()

    def _until(self, timeout: float | None) -> float:
        check_timeout(timeout)
        seconds = self._bus.guard.options.publish_timeout if timeout is None else timeout
        return time.monotonic() + min(seconds, _MOST)

    def _awaited(self, work: Callable[[], Awaitable[T]], until: float, asked: _Asked) -> T:
        """Have the bus's thread do something, with this thread's context, and wait for it."""
        _check_no_loop("called")
        life, loop = self._begun(until, asked)
        doing = life.tracked(work)
        try:  # the context goes along, and this thread's caller in it
            future = asyncio.run_coroutine_threadsafe(doing, loop)
        except RuntimeError as error:  # the loop was closed meanwhile
            doing.close()
            raise asked.kind(f"{_CLOSED}: {asked.undone}") from error
        try:
            return future.result(max(until - time.monotonic(), 0) + asked.grace)
        except CancelledError as error:
            raise asked.kind(f"{_CLOSED} meanwhile; {asked.unknown}") from error
        except TimeoutError as error:
            if future.done():
                raise
            raise asked.kind(f"the bus's thread did not answer; {asked.unknown}") from error
        finally:
            future.cancel()

    def _begun(self, until: float, asked: _Asked) -> tuple[_Life, asyncio.AbstractEventLoop]:
        """Return what runs, begun now where nothing does.

        Raises:
            BusauthError: it does not run, or not in time.
        """
        with self._guarded:
            self._check_may_begin(asked)
            life = self._life
            if life is None:
                life = _Life(self._bus, self._over)
                try:
                    life.thread.start()
                except RuntimeError as error:  # there are no more, or the interpreter ends
                    raise asked.kind(f"{error}: {asked.undone}") from error
                self._life = life
        try:
            return life, life.begun.result(max(until - time.monotonic(), 0))
        except TimeoutError as error:
            raise asked.kind(f"the bus was not connected in time: {asked.undone}") from error
        except OSError as error:  # a broker out of reach, or no more files for a loop
            raise asked.kind(f"{error}: {asked.undone}") from error

    def _check_may_begin(self, asked: _Asked) -> None:
        if self._is_closed:
            raise asked.kind(f"{_CLOSED}: {asked.undone}")
        if self._parents is not None:
            raise ConfigurationError(
                "the bus was started before this process was forked, and its connection is the "
                "parent's: expected its first use after that; do not publish while a server loads "
                "the application that it forks"
            )
        if self._bus.queues:
            raise ConfigurationError(
                f"{self._bus!r}: expected a bus without consumers, which only publishes: those "
                "are a service of their own, with `bus.run()`"
            )

    def _over(self, life: _Life) -> None:
        with self._guarded:
            if self._life is life:
                self._life = None

    def _forked(self) -> None:
        """Be the child's: only the thread that has forked is there, whoever held the lock."""
        self._guarded = threading.Lock()
        # Kept: whatever is done to the parent's loop in here, it would be done to its sockets, too.
        self._parents = self._parents or self._life
        self._life = None


def _check_no_loop(called: str) -> None:
    """Refuse to block an event loop.

    Raises:
        ConfigurationError: one runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        f"{called} where an event loop runs, which it would block: expected `await` and the bus "
        "itself there, or a thread, as of `asyncio.to_thread(...)`"
    )


def _call(method: "weakref.WeakMethod[Callable[[], None]]") -> None:
    """Call a method of an object that may be gone."""
    called = method()
    if called is not None:
        called()
