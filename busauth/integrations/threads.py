"""Publishing from code that does not await: handlers that block, Django, Flask, scripts.

```python
from busauth.integrations.threads import BusThread

publisher = BusThread(Bus("amqp://localhost/", guard=guard, service="web"))


def place_order(request: HttpRequest) -> HttpResponse:
    caller = publisher.authenticate(request.headers.get("Authorization"), timeout=5)
    publisher.publish("orders.placed", request.body, token=caller.bearer(), timeout=5)
    return HttpResponse(status=202)
```

A bus that runs is asked in its event loop. One that does not, and has no consumers, is started in a
thread of its own, and not before it is first used: a server that forks has a bus in each of its
processes. Whatever is called waits, for so many seconds at most, and raises what it would raise if
awaited.
"""

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, Future, wait
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from busauth._amqp.bus import Bus
from busauth._amqp.connecting.within import check_timeout
from busauth._amqp.publishing.outbox import Body, Token
from busauth._arguments import checked
from busauth._delegation.exchanging import OnwardToken
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

_LOOK = 0.5
"""Seconds between two looks whether a loop is still there: one that is closed tells nobody."""

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


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the bus lives at this moment.

    Attributes:
        loop: its event loop.
        does: makes of what is asked for what that loop runs.
        ended, mute: how it is told that the loop is no more, and that it did not answer.
    """

    loop: asyncio.AbstractEventLoop
    does: Callable[[Callable[[], Awaitable[Any]]], Coroutine[Any, Any, Any]]
    ended: str
    mute: str

    @classmethod
    def own(cls, life: _Life, loop: asyncio.AbstractEventLoop) -> Self:
        """Return the thread that was started for it."""
        return cls(loop, life.tracked, _CLOSED, "the bus's thread did not answer")

    @classmethod
    def elsewhere(cls, loop: asyncio.AbstractEventLoop) -> Self:
        """Return the loop where somebody else has started it, who says how long it lives."""
        has_ended = "the event loop where the bus ran has ended"
        return cls(loop, _done, has_ended, "the event loop where the bus runs did not answer")


class BusThread:
    """A bus for all threads of a process that cannot await it.

    Where the bus runs (`async with bus`, `bus.run()`), calls are handed over to its event loop.
    Where it does not, it is started in a thread of its own as this is first used, or entered
    (``with BusThread(bus) as publisher:``), once for a process, and stops as this is closed, left,
    or as the process ends. A start that fails is tried again with the next call. What publishes
    inside a handler's thread (a plain `def`, `asyncio.to_thread`) does so for the handler's caller,
    as it would by awaiting.

    A process that is forked before the first use has a thread and a connection of its own. One that
    is forked after it has neither, and is refused: the connection is its parent's.

    Args:
        bus: any; with consumers, one that somebody starts: it is not started for being called.
    """

    @checked
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._guarded = threading.Lock()
        self._life: _Life | None = None
        self._parents: _Life | asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_call, weakref.WeakMethod(self._forked)))
        bus.add_thread(self.rest)
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
        onward: OnwardToken | None = None,
        delay: float | None = None,
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
            onward: as there.
            delay: as there.
            timeout: seconds until it is given up, the bus's start included; None for
                `GuardOptions.publish_timeout`.

        Raises:
            CallerError, Refused, Deferred: as there.
            PublishError: the broker did not confirm that it was routed, or cannot be reached, or
                this was closed, or the bus has ended meanwhile; where its fate is unknown, it says
                so.
            ConfigurationError: it cannot start as it is configured, it has consumers and does not
                run, it was started before this process was forked, or an event loop runs in this
                thread, which it would block.
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
                onward=onward,
                delay=delay,
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
        """Verify an HTTP request's ``Authorization`` value, or ``Txn-Token``'s; see `Guard`.

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

        A bus that somebody else has started goes on.

        Raises:
            ConfigurationError: an event loop runs in this thread, which it would block.
        """
        _check_no_loop("closed")
        with self._guarded:
            self._is_closed = True
        self.rest()

    def rest(self) -> None:
        """Stop likewise, until the next call; `Bus.overridden` asks for it."""
        with self._guarded:
            life = self._life
        if life is None:
            return
        try:
            loop = life.begun.result(_DRAIN)
            loop.call_soon_threadsafe(life.stopped.set)
        except (Exception, CancelledError):  # it has not begun, or is over
            return
        life.thread.join(_DRAIN)

    def __enter__(self) -> Self:
        """Start, and wait until it is connected; a bus that runs already is left to run.

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
        """Have the bus's loop do something, with this thread's context, and wait for it."""
        _check_no_loop("called")
        home = self._begun(until, asked)
        doing = home.does(work)
        try:  # the context goes along, and this thread's caller in it
            future = asyncio.run_coroutine_threadsafe(doing, home.loop)
        except RuntimeError as error:  # the loop was closed meanwhile
            doing.close()
            raise asked.kind(f"{home.ended}: {asked.undone}") from error
        try:
            if _is_done(future, home.loop, max(until, time.monotonic()) + asked.grace):
                return future.result()  # type: ignore[no-any-return]
        except CancelledError as error:
            raise asked.kind(f"{home.ended} meanwhile; {asked.unknown}") from error
        finally:
            if not home.loop.is_closed():  # else nobody is there to be told
                future.cancel()
        said = f"{home.ended} meanwhile" if home.loop.is_closed() else home.mute
        raise asked.kind(f"{said}; {asked.unknown}")

    def _begun(self, until: float, asked: _Asked) -> _Home:
        """Return where it runs, begun now where nobody has.

        Raises:
            BusauthError: it does not run, or not in time.
        """
        with self._guarded:
            self._check_may_be_used(asked)
            life, loop = self._life, self._bus.loop
            if life is None and loop is not None:
                return _Home.elsewhere(loop)
            if life is None:
                life = self._life = self._started(asked)
        try:
            return _Home.own(life, life.begun.result(max(until - time.monotonic(), 0)))
        except TimeoutError as error:
            raise asked.kind(f"the bus was not connected in time: {asked.undone}") from error
        except OSError as error:  # a broker out of reach, or no more files for a loop
            raise asked.kind(f"{error}: {asked.undone}") from error

    def _started(self, asked: _Asked) -> _Life:
        if self._bus.queues:
            raise ConfigurationError(
                f"{self._bus!r} does not run, and is not started for being called: expected it "
                "started, by `async with bus` or `bus.run()`; or a bus without consumers, which "
                "only publishes"
            )
        life = _Life(self._bus, self._over)
        try:
            life.thread.start()
        except RuntimeError as error:  # there are no more, or the interpreter ends
            raise asked.kind(f"{error}: {asked.undone}") from error
        return life

    def _check_may_be_used(self, asked: _Asked) -> None:
        if self._is_closed:
            raise asked.kind(f"{_CLOSED}: {asked.undone}")
        if self._parents is not None:
            raise ConfigurationError(
                "the bus was started before this process was forked, and its connection is the "
                "parent's: expected its first use after that; do not publish while a server loads "
                "the application that it forks"
            )

    def _over(self, life: _Life) -> None:
        with self._guarded:
            if self._life is life:
                self._life = None

    def _forked(self) -> None:
        """Be the child's: only the thread that has forked is there, whoever held the lock."""
        self._guarded = threading.Lock()
        # Kept: whatever is done to the parent's loop in here, it would be done to its sockets, too.
        self._parents = self._parents or self._life or self._bus.loop
        self._life = None


async def _done(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _is_done(future: Future[Any], loop: asyncio.AbstractEventLoop, until: float) -> bool:
    """Wait for a loop's answer, as long as the loop is there; return whether there is one."""
    while not future.done() and not loop.is_closed() and (left := until - time.monotonic()) > 0:
        wait((future,), min(left, _LOOK))
    return future.done()


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
