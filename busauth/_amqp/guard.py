"""What stands in front of handlers: one guard for a service, a decorator for each consumer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from aio_pika.abc import AbstractExchange
from aio_pika.exchange import Exchange
from aio_pika.message import Message
from aiormq.abc import AbstractConnection

from busauth._amqp.connecting.within import Within
from busauth._amqp.consuming.asked import Asked
from busauth._amqp.consuming.attempt import Terms, Tools
from busauth._amqp.consuming.consumer import GuardedConsumer
from busauth._amqp.consuming.provenance import Provenance
from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.plan import Handler, check_proven, compile_plan
from busauth._amqp.headers import bearer_token
from busauth._amqp.names import check_queue
from busauth._amqp.options import ConsumerOptions, GuardOptions, OnError
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.outbox import Outbox, Token
from busauth._amqp.publishing.publisher import Outlet, Publisher
from busauth._amqp.settling.acks import Acks
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.replies import Replies
from busauth._amqp.settling.returns import Returns
from busauth._amqp.settling.surroundings import Surroundings
from busauth._amqp.topology import (
    RetryLadder,
    Tail,
    dead_queue,
    parked_queue,
    queues_around,
    rejected_queue,
)
from busauth._amqp.trust import check_retired_sources, check_verifiers, discovered, trust
from busauth._arguments import checked
from busauth._callables import is_async, name_of
from busauth._decision import Demand, Predicate, Rules, decide
from busauth._expiry import DeadLetter, Policies, PolicyChain
from busauth._knobs import closest
from busauth._loops import OneLoop
from busauth._messages.proof import Proofs, Route
from busauth._redaction import quiet_transport_logs
from busauth._revocation.revocations import NoRevocations, Revocations, check_revoked
from busauth._tokens.asking.checking import check_issuers
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.envelope import is_encrypted
from busauth._tokens.verifier import Verifier, Verifiers
from busauth.audit import LOGGER, Auditor, Event, EventKind, log_event, told_safely
from busauth.caller import Caller, FirstToken, as_caller, lease_for
from busauth.clock import Clock, SystemClock
from busauth.errors import (
    ConfigurationError,
    Deferred,
    PublishError,
    defer_if_transient,
    evidence,
)

_MISSPELT = (
    'nobody consumes %s here, which [consumers."..."] or GuardOptions(consumers=...) speaks of: '
    "nothing that is said there counts; was %s meant?"
)


class Guard:
    """Verifies the token of every delivery before its handler runs.

    Args:
        verifiers: one for each issuer, `Introspection` and `Sessions` among them; or none, with
            `issuer` and `audience` instead.
        issuer: the exact `iss`; its keys are found by discovery (RFC 8414).
        audience: whom tokens must be for.
        on_expired: what to do with a genuine token that has expired; default: dead-letter.
        revocations: what knows which tokens were revoked; default: nothing is.
        messages: proofs, seals, replay and encryption: what protects the messages themselves;
            default: nothing but their tokens is looked at.
        options: knobs that most users leave alone.
        clock: where `now` comes from.
        auditor: is told of every decision; default: the ``busauth`` logger, by an `EventLog`.

    Attributes:
        verifiers: as given, or the one that was made.
        messages, options, clock: as given, or the default.

    Raises:
        ConfigurationError: the arguments do not go together; says which and why.
    """

    @checked
    def __init__(
        self,
        *verifiers: Verifier | Authenticator,
        issuer: str | None = None,
        audience: str | Iterable[str] | None = None,
        on_expired: Policies | None = None,
        revocations: Revocations | None = None,
        messages: MessageSecurity | None = None,
        options: GuardOptions | None = None,
        clock: Clock | None = None,
        auditor: Auditor = log_event,
    ) -> None:
        quiet_transport_logs()
        check_verifiers(verifiers, named=bool(issuer or audience))
        self.options = options or GuardOptions()
        self.messages = messages or MessageSecurity()
        self.clock = clock or SystemClock()
        self._revocations = NoRevocations() if revocations is None else revocations
        _check_plain("revocations.revoked", self._revocations.revoked)
        _check_plain("auditor", auditor)
        self._session_claim: str = getattr(self._revocations, "session_claim", "sid")
        self._auditor = auditor
        self._queues: set[str] = set()
        self._introspects = False
        self._around: Callable[[Handler], Handler] | None = None
        self._on_expired = on_expired if on_expired is not None else DeadLetter()
        self.verifiers = verifiers or (discovered(issuer, audience, self.clock),)
        self._trusted = trust(self.verifiers, self.options)
        self._copies = Publisher(timeout=self.options.publish_timeout)
        self._own = Publisher(timeout=self.options.publish_timeout)
        self.outbox = Outbox(
            header=self.options.header,
            verifiers=self._trusted,
            clock=self.clock,
            signer=self.messages.signer,
            encryption=self.messages.encryption,
        )
        self._tools = Tools(
            clock=self.clock,
            options=self.options,
            auditor=told_safely(auditor, self.clock),
            replies=self._replies(),
            acks=Acks(),
            loop=OneLoop(),
        )
        self._terms(Asked(queue="*"))  # who cannot decide is found here, not at a decorator
        proofs = self.messages.proofs_for(None, ConsumerOptions())
        sources = self.messages.sources(proofs, stamped=self.options.broker_stamps)
        check_retired_sources(self.verifiers, sources)

    def __call__(
        self,
        *,
        queue: str,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        allow: Predicate | None = None,
        on_expired: Policies | None = None,
        introspect: bool = False,
        proofs: Proofs | None = None,
        routes: Iterable[Route] = (),
        on_error: OnError = OnError.DEAD_LETTER,
        deadline: float | None = None,
    ) -> Callable[[Handler], GuardedConsumer]:
        """Decorate a handler; the result is an aio-pika callback.

        Args:
            queue: what it will consume; refused messages go to ``<queue>.dead`` and
                ``<queue>.rejected``, which must exist: nothing is handled before they do.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            allow: a further check of the caller; must return True.
            on_expired: instead of the guard's policies.
            introspect: a token is proven with the keys at hand, and then its issuer is asked.
            proofs: instead of the guard's.
            routes: how messages get to the queue, next to its name on the default exchange: where
                proofs may say that they were published to.
            on_error: what happens to a message whose handler raised.
            deadline: seconds after which the handler is cancelled, and has failed; instead of the
                guard's.

        Raises:
            TypeError: a parameter of the handler cannot be injected.
            ConfigurationError: a policy can never be reached, needs a word that cannot be had, or
                takes away what is demanded.
        """
        asked = Asked(
            queue=queue,
            demand=Demand.of(scopes, roles, allow),
            on_expired=on_expired,
            introspect=introspect,
            proofs=proofs,
            routes=tuple(routes),
            on_error=on_error,
            deadline=deadline,
        )
        return lambda handler: self.consumer(handler, asked)

    def consumer(
        self,
        handler: Handler,
        asked: Asked,
        *,
        outlet: Outlet | None = None,
        retries: RetryLadder | None = None,
        counted: bool = False,
    ) -> GuardedConsumer:
        """Guard a handler; what the decorator and `Bus` have in common.

        Args:
            handler: the bare function.
            asked: for what it is called.
            outlet: on which connection copies go out; default: that of the message.
            retries: the ladder of delay queues; default: the end of the queue itself.
            counted: whether the queue is known to be a quorum queue, which counts deliveries.

        Raises:
            TypeError: a parameter of the handler cannot be injected.
            ConfigurationError: the queue, or one around it, has no name that a broker takes; or
                what is asked does not go together.
        """
        waiting = retries or Tail(asked.queue, self._give_backs(asked.on_error))
        check_queue(asked.queue, queues_around(asked.queue, waiting))
        plan, terms = compile_plan(handler), self._terms(asked)
        self._queues.add(asked.queue)
        check_proven(plan, terms.provenance.proofs)
        if self._around is not None:
            plan = replace(plan, handler=self._around(plan.handler))
        disposal = Disposal(
            queue=asked.queue,
            token_header=self.options.header,
            publisher=self._copies,
            outlet=outlet or _same_connection,
            retries=waiting,
            around=Surroundings(asked.queue, () if retries else _needed(asked.queue, terms)),
        )
        return GuardedConsumer(plan, terms, self._tools, disposal, Returns(counted=counted))

    def tell_unconsumed(self) -> None:
        """Tell which consumers the options speak of that nobody registered.

        One that looks like a registered one is misspelt, most likely, and what the operator said is
        not in force. Others may be other services', which share the file.
        """
        for name in self.options.consumers.keys() - self._queues:
            if near := closest(name, self._queues):
                LOGGER.warning(_MISSPELT, evidence(name), evidence(near))
            else:
                LOGGER.info("nobody consumes %s here: what is said about it counts elsewhere", name)

    def _give_backs(self, on_error: OnError) -> int:
        return self.options.give_backs if on_error is OnError.GIVE_BACK else 0

    def _terms(self, asked: Asked) -> Terms:
        """The operator's word for one consumer counts first, then the decorator's, then ours."""
        said = self.options.of(asked.queue)
        proofs = self.messages.proofs_for(asked.proofs, said)
        stamped = self.options.broker_stamps
        chosen = (said.on_expired, asked.on_expired, self._on_expired)
        policies = PolicyChain(
            next(policies for policies in chosen if policies is not None),
            hard_max_age=self.options.hard_max_age,
            trusted=self.messages.sources(proofs, stamped=stamped),
        )
        self.messages.check_seal(policies)
        self._introspects |= asked.introspect
        return Terms(
            queue=asked.queue,
            trusted=self._confirmed() if asked.introspect else self._trusted,
            issued=self._trusted.signed,
            decryption=self.messages.decryption,
            provenance=self.provenance(asked.queue, proofs, asked.routes),
            rules=Rules(
                policies=policies,
                demand=asked.demand,
                revocations=self._revocations,
                session_claim=self._session_claim,
                transient=self.options.transient,
            ),
            concurrency=said.concurrency or self.options.concurrency,
            on_error=asked.on_error,
            deadline=said.deadline or asked.deadline or self.options.deadline,
        )

    def provenance(self, queue: str, proofs: Proofs | None, routes: Iterable[Route]) -> Provenance:
        """Return what a consumer asks of its messages besides their tokens.

        Raises:
            ConfigurationError: a replay memory that forgets earlier than these proofs are stale.
        """
        return self.messages.provenance(
            queue, proofs, routes, options=self.options, session_claim=self._session_claim
        )

    def check_first(self, first: FirstToken) -> None:
        """Refuse work whose first token was revoked.

        Raises:
            Untimely: ``token.revoked``.
            Deferred: what knows about revocations is out of reach.
        """
        caller = as_caller(first, self._session_claim)
        check_revoked(self._revocations, caller, self.clock.now(), self.options.transient)

    def replica(
        self,
        *verifiers: Verifier | Authenticator,
        clock: Clock,
        auditor: Auditor,
        around: Callable[[Handler], Handler] | None = None,
    ) -> "Guard":
        """Return a guard with the same policies and options, and other trust: for tests.

        Args:
            verifiers: whom it trusts instead.
            clock: where `now` comes from instead.
            auditor: is told of every decision next to this guard's own.
            around: returns what is called in place of a handler, with the same arguments.
        """

        def both(event: Event) -> None:
            auditor(event)
            self._auditor(event)

        replica = Guard(
            *verifiers,
            on_expired=self._on_expired,
            revocations=self._revocations,
            messages=self.messages,
            options=self.options,
            clock=clock,
            auditor=both,
        )
        replica._around = around
        return replica

    async def authenticate(
        self,
        authorization: str | None,
        *,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        on_expired: Policies | None = None,
    ) -> Caller:
        """Verify an HTTP request's ``Authorization`` value.

        Args:
            authorization: the header's value, None where there is none.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            on_expired: for services behind a queue, whose callers may have waited there; default:
                nothing late is accepted, whatever the guard's policies say of messages.

        Raises:
            Refused: with its code and HTTP status.
            Deferred: the issuer's keys are out of reach; answer 503.
            ConfigurationError: a `Restrict` takes away what is demanded, or another policy can
                never be reached, or needs a word that cannot be had.
        """
        rules = Rules(
            policies=PolicyChain(
                on_expired or DeadLetter(), hard_max_age=self.options.hard_max_age
            ),
            demand=Demand.of(scopes, roles),
            revocations=self._revocations,
            transient=self.options.transient,
        )
        token = bearer_token(authorization)
        decryption = self.messages.decryption
        if decryption is not None and is_encrypted(token):
            token = decryption.decrypt(token)
        try:
            verified = await self._trusted.authenticate(token)
        except Exception as error:
            defer_if_transient("who proves tokens is", error, self.options.transient)
            raise
        caller = await decide(verified, rules, self.clock.now())
        return replace(caller, _lease=lease_for(caller, token))

    async def publish(
        self,
        exchange: AbstractExchange,
        message: Message,
        routing_key: str,
        *,
        token: Token = None,
        recipient: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- given up, it is told what became of it
    ) -> None:
        """Publish on the exchange's connection, on a channel of busauth's own, confirmed.

        Args:
            exchange: where to.
            message: body, properties and headers of yours.
            routing_key: as AMQP has it.
            token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.
            recipient: for whom the token is encrypted, where there are several.
            timeout: seconds until it is given up; None for `GuardOptions.publish_timeout`.

        Raises:
            CallerError, NotGenuine, Untimely: there is nobody to publish for; see `Outbox.prepare`.
            PublishError: the broker did not confirm that the message was routed.
        """
        if not isinstance(exchange, Exchange):
            raise TypeError(f"expected an exchange of aio-pika's: got {type(exchange).__name__}")
        outgoing = self.outbox.prepare(
            message, token, exchange=exchange.name, routing_key=routing_key, recipient=recipient
        )
        within = Within.of(timeout, self.options.publish_timeout)
        connection = await _connection_of(exchange, within)
        await self.send(connection, outgoing, exchange.name, routing_key, within=within)

    async def check(self) -> Mapping[str, Deferred]:
        """Ask each issuer, before the first message comes; `Bus` does so as it starts.

        Keys are fetched that are not at hand, and the metadata's `issuer` is compared. Where a
        consumer says ``introspect=True``, its issuer must answer about JWTs.

        Returns:
            Who is out of reach, and why, by issuer: their tokens wait. Each is told in the log.

        Raises:
            ConfigurationError: an issuer contradicts what is configured.
        """
        away = await check_issuers(self.verifiers, introspects=self._introspects)
        for issuer, deferred in away.items():
            LOGGER.warning("issuer %r is waited for: %s", issuer, deferred.reason)
        return away

    @property
    def issuers(self) -> frozenset[str]:
        """Return whose tokens it takes, by name; those who prove sessions among them."""
        return frozenset(str(getattr(each, "issuer", each)) for each in self.verifiers)

    async def close(self) -> None:
        """Close what the guard opened by itself: the connection for answers, if there is one.

        What its log has counted is told, too.
        """
        self._tools.auditor.lines.close()
        await self._tools.replies.close()

    async def send(
        self,
        connection: AbstractConnection,
        outgoing: Outgoing,
        exchange: str,
        routing_key: str,
        *,
        within: Within | None = None,
    ) -> None:
        """Publish a prepared message, and tell the auditor; what `publish` and `Bus` share.

        Raises:
            PublishError: the broker did not confirm that the message was routed.
        """
        await self._own.publish(
            connection, outgoing, exchange=exchange, routing_key=routing_key, within=within
        )
        message_id, now = evidence(outgoing.properties.message_id), self.clock.now()
        self.tell(Event(kind=EventKind.PUBLISHED, queue=routing_key, at=now, message_id=message_id))

    def claim_loop(self) -> None:
        """Have the running event loop run its consumers; `Bus` does so as it starts.

        Raises:
            ConfigurationError: the loop of another thread runs them, and goes on.
        """
        self._tools.loop.claim("this guard's consumers")

    def tell(self, event: Event) -> None:
        """Tell the auditor; its failure is logged and goes no further."""
        self._tools.auditor(event)

    def _confirmed(self) -> Authenticator:
        if isinstance(self._trusted, Verifiers):
            raise ConfigurationError(
                "introspect=True: expected an Introspection among the guard's verifiers"
            )
        return self._trusted.confirmed()

    def _replies(self) -> Replies:
        return Replies(
            self.options.reply_to,
            per_second=self.options.replies_per_second,
            clock=self.clock,
            publisher=Publisher(timeout=self.options.publish_timeout),
        )


def _check_plain(what: str, called: object) -> None:
    """Refuse what would return a coroutine that nobody awaits."""
    if is_async(called) or not callable(called):
        raise ConfigurationError(f"{what}={name_of(called)}: expected a plain function, not async")


def _needed(queue: str, terms: Terms) -> Iterator[str]:
    """Yield the queues that a plain consumer needs around its own."""
    yield from (dead_queue(queue), rejected_queue(queue))
    if terms.rules.policies.parks:
        yield parked_queue(queue)


async def _connection_of(exchange: Exchange, within: Within) -> AbstractConnection:
    """Return where a plain exchange is, waiting for it while its connection is being restored.

    Raises:
        PublishError: it is not restored in time.
    """
    try:
        async with within.limit():
            return (await exchange.channel.get_underlay_channel()).connection
    except TimeoutError as error:
        raise PublishError(
            f"the connection of exchange {exchange.name!r} was not there for {within.seconds:g} s: "
            "it was not sent"
        ) from error


async def _same_connection(delivery: Delivery) -> AbstractConnection:
    """On a plain consumer, copies go out on the connection that the message came in on."""
    if delivery.channel is None or delivery.is_lost:
        raise PublishError("the delivery's channel is closed")
    return delivery.channel.connection
