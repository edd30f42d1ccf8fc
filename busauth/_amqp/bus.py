"""A service on the bus: its consumers, its publications, and how it stops."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, cast
from weakref import WeakMethod

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import AbstractConnection
from yarl import URL

from busauth._amqp.auditing.reporting import Reporting
from busauth._amqp.auditing.status import Status, status_of
from busauth._amqp.connecting.connections import Connections
from busauth._amqp.connecting.running import Phase, Running
from busauth._amqp.connecting.within import Within
from busauth._amqp.consuming.intake import Binding, Intake
from busauth._amqp.consuming.rules import ConsumerSpec
from busauth._amqp.delivery import Delivery
from busauth._amqp.guard import Guard
from busauth._amqp.handling.guarded import GuardedConsumer, P, R
from busauth._amqp.judging.foreseen import Foreseen
from busauth._amqp.judging.received import Received
from busauth._amqp.options import BusOptions
from busauth._amqp.publishing.batch import Publication, each_in_order
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.delays import Delays, check_delay
from busauth._amqp.publishing.onwards import Declared, OnwardRoutes
from busauth._amqp.publishing.outbox import Body, Token
from busauth._amqp.readiness import Readiness
from busauth._amqp.resending.again import Released
from busauth._amqp.signals import told_by_signals
from busauth._amqp.topology import RetryLadder, arguments_of
from busauth._arguments import checked, decorator
from busauth._callables import name_of
from busauth._delegation.exchanging import OnwardToken
from busauth._demand import Actors, Demand, Predicate
from busauth._expiry import Policies
from busauth._messages.proof import Proofs
from busauth._messages.statements import Operators
from busauth._tokens.asking.checking import any_of
from busauth.audit import LOGGER, Sink, cut_short
from busauth.caller import caller_in_scope
from busauth.errors import (
    CallerError,
    ConfigurationError,
    Deferred,
    NotAllPublished,
    PublishError,
)

_NOTHING_KEPT = (
    "%s: letters keep no token, so that what is refused cannot be sent again by its own: expected "
    'Guard(letters=Letters(keep_token=...)), or keep_token = "letters.jwk" in [letters]; '
    "`busauth keys new letters.jwk` makes the key"
)
_LOOK_SECONDS = 1.0
"""Seconds between two looks whether to stop, next to being woken for it."""


_UNPROVEN = (
    "onward: %s gets vouchers, and no proof that binds them to their messages, so that no consumer "
    "takes them: expected the guard to sign, MessageSecurity(signer=ProofSigner(...))"
)


@dataclass(frozen=True, slots=True)
class _Subscription:
    """What `Bus.consumer` was told, so that it can be said to another guard as well."""

    handler: Callable[..., Any]
    spec: ConsumerSpec
    bindings: tuple[Binding, ...]


class Bus:
    """A service: guarded consumers, and publications on behalf of their callers.

    Args:
        url: the broker, ``amqp://`` or ``amqps://``.
        guard: what stands in front of every handler.
        service: this service's name, shown by the broker's management.
        options: prefetch, limits, retries, draining.
        onward: where callers' tokens go, and as what: `busauth.delegation.Onward` and the like, by
            routing key on the default exchange, or by `Route`, the first that covers a publication
            counts. What is not named here gets no caller's token, and no message of a caller's.
            None: wherever it is published to, the caller's own token goes along.

    Attributes:
        guard: as given.
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        guard: Guard,
        service: str,
        options: BusOptions | None = None,
        onward: Declared | None = None,
    ) -> None:
        if not service.strip():
            raise ConfigurationError(f"service={service!r}: expected its name, such as 'orders'")
        _check_onward({} if onward is None else onward, guard)
        self._connections = Connections(url, service)
        self.guard = guard
        self._service = service
        self._options = options or BusOptions()
        self._onward = OnwardRoutes(onward)
        self._delays = Delays()
        self._subscriptions: dict[str, _Subscription] = {}
        self._intakes: dict[str, Intake] = {}
        self._running = Running(f"{service}: the bus", "one of `async with bus` and `bus.run()`")
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_run = False
        self._threads: set[WeakMethod[Callable[[], None]]] = set()
        self._reporting: Reporting | None = None

    def __repr__(self) -> str:
        return f"<Bus of {self._service!r}, consumes {', '.join(self._intakes) or 'nothing'}>"

    @property
    def options(self) -> BusOptions:
        """Return how it consumes, as given or by default."""
        return self._options

    @property
    def url(self) -> URL:
        """Return the broker, with the password where it was given one: not for logs."""
        return self._connections.url

    @property
    def queues(self) -> tuple[str, ...]:
        """Return the names of all queues that it declares."""
        options = self._options
        return tuple(
            name
            for queue, intake in self._intakes.items()
            for name in arguments_of(queue, options, parks=intake.consumer.parks)
        )

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the event loop that it lives in; None where it does not run."""
        return self._running.loop

    @property
    def ready(self) -> Readiness:
        """Return whether it is connected and consumes, as far as it knows: nobody is asked.

        For readiness probes: ``200 if bus.ready else 503``. ``str(bus.ready)`` says what stands in
        the way. A service that is not ready goes on by itself: it needs no restart.
        """
        if self._running.phase is Phase.STOPPING:
            return Readiness((f"{self._service} is stopping",))
        intakes = self._intakes.values() if self._connections.are_open else ()
        doubts = (doubt for intake in intakes if (doubt := intake.doubt()) is not None)
        return Readiness(tuple(dict.fromkeys((*self._connections.doubts(), *doubts))))

    def status(self) -> Status:
        """Return what it is doing just now, as far as it knows: nobody is asked.

        Its consumers, what they hold and what they wait for, how old keys and feed are.
        """
        phase = self._running.phase
        states = {Phase.RUNNING: "running", Phase.STOPPING: "stopping"}
        state = "stopped" if phase is None else states.get(phase, "starting")
        consumers = [intake.consumer for intake in self._intakes.values()]
        return status_of(self._service, state, self.guard.core, consumers)

    @decorator('@bus.consumer("queue", ...)')
    @checked
    def consumer(
        self,
        queue: str,
        *,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        actors: Actors | Iterable[str] | None = None,
        allow: Predicate | None = None,
        on_expired: Policies | None = None,
        introspect: bool = False,
        proofs: Proofs | None = None,
        bindings: Iterable[Binding] = (),
        deadline: float | None = None,
        on_redrive: Operators | None = None,
    ) -> Callable[[Callable[P, R]], GuardedConsumer[P, R]]:
        """Decorate a handler that consumes a queue; see `Guard` for the arguments they share.

        A plain function runs in a thread; its message is held until that has ended.

        The bus consumes by itself: metrics, locks and the like go below this decorator, around the
        handler, not around what it returns.

        Args:
            queue: declared with its neighbours when the bus starts.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            actors: who may act for the caller: names, or `busauth.delegation.Actors`; NO_ACTOR for
                nobody; None where it makes no difference.
            allow: a further check of the caller; must return True.
            on_expired: instead of the guard's policies.
            introspect: a token is proven with the keys at hand, and then its issuer is asked.
            proofs: instead of the guard's.
            bindings: exchanges that the queue receives from, next to its own name; proofs may say
                that messages were published to either.
            deadline: seconds after which the handler is cancelled, and its message tried again;
                instead of the guard's.
            on_redrive: whose word counts for a dead letter whose token is gone; see
                `busauth.letters.Operators`. Default: nobody's.

        Raises:
            TypeError: a parameter of the handler cannot be injected; or parentheses are missing.
            ConfigurationError: the queue has a consumer already, or the bus runs already; or what
                is said does not go together, as at a guard.
        """

        def register(handler: Callable[P, R]) -> GuardedConsumer[P, R]:
            self._check_new(queue)
            bound = tuple(bindings)
            spec = ConsumerSpec(
                queue=queue,
                demand=Demand.of(scopes, roles, allow, actors),
                on_expired=on_expired,
                introspect=introspect,
                proofs=proofs,
                routes=tuple(binding.route() for binding in bound),
                deadline=deadline,
                on_redrive=on_redrive,
            )
            subscription = _Subscription(handler, spec, bound)
            intake = self._intakes[queue] = self._intake(subscription)
            self._subscriptions[queue] = subscription
            return cast("GuardedConsumer[P, R]", intake.consumer)

        return register

    async def publish(
        self,
        routing_key: str,
        body: Body,
        *,
        body_type: Any = None,
        exchange: str = "",
        token: Token = None,
        recipient: str | None = None,
        must_route: bool = True,
        onward: OnwardToken | None = None,
        delay: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- given up, it is told what became of it
    ) -> None:
        """Publish on behalf of the caller in scope, or of whoever `token` says.

        Args:
            routing_key: with the default exchange, the queue's name.
            body: a pydantic model, dataclass, list or table (sent as JSON), a text, bytes, or an
                `aio_pika.Message`.
            body_type: what its consumer has it annotated as, such as ``list[Order]``, where that is
                more than its own type says; None for its own type.
            exchange: where to; default: the default exchange.
            token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.
            recipient: for whom the token is encrypted, where there are several.
            must_route: False where nobody need listen: then it is no error that no queue takes it.
            onward: which token goes on in place of the caller's own; None for what the bus
                declares. It is had before anything is sent; a given token is verified first.
            delay: seconds until it arrives at its queue, rounded up, at most 48 days; None for at
                once. What delays it is declared on first use (docs/delegation.md).
            timeout: seconds until it is given up, a wait for the broker or for that token included;
                None for `GuardOptions.publish_timeout`.

        Raises:
            CallerError: no caller is in scope and none was given, or the handler has ended.
            NotGenuine, Untimely: the given token is malformed, or has expired.
            Refused: ``exchange.…`` or ``token.revoked``: no token goes on, nothing was sent. A
                handler that lets this out is not tried again.
            Deferred: whether one does cannot be told now, nothing was sent. A handler that lets
                this out has its consumer paused, and its message given back.
            PublishError: the broker did not confirm that the message was routed, the body would not
                come back equal, or the bus lives in another event loop.
            ConfigurationError: nothing of this type can be a body; the bus declares where tokens go
                on, and not this; or it cannot be delayed so.
        """
        self._running.check_here("bus.publish(...)", PublishError)
        check_delay(delay, exchange)
        within, core = self._within(timeout), self.guard.core
        chosen = self._onward.of(onward, token, exchange, routing_key, body=body)
        outgoing = core.outbox.prepare(
            body,
            token,
            body_type=body_type,
            exchange=exchange,
            routing_key=routing_key,
            recipient=recipient,
            must_route=must_route,
            instead=await core.onwards.instead(chosen, token, routing_key, within),
        )
        outlet = await self._connections.outlet(within)
        way = await self._way(outlet, outgoing, routing_key, delay, within)
        await core.send(outlet, outgoing, exchange, routing_key, way=way, within=within)

    @checked
    async def publish_many(self, publications: Iterable[Publication]) -> None:
        """Publish a batch: in order, each confirmed, without a round trip for each.

        All are prepared before the first is sent, so that one which cannot be published for its
        token or its headers keeps back the whole batch. A token that goes on is had once for all
        that share it.

        Raises:
            CallerError, Refused, Deferred: as `publish`; nothing was sent.
            NotAllPublished: the broker did not confirm some; says which.
            PublishError: the bus is not connected, or lives in another event loop.
        """
        self._running.check_here("bus.publish_many(...)", PublishError)
        batch = tuple(publications)
        if not batch:
            return
        # They share the waits before the first is sent: the longest counts; then each has its own.
        default = self.guard.options.publish_timeout
        within = self._within(max(each.timeout or default for each in batch))
        instead = await self._instead(batch, within)
        prepared = [
            (each, self._prepared(each, token)) for each, token in zip(batch, instead, strict=True)
        ]
        try:
            outlet = await self._connections.outlet(within)
        except PublishError as error:  # told as of each, so that a batch fails in one way
            raise NotAllPublished(dict.fromkeys(range(len(prepared)), error)) from error
        ways = [
            await self._way(outlet, outgoing, each.routing_key, each.delay, within)
            for each, outgoing in prepared
        ]
        await each_in_order(
            partial(self._send, outlet, *each, way)
            for each, way in zip(prepared, ways, strict=True)
        )

    async def _instead(self, batch: tuple[Publication, ...], within: Within) -> list[str | None]:
        """Return the token that goes on with each, None for the caller's own."""
        chosen = [  # all of them first: nobody is asked for one that may not be published
            self._onward.of(
                each.onward, each.token, each.exchange, each.routing_key, body=each.body
            )
            for each in batch
        ]
        had: dict[tuple[Token, int], str | None] = {}
        for each, onward in zip(batch, chosen, strict=True):
            key = each.token, id(onward)
            if key not in had:
                had[key] = await self.guard.core.onwards.instead(
                    onward, each.token, each.routing_key, within
                )
        return [had[each.token, id(onward)] for each, onward in zip(batch, chosen, strict=True)]

    def _prepared(self, publication: Publication, instead: str | None) -> Outgoing:
        return self.guard.core.outbox.prepare(
            publication.body,
            publication.token,
            body_type=publication.body_type,
            exchange=publication.exchange,
            routing_key=publication.routing_key,
            recipient=publication.recipient,
            must_route=publication.must_route,
            instead=instead,
        )

    async def _send(
        self,
        outlet: AbstractConnection,
        publication: Publication,
        outgoing: Outgoing,
        way: tuple[str, str] | None,
    ) -> None:
        exchange, routing_key = publication.exchange, publication.routing_key
        within = self._within(publication.timeout)
        await self.guard.core.send(outlet, outgoing, exchange, routing_key, way=way, within=within)

    async def _way(
        self,
        outlet: AbstractConnection,
        outgoing: Outgoing,
        routing_key: str,
        delay: float | None,
        within: Within,
    ) -> tuple[str, str] | None:
        """Return by which exchange and routing key a message gets to its queue; None at once."""
        if delay is None:
            return None
        declares = self._options.declare
        return await self._delays.way(
            outlet,
            outgoing,
            routing_key,
            delay,
            clock=self.guard.clock,
            within=within,
            declares=declares,
        )

    async def release(self, queue: str, token: str) -> Released:
        """Send the messages again that were parked in front of a consumer for this caller.

        Args:
            queue: the consumer's queue.
            token: a fresh token of the caller's, raw.

        Raises:
            Refused: the token is not genuine, late, or revoked.
            Deferred: keys are out of reach, or somebody else takes from the parking queue.
            PublishError: the broker did not confirm one; it and all after it stay parked.
            ConfigurationError: no such consumer, or its guard cannot sign for a release; or the bus
                lives in another event loop.
        """
        self._running.check_here("bus.release(...)")
        if queue not in self._subscriptions:
            raise ConfigurationError(f"{queue!r} has no consumer here: expected one of its own")
        spec = self._subscriptions[queue].spec
        from busauth._amqp.resending.release import Release  # noqa: PLC0415 -- rarely needed

        release = Release(
            self._connections.url,
            guard=self.guard,
            queue=queue,
            routes=spec.routes,
            proofs=spec.proofs,
        )
        return await release.for_caller(token)

    async def foresee(self, queue: str, message: Received | AbstractIncomingMessage) -> Foreseen:
        """Return what the consumer of a queue would decide about a message now.

        Nothing happens; see `Guard.foresee`. The bus need not run.

        Args:
            queue: the consumer's queue.
            message: aio-pika's, or another client's as a `Received`.

        Raises:
            ConfigurationError: no such consumer, the message came from another queue or is none; or
                the guard's consumers run in another thread's event loop.
        """
        if queue not in self._intakes:
            known = " or ".join(sorted(self._intakes)) or "none"
            raise ConfigurationError(f"{queue!r} has no consumer here: expected {known}")
        return await self.guard.foresee(self._intakes[queue].consumer, message)

    async def run(self, *, signals: bool = True) -> None:
        """Consume until SIGINT, SIGTERM or `stop`, then drain.

        A signal stops every bus of the process that runs so, and is passed on to the host's own
        handler, which is put back once they drain. In a thread other than the main one, only `stop`
        ends it.

        Args:
            signals: False for hosts that mind signals themselves, and call `stop`.

        Raises:
            ConfigurationError: a queue exists with other arguments, or is not there and somebody
                else declares; a right is missing; the broker lets nobody in as the URL says; or an
                issuer contradicts what is configured; or the bus is running, starting or stopping
                already. An issuer that is out of reach is waited for.
            ConnectionError: the broker cannot be reached at the start; later it is waited for.
        """
        self._running.begin()
        self._loop = asyncio.get_running_loop()
        try:
            with ExitStack() as watched:
                if signals:  # handlers may run before all have begun
                    watched.enter_context(told_by_signals(self.stop))
                async with AsyncExitStack() as running:
                    if await self._begun():
                        running.push_async_exit(self._leave)
                        await self._until_stopped()
                        watched.close()  # a second signal ends a service that is draining
        finally:
            self._running.end()
            self._loop, self._stopped = None, asyncio.Event()  # the next loop may be another one
            self._has_run = True

    def stop(self) -> None:
        """Let `run` return, once the handlers have finished or the drain deadline has passed.

        It may be called from another thread, and from a signal handler. Before the first `run` it
        holds for that; said once more after a run has returned, it changes nothing for the next.
        """
        if self._loop is None:
            if not self._has_run:
                self._stopped.set()
            return
        with suppress(RuntimeError):  # the loop is closed: it has stopped
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _until_stopped(self) -> None:
        while not self._stopped.is_set():
            # Look now and then: a signal just before a loop begins to wait does not wake it.
            self.guard.core.shadows.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._stopped.wait()

    async def _begun(self) -> bool:
        """Begin to consume; return False where it was stopped before it could."""
        beginning = asyncio.ensure_future(self._enter())
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((beginning, stopped), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # It may have begun in this very turn: then somebody must stop what consumes.
            if await _begun_although_cancelled(beginning):
                await self._leave(None, None, None)
            raise
        finally:
            stopped.cancel()
        if not beginning.done():
            return await _begun_although_cancelled(beginning)
        beginning.result()
        return True

    async def declare(self) -> None:
        """Declare the queues of all consumers and those around them, and consume nothing.

        Raises:
            ConfigurationError: a queue exists with other arguments, or the bus runs already.
            ConnectionError: the broker cannot be reached.
        """
        self._running.check_idle(
            "a bus that runs declares its queues by itself; expected it before"
        )
        self._running.begin(Phase.DECLARING)
        try:
            connection = await self._connections.open(copies=False)
            with self._named():
                for intake in self._intakes.values():
                    await intake.declare(connection)
        except BaseException as error:
            cut_short(error)
            raise
        finally:  # it is idle again whatever becomes of the farewell
            try:
                await self._connections.close()
            finally:
                self._running.end()

    async def idle(self) -> None:
        """Return once nothing is left to do: no handler runs, and the queues are empty.

        What waits for a retry, or for a consumer that is paused, waits for time to pass and is not
        waited for. Meant for tests and for jobs that end; the bus must be running.

        Raises:
            ConfigurationError: the bus does not run, or lives in another event loop.
            aio_pika.exceptions.AMQPError: the broker does not answer, or a queue is gone.
        """
        self._running.check_here("bus.idle()")
        self._running.check_running()
        intakes = self._intakes.values()
        while True:
            # Counted on both sides: between two answers, a message may pass from queue to queue.
            taken = sum(intake.consumer.taken for intake in intakes)
            busy = [await intake.busy() for intake in intakes]
            if not any(busy) and taken == sum(intake.consumer.taken for intake in intakes):
                return

    def add_thread(self, end: Callable[[], None]) -> None:
        """Remember who may start it in a thread of its own, as long as they are there.

        Args:
            end: their method that ends this thread, if it runs, and waits for its end.
        """
        self._threads.add(WeakMethod(end, self._threads.discard))

    def end_threads(self) -> None:
        """End what `BusThread` has started, and wait for it; the next call starts it again.

        It blocks, for seconds where a broker does not answer.
        """
        for method in tuple(self._threads):
            if (end := method()) is not None:
                end()

    @contextmanager
    def overridden(self, *, url: str, guard: Guard, declares: bool = False) -> Iterator[None]:
        """Use another broker and another guard while inside, with the same consumers: for tests.

        A thread that `BusThread` has started ends as this begins, and as it ends: what it connected
        there is of no use on the other side. That is waited for (`end_threads`).

        Args:
            url: the broker.
            guard: what stands in front of the handlers there.
            declares: whether queues are declared even where `BusOptions.declare` leaves that to an
                operator, who has not been there.

        Raises:
            ConfigurationError: the bus runs.
        """
        self.end_threads()
        self._running.check_idle("a bus that runs cannot change its broker; expected it before")
        before = self._connections, self.guard, self._intakes, self._options
        self._connections, self.guard = Connections(url, self._service), guard
        if declares:
            self._options = self._options.model_copy(update={"declare": True})
        self._intakes = {
            queue: self._intake(subscription) for queue, subscription in self._subscriptions.items()
        }
        try:
            yield
        finally:
            self.end_threads()  # first: it closes what it has opened
            self._connections, self.guard, self._intakes, self._options = before

    async def __aenter__(self) -> Self:
        """Connect, declare, consume; a caller in scope would be inherited by every callback.

        Raises:
            ConfigurationError: as of `run`.
            ConnectionError: the broker cannot be reached.
            CallerError: a caller is in scope.
        """
        self._running.begin()
        try:
            await self._enter()
        except BaseException:
            self._running.end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop consuming, let handlers finish, disconnect; what is unsettled stays the broker's."""
        try:
            await self._leave(kind, error, trace)
        finally:
            self._running.end()

    async def _enter(self) -> None:
        if caller_in_scope():
            raise CallerError(
                "a bus cannot connect while a caller is in scope: every callback would inherit "
                "them; connect at start-up, or inside `with as_nobody():`"
            )
        self.guard.core.tell_unconsumed()
        waits_for = await self._checked()
        try:
            connection = await self._connections.open(copies=bool(self._intakes))
            with self._named():
                for intake in self._intakes.values():
                    await intake.open(connection, waits_for)
        except BaseException as error:  # cancelled as well: nothing half open is left
            await self._each(Intake.close)
            await self._disconnect()
            cut_short(error)
            raise
        if self._intakes and self.guard.core.letters.keep_token is None:
            LOGGER.info(_NOTHING_KEPT, self._service)
        if self._intakes:
            does = "consuming" if waits_for is None else f"waiting ({waits_for}), not yet consuming"
            LOGGER.info("%s: %s %s", self._service, does, ", ".join(self._intakes))
        self._running.phase = Phase.RUNNING
        sink = self.guard.core.auditor
        if isinstance(sink, Sink):
            sink.named(self._service)
            self._reporting = Reporting(sink, self.status, self.guard.clock)
            self._reporting.begin()

    async def _leave(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._running.phase = Phase.STOPPING
        LOGGER.info("%s: stopping", self._service)
        try:
            await self._drain()
            await self._each(Intake.leave)  # only now: a channel takes its unsettled messages along
        finally:  # cut off in its wait for handlers as well
            if self._reporting is not None:
                self._reporting.end()
            await self._disconnect()
            LOGGER.info("%s: stopped", self._service)

    async def _checked(self) -> Deferred | None:
        """Look before anything is consumed; return what all consumers must wait for."""
        if not self._intakes:  # who only publishes decides nothing
            return None
        self._warn_of_idle_slots()
        self.guard.core.claim_loop()
        away = await self.guard.check()
        return any_of(away) if self.guard.issuers <= away.keys() else None

    def _warn_of_idle_slots(self) -> None:
        prefetch = self._options.prefetch
        for queue, intake in self._intakes.items():
            if intake.consumer.concurrency > prefetch:
                LOGGER.warning(
                    "%s: prefetch=%d is below concurrency=%d of the consumer of %r: no more than "
                    "%d handlers run at once; expected BusOptions(prefetch=...) no lower",
                    self._service, prefetch, intake.consumer.concurrency, queue, prefetch,
                )  # fmt: skip

    def _check_new(self, queue: str) -> None:
        """Refuse a consumer that would not be one: each is begun as the bus starts."""
        self._running.check_idle(
            f"a consumer of {queue!r} would not begin; expected it registered before the bus starts"
        )
        if queue in self._subscriptions:
            name = name_of(self._subscriptions[queue].handler)
            raise ConfigurationError(
                f"queue {queue!r} has a consumer already, {name}: expected one consumer a queue; "
                "give this one a queue of its own"
            )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say whose queues they are that cannot be had."""
        try:
            yield
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._service}: {error}") from error.__cause__

    def _intake(self, subscription: _Subscription) -> Intake:
        spec = subscription.spec
        consumer = self.guard.core.consumer(
            subscription.handler,
            spec,
            outlet=self._copies,
            retries=RetryLadder(spec.queue, self._options.retry),
            counted=self._options.declare,
        )
        return Intake(consumer, subscription.bindings, self._options)

    async def _drain(self) -> None:
        """Stop all at once, so that one deadline is enough for all of them."""
        intakes = self._intakes.values()
        try:
            async with asyncio.timeout(self._options.drain):
                await self._each(Intake.close)  # first: nothing new while handlers finish
                await asyncio.gather(*(intake.consumer.idle() for intake in intakes))
        except TimeoutError:
            LOGGER.warning(
                "%s: handlers were still running after %g s; their messages stay with the broker",
                self._service,
                self._options.drain,
            )
            # A thread cannot be ended, and the process does not end before it does: given up now,
            # its work would be done twice at a time.
            await self._threads_ended()

    async def _threads_ended(self) -> None:
        """Wait for handlers that run in threads, and until their messages are settled."""
        busy = {
            queue: intake.consumer.idle()
            for queue, intake in self._intakes.items()
            if intake.consumer.blocks and intake.consumer.handling
        }
        if busy:
            what = "%s: waits for handlers in threads, which cannot be cancelled: %s"
            LOGGER.warning(what, self._service, ", ".join(busy))
            await asyncio.gather(*busy.values())

    async def _each(self, step: Callable[[Intake], Awaitable[None]]) -> None:
        await asyncio.gather(*(step(intake) for intake in self._intakes.values()))

    async def _disconnect(self) -> None:
        # One that fails must not keep the other from being closed.
        await asyncio.gather(self.guard.close(), self._connections.close(), return_exceptions=True)

    def _within(self, timeout: float | None) -> Within:
        return Within.of(timeout, self.guard.options.publish_timeout)

    async def _copies(self, _delivery: Delivery) -> AbstractConnection:
        # Not where the delivery came in: a copy that closes its connection must not cost that one.
        return await self._connections.copies(self._within(None))


def _check_onward(onward: Declared, guard: Guard) -> None:
    """Refuse what could never work where callers' tokens go, and tell what no busauth takes."""
    from busauth._delegation.exchange.server import check_asked  # noqa: PLC0415 -- rarely needed
    from busauth._delegation.voucher import Voucher  # noqa: PLC0415 -- likewise

    for route, each in onward.items():
        check_asked("onward", each)
        if isinstance(each, Voucher) and guard.messages.signer is None:
            LOGGER.warning(_UNPROVEN, route)


def intakes_of(bus: Bus) -> tuple[Intake, ...]:
    """Return a bus's consumers and what their queues receive from, for who looks before it runs."""
    return tuple(bus._intakes.values())  # noqa: SLF001 -- of this module; nothing for users


async def _begun_although_cancelled(beginning: "asyncio.Future[Any]") -> bool:
    """Cancel a start, and return whether it was over already."""
    beginning.cancel()
    await asyncio.wait((beginning,))  # it takes back what it has opened, and is waited for
    return not beginning.cancelled() and beginning.exception() is None
