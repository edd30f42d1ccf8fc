"""A service on the bus: its connections, its consumers, its publications, and how it stops.

Consuming and publishing use a connection each: a broker that is short of memory blocks connections
that publish, and acknowledgements must not be stuck behind that.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aiormq.abc import AbstractConnection
from yarl import URL

from busauth.amqp.consumer import GuardedConsumer
from busauth.amqp.guard import Guard
from busauth.amqp.intake import Binding, Intake
from busauth.amqp.options import BusOptions
from busauth.amqp.outbox import Body, Token
from busauth.amqp.plan import Handler
from busauth.amqp.topology import RetryLadder
from busauth.audit import LOGGER
from busauth.caller import caller_in_scope
from busauth.decision import Demand, Predicate
from busauth.errors import CallerError, ConfigurationError, PublishError
from busauth.late.expiry import Policies

_RECONNECT_SECONDS = 1.0
_PORTS = {"amqp": 5672, "amqps": 5671}


class Bus:
    """A service: guarded consumers, and publications on behalf of their callers.

    Args:
        url: the broker, ``amqp://`` or ``amqps://``.
        guard: what stands in front of every handler.
        service: this service's name, shown by the broker's management.
        options: prefetch, limits, retries, draining.
    """

    def __init__(
        self, url: str, *, guard: Guard, service: str, options: BusOptions | None = None
    ) -> None:
        self._url = _checked_url(url)
        self._guard = guard
        self._service = service
        self._options = options or BusOptions()
        self._intakes: dict[str, Intake] = {}
        self._consuming: AbstractRobustConnection | None = None
        self._publishing: AbstractRobustConnection | None = None
        self._stopped = asyncio.Event()

    def consumer(
        self,
        queue: str,
        *,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        allow: Predicate | None = None,
        on_expired: Policies | None = None,
        bindings: Iterable[Binding] = (),
    ) -> Callable[[Handler], GuardedConsumer]:
        """Decorate a handler that consumes a queue; see `Guard` for the arguments they share.

        Args:
            queue: declared with its neighbours when the bus starts.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            allow: a further check of the caller; must return True.
            on_expired: instead of the guard's policies.
            bindings: exchanges that the queue receives from, next to its own name.

        Raises:
            TypeError: a parameter of the handler cannot be injected.
            ConfigurationError: the queue has a consumer already, or the bus runs already.
        """
        if not isinstance(queue, str):
            raise TypeError('expected @bus.consumer("queue", ...): got the handler itself')

        def register(handler: Handler) -> GuardedConsumer:
            if queue in self._intakes or self._consuming is not None:
                raise ConfigurationError(
                    f"{queue!r}: expected one consumer a queue, registered before the bus starts"
                )
            consumer = self._guard.consumer(
                handler,
                queue=queue,
                demand=Demand.of(scopes, roles, allow),
                on_expired=on_expired,
                outlet=self._outlet,
                retries=RetryLadder(queue, self._options.retry),
            )
            self._intakes[queue] = Intake(consumer, tuple(bindings), self._options)
            return consumer

        return register

    async def publish(
        self, routing_key: str, body: Body, *, exchange: str = "", token: Token = None
    ) -> None:
        """Publish on behalf of the caller in scope, or of whoever `token` says.

        Args:
            routing_key: with the default exchange, the queue's name.
            body: a pydantic model (sent as JSON), bytes, or an `aio_pika.Message`.
            exchange: where to; default: the default exchange.
            token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.

        Raises:
            CallerError: no caller is in scope and none was given, or the handler has ended.
            NotGenuine, Untimely: the given token is malformed, or has expired.
            PublishError: the broker did not confirm that the message was routed.
        """
        outgoing = self._guard.outbox.prepare(body, token)
        await self._guard.send(await self._outlet(), outgoing, exchange, routing_key)

    async def run(self) -> None:
        """Consume until SIGINT, SIGTERM or `stop`, then drain.

        Raises:
            ConfigurationError: a queue exists with other arguments.
            ConnectionError: the broker cannot be reached at the start; later it is waited for.
        """
        try:
            async with self:
                with _signals(self.stop):
                    await self._stopped.wait()
        finally:
            self._stopped.clear()

    def stop(self) -> None:
        """Let `run` return, once the handlers have finished or the drain deadline has passed."""
        self._stopped.set()

    async def __aenter__(self) -> Self:
        """Connect, declare, consume; a caller in scope would be inherited by every callback."""
        if caller_in_scope():
            raise CallerError(
                "a bus cannot connect while a caller is in scope: every callback would inherit "
                "them; connect at start-up"
            )
        try:
            self._publishing = await self._connect("publish")
            self._consuming = await self._connect("consume")
            for intake in self._intakes.values():
                await intake.open(self._consuming)
        except BaseException:
            await self._disconnect()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop consuming, let handlers finish, disconnect; what is unsettled stays the broker's."""
        try:
            await self._drain()
        finally:
            await self._disconnect()

    async def _connect(self, purpose: str) -> AbstractRobustConnection:
        try:
            return await aio_pika.connect_robust(
                self._url,
                client_properties={"connection_name": f"{self._service} ({purpose})"},
                reconnect_interval=_RECONNECT_SECONDS,
            )
        except OSError as error:
            where = f"{self._url.host}:{self._url.port}"
            raise ConnectionError(
                f"{self._service}: no broker at {where}: {error}; is RabbitMQ running there?"
            ) from error

    async def _drain(self) -> None:
        intakes = self._intakes.values()
        for intake in intakes:
            await intake.close()
        try:
            async with asyncio.timeout(self._options.drain):
                await asyncio.gather(*(intake.idle() for intake in intakes))
        except TimeoutError:
            LOGGER.warning(
                "%s: handlers were still running after %g s; their messages stay with the broker",
                self._service,
                self._options.drain,
            )

    async def _disconnect(self) -> None:
        connections = [self._consuming, self._publishing]
        self._consuming = self._publishing = None
        closing = [connection.close() for connection in connections if connection is not None]
        await asyncio.gather(self._guard.close(), *closing, return_exceptions=True)

    async def _outlet(self, _message: AbstractIncomingMessage | None = None) -> AbstractConnection:
        """Return the publishing connection, waiting for it while it is being restored."""
        if self._publishing is None:
            raise PublishError("the bus is not connected: use `async with bus` or `bus.run()`")
        timeout = self._guard.options.publish_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._publishing.ready()
        except TimeoutError as error:
            raise PublishError(f"the broker is out of reach for {timeout:g} s") from error
        if self._publishing.transport is None:
            raise PublishError("the connection to the broker was lost")
        return self._publishing.transport.connection


def _checked_url(url: str) -> URL:
    """Refuse what could never connect; a URL is not shown, it may hold a password."""
    parsed = URL(url)
    if parsed.scheme not in ("amqp", "amqps") or not parsed.host:
        raise ConfigurationError(
            f"url with scheme {parsed.scheme!r} and host {parsed.host!r}: expected amqp://host/ or "
            "amqps://host/"
        )
    return parsed if parsed.port else parsed.with_port(_PORTS[parsed.scheme])


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Stop on SIGINT and SIGTERM while inside."""
    loop = asyncio.get_running_loop()
    watched = (signal.SIGINT, signal.SIGTERM)
    for number in watched:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in watched:
            loop.remove_signal_handler(number)
