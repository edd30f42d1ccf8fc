"""What a test of guarded consumers needs, in one object: a broker, an issuer, a clock, a record.

Time stands still unless the test moves it: a token expires in a queue because `clock.advance` was
awaited, not because somebody slept.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import uuid4

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError

from busauth._amqp.bus import Bus
from busauth._amqp.connecting.connect import connected
from busauth._amqp.connecting.patience import left
from busauth._amqp.connecting.within import Within
from busauth._amqp.consuming.intake import Binding
from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.guard import Guard
from busauth._amqp.headers import BEARER, TRANSACTIONS, TokenHeader
from busauth._amqp.options import BusOptions, GuardOptions
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.outbox import Body, as_message
from busauth._amqp.resending.again import Released
from busauth._amqp.resending.letters import Letter, dead_letters
from busauth._amqp.topology import dead_queue, rejected_queue
from busauth._delegation.exchange.jwt_grant import JwtGrant
from busauth._delegation.exchange.token_exchange import TokenExchange
from busauth._delegation.transactions.transaction_tokens import TransactionTokens
from busauth._expiry import Policies
from busauth._revocation.events import Target
from busauth._revocation.revocations import NoRevocations, Revocations
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.verifier import Verifier, Verifiers
from busauth.audit import Event, EventKind
from busauth.caller import Caller, acting, holding, lease_for
from busauth.errors import ConfigurationError, PublishError
from busauth.testing.broker import Broker
from busauth.testing.broker.model.journal import Record
from busauth.testing.claims import Claims
from busauth.testing.clock import ManualClock
from busauth.testing.issuer import Issuer
from busauth.testing.issuer.transport import IssuerTransport
from busauth.testing.loops import HomeLoop
from busauth.testing.published import published
from busauth.testing.revoked import Revoking
from busauth.testing.story import Sent, Story, Witness, decided, moved
from busauth.testing.tasks import TaskWatch
from busauth.testing.trust import IssuerClients, IssuerKeys


class AnyBroker(Protocol):
    """A broker at an address."""

    @property
    def url(self) -> str:
        """Return the address for clients."""
        ...


@dataclass(frozen=True)
class RabbitMQ:
    """A RabbitMQ that runs already; queues that a test declares are deleted after it.

    Attributes:
        url: its address; best a virtual host of the tests' own.
    """

    url: str


class Kit(Witness):
    """A broker, an issuer and a clock for one test: `async with Kit(...) as kit`.

    Args:
        broker: started already.
        clock: the time of the guards, and of an embedded broker that was given it.
        issuer: who signs, on the same clock; takes the name of the issuer that a guard trusts, of
            many tenants that of one.

    Attributes:
        broker, clock, issuer: as given.
        events: what guards told, in order.
    """

    def __init__(self, broker: AnyBroker, clock: ManualClock, issuer: Issuer | None = None) -> None:
        self.broker, self.clock = broker, clock
        self.issuer = issuer or Issuer(clock=clock)
        super().__init__()
        self._trusted: Verifier | None = None
        self._clients = IssuerClients(self.issuer)
        self._revoking = Revoking()
        self._tasks = TaskWatch()
        self._claims = Claims(lambda: self._open, lasting=not isinstance(broker, Broker))
        self._connection: AbstractConnection | None = None
        self._home = HomeLoop("the kit")

    def __repr__(self) -> str:
        return f"<Kit with tokens by {self.issuer.url}>"

    async def __aenter__(self) -> Self:
        self._connection = await connected(self.broker.url)
        if isinstance(self.broker, Broker):
            self.broker.node.journal.listen(self._moved)
        self._home.move_in()
        self.clock.home.move_in()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            if isinstance(self.broker, Broker):
                self.broker.node.journal.forget(self._moved)
            else:
                await self._claims.release()
        finally:
            await left(self._open)
            self._home.move_out()
            self.clock.home.move_out()
        if error is None:
            self.check_tasks()

    # --- services -------------------------------------------------------------------------------

    def guard(
        self,
        *,
        on_expired: Policies | None = None,
        messages: MessageSecurity | None = None,
        revocations: Revocations | None = None,
        options: GuardOptions | None = None,
    ) -> Guard:
        """Return a guard that trusts this kit's issuer, on this kit's clock."""
        verifier = self._own_verifier()
        guard = Guard(
            verifier,
            on_expired=on_expired,
            messages=messages,
            options=options,
            clock=self.clock,
            auditor=_unheard,
        )
        return self._replica(guard, verifier, revocations=self._revoking.beside(revocations))

    def _own_verifier(self) -> Verifier:
        return Verifier(
            IssuerKeys(self.issuer),
            issuer=self.issuer.url,
            audience=self.issuer.audience,
            leeway=0,
        )

    def bus(self, guard: Guard | None = None, *, options: BusOptions | None = None) -> Bus:
        """Return a bus on this kit's broker, with this kit's guard unless one is given."""
        return _KitBus(self, guard or self.guard(), options)

    @asynccontextmanager
    async def using(self, bus: Bus) -> AsyncIterator[Bus]:
        """Have a service's own bus use this kit's broker, clock and issuer while inside.

        Its consumers, policies and options stay. Its queues are declared, so that messages can
        wait in them; `async with bus` begins to consume. A thread that `BusThread` has started for
        it ends before, and ends with this.

        Raises:
            ConfigurationError: the bus runs, no verifier of its guard takes what the issuer signs,
                or one of its queues exists already on a RabbitMQ.
            AssertionError: a task goes on that published as a handler's caller: `check_tasks`.
        """
        await asyncio.to_thread(bus.end_threads)
        guard = self._trusting(bus.guard)
        try:
            with bus.overridden(url=self.broker.url, guard=guard):
                try:
                    await self.claim(bus)
                    await bus.declare()
                    yield bus
                finally:  # not in this thread: the broker that it leaves may live in this loop
                    await asyncio.to_thread(bus.end_threads)
        finally:
            self._revoking.forget(guard.core.revocations)
        self.check_tasks()

    @asynccontextmanager
    async def answering(
        self, *asking: TokenExchange | JwtGrant | TransactionTokens
    ) -> AsyncIterator[IssuerTransport]:
        """Have the issuer answer who asks for other tokens, on this kit's clock, while inside.

        It knows their clients, and they remember nothing of what was before. Their promises stay:
        what comes is held to what was asked for.

        Args:
            asking: of one issuer, whose name the kit's takes unless a guard in use has given it
                one.

        Yields:
            What carries their requests: its `down`, `delay`, `rewrite` and other faults are theirs,
            and `received` has what was asked.

        Raises:
            ConfigurationError: the kit's issuer goes by another name.
        """
        if self._trusted is None and asking:
            self.issuer.url = asking[0].issuer
        transport = self.issuer.transport()
        with ExitStack() as inside:
            for each in asking:
                if each.issuer != self.issuer.url:
                    raise ConfigurationError(
                        f"{each!r}: expected it to ask {self.issuer.url}, whose name the kit's "
                        "issuer has. For another issuer's, make it with an issuer of the test's "
                        "own: fetcher=Fetcher(transport=Issuer(...).transport()), clock=kit.clock"
                    )
                reach = self._clients.reach(each.client_id, transport, self.clock)
                inside.enter_context(each.overridden(reach))
            yield transport

    def _trusting(self, guard: Guard) -> Guard:
        """Take the name of an issuer that the guard trusts, and be trusted in its place."""
        verifiers = [each for each in guard.verifiers if isinstance(each, Verifier)]
        if not verifiers:
            raise ConfigurationError("the guard verifies no JWT: give it a guard of the kit's")
        adopted = next(filter(self._is_named_as, verifiers), verifiers[0])
        algorithm = self.issuer.signing.algorithm
        if algorithm not in adopted.algorithms:
            raise ConfigurationError(
                f"the test's issuer signs with {algorithm}, the guard takes "
                f"{' or '.join(adopted.algorithms)}: give the kit an Issuer(algorithm=...)"
            )
        if not self._is_named_as(adopted):
            self.issuer.url = adopted.issuer if adopted.tenants is None else adopted.tenants.one
        if self.issuer.audience not in adopted.audience:
            self.issuer.audience = min(adopted.audience)
        trusted = self._trusted = adopted.with_keys(IssuerKeys(self.issuer))
        others = [verifier for verifier in guard.verifiers if verifier is not adopted]
        asked = guard.core.revocations
        revocations = None if isinstance(asked, NoRevocations) else self._revoking.beside(asked)
        return self._replica(guard, trusted, *others, revocations=revocations)

    def _is_named_as(self, verifier: Verifier) -> bool:
        """Whether the issuer's name is one whose tokens a verifier takes; no template is."""
        tenants, name = verifier.tenants, self.issuer.url
        return name == verifier.issuer if tenants is None else tenants.tenant_of(name) is not None

    def _replica(
        self,
        guard: Guard,
        *verifiers: Verifier | Authenticator,
        revocations: Revocations | None,
    ) -> Guard:
        replica = guard.replica(
            *verifiers,
            revocations=revocations,
            clock=self.clock,
            auditor=self._decided,
            around=self._tasks.around,
        )
        replica.core.sent = partial(self._sent, guard.core.header.name)
        return replica

    # --- callers --------------------------------------------------------------------------------

    def caller(self, subject: str = "alice", **claims: Any) -> Caller:
        """Return the caller of a token that is minted now, for a bare handler.

        It was verified, and is read as the issuer's profile says: that of the bus that is used.

        Args:
            subject: its `sub`.
            claims: of the token, such as ``scope="orders:write"``; see `Issuer.claims`.

        Raises:
            NotGenuine: with such claims it would be refused.
        """
        token = self._minted(subject, claims)
        caller = Verifiers(self._trusted or self._own_verifier()).recall(token).caller
        return holding(caller, lease_for(caller, token))

    def _minted(self, subject: str, claims: Mapping[str, Any]) -> str:
        """Return a token of the kind that the guard takes whose place is taken."""
        if self._is_for_transactions:
            return self.issuer.transaction_token(subject, **claims)
        return self.issuer.token(subject, **claims)

    @property
    def _is_for_transactions(self) -> bool:
        return self._trusted is not None and self._trusted.profile.is_transaction

    @contextmanager
    def acting_as(self, caller: Caller | str = "alice", **claims: Any) -> Iterator[Caller]:
        """Put a caller in scope, as around a handler: ``with kit.acting_as("alice"): ...``.

        What is published inside is published on their behalf. The lease ends with the block.

        Args:
            caller: who, or the subject of a token that is minted now.
            claims: of that token; see `caller`.

        Raises:
            CallerError: the given caller's own lease has ended.
        """
        if isinstance(caller, str):
            caller = self.caller(caller, **claims)
        elif claims:
            raise TypeError(f"got a caller and {', '.join(claims)}: expected a subject with claims")
        lease = lease_for(caller, caller.bearer())
        with acting(lease):
            yield holding(caller, lease)

    def revoke(
        self,
        subject: str | None = None,
        *,
        session: str | None = None,
        client: str | None = None,
        token_id: str | None = None,
    ) -> None:
        """End the issuer's tokens that were issued until now; what is named must be the token's.

        It counts next to what the guards in use ask, whatever that is.

        Raises:
            ConfigurationError: none of them asks anybody, or nobody is named.
        """
        target = Target(
            issuer=self.issuer.url,
            subject=subject,
            session=session,
            client=client,
            token_id=token_id,
        )
        self._revoking.revoke(target, self.clock.now())

    # --- messages -------------------------------------------------------------------------------

    async def publish(
        self,
        routing_key: str,
        body: Body,
        *,
        body_type: Any = None,
        exchange: str = "",
        must_route: bool = True,
        by: str | None = "alice",
        token: str | None = None,
        header: str | None = None,
        **claims: Any,
    ) -> Sent:
        """Publish as somebody would who stands outside of the service, past any guard.

        Args:
            routing_key: with the default exchange, the queue's name.
            body: a pydantic model, dataclass, list or table (sent as JSON), a text, bytes, or an
                `aio_pika.Message`.
            body_type: what its consumer has it annotated as, such as ``list[Order]``, where that is
                more than its own type says; None for its own type.
            exchange: where to; default: the default exchange.
            must_route: False where nobody need listen: then it is no error that no queue takes it.
            by: the subject of a token that is minted now; None for no token at all.
            token: this token instead, whatever it is.
            header: the AMQP header that carries it; None for ``authorization``, or ``txn-token``
                where the guard that is used takes transaction tokens.
            claims: of the minted token, such as ``scope="orders:write"``; see `Issuer.claims`.

        Raises:
            PublishError: no queue took the message.
        """
        message = copy(as_message(body, self.clock.now(), body_type))
        message.message_id = message.message_id or uuid4().hex
        if token is None and by is not None:
            token = self._minted(by, claims)
        if token is not None:
            usual = TRANSACTIONS if self._is_for_transactions else BEARER
            carried = TokenHeader(header or usual.name, is_transactions=usual.is_transactions)
            message.headers = {**message.headers, carried.name: carried.value(token)}
        async with self._open.channel(on_return_raises=True) as channel:
            target = channel.default_exchange
            if exchange:
                target = await channel.get_exchange(exchange, ensure=False)
            sent = Sent(message.message_id, routing_key, by, self.clock.now())
            try:
                await target.publish(message, routing_key, mandatory=must_route)
            except DeliveryError as error:
                raise PublishError(
                    f"no queue took what was published to {exchange!r} with {routing_key!r}: "
                    "declare it first, as `async with kit.using(bus)`, `await bus.declare()` and "
                    "`await kit.declare(...)` do"
                ) from error
        return sent

    async def declare(
        self,
        *queues: str,
        bindings: Iterable[Binding] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare durable queues that nobody consumes here, and exchanges that they receive from.

        Args:
            queues: their names; without one, exchanges alone.
            bindings: of all of these queues.
            arguments: of all of these queues, such as ``{"x-queue-type": "quorum"}``.

        Raises:
            ConfigurationError: one exists already on a RabbitMQ.
        """
        await self._claims.declare(queues, bindings, arguments)

    async def dead_letters(self, queue: str) -> list[Letter]:
        """Return a queue's refused messages, dead and rejected, in the order of their refusals."""
        names = (dead_queue(queue), rejected_queue(queue))
        letters = [letter for name in names for letter in await dead_letters(self.broker.url, name)]
        return sorted(letters, key=lambda letter: letter.at or "")

    # --- what happened --------------------------------------------------------------------------

    def story(self, sent: Sent) -> Story:
        """Return what happened to a message; the broker's own steps only with the embedded one."""
        self.check_loop()
        return super().story(sent)

    def check_tasks(self) -> None:
        """Fail if a task was started in a handler, published as its caller, and outlives it.

        The kit asks when a bus of its own, `using` and the kit itself end; see docs/tasks.md.
        """
        __tracebackhide__ = True
        self._tasks.check()

    # --- underneath -----------------------------------------------------------------------------

    def check_loop(self) -> None:
        """Refuse to be used on another event loop, where whatever is awaited would never come.

        Raises:
            ConfigurationError: the kit was opened on another one, which does not run.
        """
        self._home.check()

    async def claim(self, bus: Bus) -> None:
        """Answer for a bus's queues: on a RabbitMQ they are deleted after the test.

        Raises:
            ConfigurationError: one exists already, and so is not the test's to delete; or the kit
                lives on another event loop.
        """
        self.check_loop()
        await self._claims.claim(bus.queues)

    @property
    def _open(self) -> AbstractConnection:
        if self._connection is None:
            raise ConfigurationError("the kit is not open: use `async with Kit(...) as kit`")
        self.check_loop()
        return self._connection

    def _decided(self, event: Event) -> None:
        self.events.append(event)
        if event.kind in (EventKind.ACCEPTED, EventKind.ACCEPTED_LATE, EventKind.SHADOWED):
            self._tasks.begins(event)
        self._steps.append((event.message_id, decided(event)))

    def _sent(self, header: str, outgoing: Outgoing, exchange: str, routing_key: str) -> None:
        told = published(
            outgoing,
            exchange,
            routing_key,
            issuer=self.issuer,
            header=header,
            at=self.clock.now(),
        )
        self._published.append(told)

    def _moved(self, record: Record) -> None:
        self._steps.append((record.message.message_id(), moved(record)))


class _KitBus(Bus):
    """A bus whose queues are the kit's to delete."""

    def __init__(self, kit: Kit, guard: Guard, options: BusOptions | None) -> None:
        super().__init__(kit.broker.url, guard=guard, service="test", options=options)
        self._kit = kit

    async def declare(self) -> None:
        await self._kit.claim(self)
        await super().declare()

    async def idle(self) -> None:
        self._kit.check_loop()
        await super().idle()

    async def release(self, queue: str, token: str) -> Released:
        self._kit.check_loop()
        return await super().release(queue, token)

    def _within(self, timeout: float | None) -> Within:
        self._kit.check_loop()  # every publication begins here
        return super()._within(timeout)

    async def _enter(self) -> None:
        await self._kit.claim(self)
        await super()._enter()

    async def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super()._leave(kind, error, trace)
        if error is None:
            self._kit.check_tasks()


def _unheard(_event: Event) -> None:
    """Tell nobody."""
