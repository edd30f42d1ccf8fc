"""What stands behind a guard: consumers are made here, and what is published goes out.

`Guard` is what users see of it; buses, releases and redrives use it as it is.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiormq.abc import AbstractConnection

from busauth._amqp.connecting.within import Within
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.consuming.message_rules import MessageRules
from busauth._amqp.consuming.rules import ConsumerRules, ConsumerSpec, GuardContext
from busauth._amqp.consuming.security import (
    MessageSecurity,
    check_seal,
    message_rules_of,
    operator_rules_of,
)
from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.guarded import P, R
from busauth._amqp.handling.plan import Handler, check_proven, compile_plan
from busauth._amqp.handling.threads import in_threads
from busauth._amqp.judging.judge import ConsumersJudge
from busauth._amqp.names import check_queue
from busauth._amqp.options import ConsumerOptions, GuardOptions, Letters, OnError
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.onwards import Onwards
from busauth._amqp.publishing.outbox import Outbox
from busauth._amqp.publishing.publisher import Outlet, Publisher
from busauth._amqp.publishing.watching import Watcher, Watching
from busauth._amqp.settling.acks import Acks
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.replies import Replies
from busauth._amqp.settling.returns import Returns
from busauth._amqp.settling.surroundings import Surroundings
from busauth._amqp.shadowing.shadows import Shadows
from busauth._amqp.topology import (
    RetryLadder,
    Tail,
    dead_queue,
    parked_queue,
    queues_around,
    rejected_queue,
)
from busauth._amqp.trust import (
    audiences_of,
    check_renewing,
    check_retired_sources,
    header_of,
    trust,
    with_vouchers,
)
from busauth._arguments import closest
from busauth._callables import is_async, name_of
from busauth._decision import Rules
from busauth._demand import Demand
from busauth._expiry import DeadLetter, Fresh, Policies, PolicyChain, Renewals
from busauth._loops import OneLoop
from busauth._messages.proof import Proofs, Route
from busauth._revocation.revocations import NoRevocations, Revocations, check_revoked
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.verifier import Verifier, Verifiers
from busauth.audit import LOGGER, Auditor, Event, EventKind, Lines, Sink, exchanged, told_safely
from busauth.caller import Caller, FirstToken, as_caller, first_token
from busauth.clock import Clock
from busauth.errors import ConfigurationError, PublishError, Refused, evidence

if TYPE_CHECKING:
    from busauth._amqp.judging.foresight import Foresight

_MISSPELT = (
    'nobody consumes %s here, which [consumers."..."] or GuardOptions(consumers=...) speaks of: '
    "nothing that is said there counts; was %s meant?"
)


class GuardCore:
    """What a guard's consumers, buses and releases share.

    Args:
        verifiers: whom it trusts for tokens.
        on_expired, revocations, messages, letters, options, clock, auditor: as of `Guard`.
        authenticate: proves a raw token that was handed in.

    Attributes:
        verifiers, on_expired, revocations, messages, letters, options, clock, auditor: as given.
        outbox: prepares what is published.
        onwards: has the tokens that go along in place of callers' own.
        trusted: judges tokens.
        header: where they travel.
        sent: is told what was published, with its exchange and routing key; None for nobody.
        introspects: whether a consumer wants its issuer asked.
        around: returns what is called in place of a handler; None for the handler itself.
        consumers: those that were made here.
        shadows: which of them are in shadow now.

    Raises:
        ConfigurationError: they do not go together; says which and why.
    """

    def __init__(
        self,
        verifiers: tuple[Verifier | Authenticator, ...],
        *,
        on_expired: Policies | None,
        revocations: Revocations | None,
        messages: MessageSecurity,
        letters: Letters,
        options: GuardOptions,
        clock: Clock,
        auditor: Auditor,
        authenticate: Callable[[str], Awaitable[Caller]],
    ) -> None:
        self.verifiers = verifiers
        self.on_expired = on_expired if on_expired is not None else DeadLetter()
        self.revocations = NoRevocations() if revocations is None else revocations
        self.messages = messages
        self.letters = letters
        self.options = options
        self.clock = clock
        self.auditor = auditor
        # Both are called where nothing may be awaited.
        _check_plain("revocations.revoked", self.revocations.revoked)
        _check_plain("auditor", auditor)
        self.introspects = False
        self.around: Callable[[Handler], Handler] | None = None
        self.sent: Callable[[Outgoing, str, str], None] | None = None
        self.trusted = trust(verifiers, options)
        self.header = header_of(self.trusted, options)
        self._audiences = audiences_of(verifiers)
        self.outbox = Outbox(
            header=self.header,
            verifiers=self.trusted,
            clock=clock,
            signer=messages.signer,
            encryption=messages.encryption,
        )
        self.onwards = Onwards(authenticate, self.tell, clock, options.transient)
        # A user's own need not have one; `sid` is what OpenID Connect calls a session.
        self._session_claim: str = getattr(self.revocations, "session_claim", "sid")
        self._queues: set[str] = set()
        # Two, so that a mistake of a user's closes no channel of the copies.
        self._copies = Publisher(timeout=options.publish_timeout)
        self._own = Publisher(timeout=options.publish_timeout)
        self.consumers: list[Consumer[..., Any]] = []
        telling = told_safely(auditor, clock)
        self.shadows = Shadows(options.shadows(), clock)
        self._watching = Watching(telling.lines)
        self._foresights: dict[str, tuple[Consumer[..., Any], int, Foresight]] = {}
        self._looks = Lines(clock)  # of who only looks, so that none of a consumer's is left out
        self._context = GuardContext(
            clock=clock,
            options=options,
            header=self.header,
            auditor=telling,
            watching=self._watching,
            replies=Replies(
                options.reply_to,
                per_second=options.replies_per_second,
                clock=clock,
                publisher=Publisher(timeout=options.publish_timeout),
            ),
            acks=Acks(),
            loop=OneLoop(),
            shadows=self.shadows,
        )
        self._rules(ConsumerSpec(queue="*"))  # who cannot decide is found here, not at a decorator
        proofs = messages.proofs_for(None, ConsumerOptions())
        sources = messages.sources(proofs, stamped=options.broker_stamps)
        check_retired_sources(verifiers, sources)

    def edge_rules(self, demand: Demand, on_expired: Policies | None) -> Rules:
        """Return what a request's token is held to.

        Raises:
            ConfigurationError: as of `Guard.authenticate`.
        """
        # Nothing late is accepted at the edge unless that is said there.
        policies = PolicyChain(
            on_expired or DeadLetter(),
            hard_max_age=self.options.hard_max_age,
            audiences=self._audiences,
        )
        check_renewing(policies.renewing, self.header)
        return Rules(
            policies=policies,
            demand=demand,
            revocations=self.revocations,
            transient=self.options.transient,
            renewals=self._renewals(self.trusted),
        )

    def consumer(
        self,
        handler: Callable[P, R],
        spec: ConsumerSpec,
        *,
        outlet: Outlet | None = None,
        retries: RetryLadder | None = None,
        counted: bool = False,
    ) -> Consumer[P, R]:
        """Guard a handler; what the decorator and `Bus` have in common.

        Args:
            handler: the bare function.
            spec: what a decorator says of its queue.
            outlet: on which connection copies go out; default: that of the message.
            retries: the ladder of delay queues; default: the end of the queue itself.
            counted: whether the queue is known to be a quorum queue, which counts deliveries.

        Raises:
            TypeError: a parameter of the handler cannot be injected.
            ConfigurationError: the queue, or one around it, has no name that a broker takes; or
                what is asked does not go together.
        """
        waiting = retries or self._tail(spec)
        check_queue(spec.queue, queues_around(spec.queue, waiting))
        plan, rules = compile_plan(handler), self._rules(spec)
        self._queues.add(spec.queue)  # for `tell_unconsumed`, which speaks once all are registered
        name = name_of(handler)
        demands = None if plan.demands is None else plan.demands.__name__
        self.shadows.add(spec.queue, name, demands=demands)
        check_proven(plan, rules.messages.proofs)
        if plan.blocks:
            plan = replace(plan, call=in_threads(plan.handler, rules.concurrency))
        if self.around is not None:
            plan = replace(plan, call=self.around(plan.call))
        disposal = Disposal(
            queue=spec.queue,
            token_header=self.header,
            publisher=self._copies,
            outlet=outlet or _same_connection,
            retries=waiting,
            # A bus declares them, with its ladder; on a plain consumer, somebody else does.
            around=Surroundings(spec.queue, () if retries else _needed(spec.queue, rules)),
        )
        consumer: Consumer[P, R] = Consumer(
            plan, rules, self._context, disposal, Returns(counted=counted)
        )
        self.consumers.append(consumer)
        return consumer

    def judge(self, spec: ConsumerSpec, *, frame_max: int) -> ConsumersJudge:
        """Return who judges a queue's messages for somebody that has them in hand.

        Raises:
            ConfigurationError: as of `consumer`.
        """
        waiting = self._tail(spec)
        check_queue(spec.queue, queues_around(spec.queue, waiting))
        rules = self._rules(spec)
        self._queues.add(spec.queue)
        self.shadows.add(spec.queue, "a judge's block", demands="Caller")
        return ConsumersJudge(rules, self._context, waiting, frame_max=frame_max)

    def foresight(
        self, queue: str, consumer: Consumer[..., Any] | None, *, frame_max: int
    ) -> "Foresight":
        """Return who looks ahead for one consumer; None for one of which only options are known.

        Raises:
            ConfigurationError: as of `consumer`.
        """
        known = self._foresights.get(queue)
        if known is not None and known[:2] == (consumer, frame_max):
            return known[2]
        from busauth._amqp.judging.foresight import Foresight  # noqa: PLC0415 -- rarely needed

        spec = ConsumerSpec(queue=queue)
        plan, rules = (
            (None, self._rules(spec)) if consumer is None else (consumer.plan, consumer.rules)
        )
        waiting = self._tail(spec)
        foresight = Foresight(
            plan, rules, self._context, waiting, frame_max=frame_max, lines=self._looks
        )
        if consumer is not None:  # a plan asks about each of thousands of letters
            self._foresights[queue] = consumer, frame_max, foresight
        return foresight

    def _tail(self, spec: ConsumerSpec) -> Tail:
        # A ladder has a limit of its own; this one is for the end of the queue itself.
        return Tail(spec.queue, self.options.retries if spec.on_error is OnError.RETRY else 0)

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

    def _rules(self, spec: ConsumerSpec) -> ConsumerRules:
        """The operator's word for one consumer counts first, then the decorator's, then ours."""
        said = self.options.of(spec.queue)
        proofs = self.messages.proofs_for(spec.proofs, said)
        stamped = self.options.broker_stamps
        chosen = (said.on_expired, spec.on_expired, self.on_expired)
        policies = PolicyChain(
            next(policies for policies in chosen if policies is not None),
            hard_max_age=self.options.hard_max_age,
            trusted=self.messages.sources(proofs, stamped=stamped),
            audiences=self._audiences,
        )
        check_seal(self.messages, policies, self.letters)
        check_renewing(policies.renewing, self.header)
        operators = operator_rules_of(
            self.messages,
            spec.queue,
            spec.on_redrive if said.on_redrive is None else said.on_redrive,
            options=self.options,
            clock=self.clock,
        )
        if operators is not None and spec.introspect and _is_unasked(self.revocations):
            raise ConfigurationError(
                f"{spec.queue}: introspect=True with on_redrive: no issuer can be asked about a "
                "token that is gone: expected revocations=..., too"
            )
        self.introspects |= spec.introspect  # so that `Guard.check` asks those who will be asked
        trusted = self._confirmed() if spec.introspect else self.trusted
        return ConsumerRules(
            queue=spec.queue,
            trusted=with_vouchers(trusted, self.verifiers, policies.renewing, self.options),
            issued=self.trusted.signed,
            decryption=self.messages.decryption,
            messages=self.message_rules(spec.queue, proofs, spec.routes),
            callers=Rules(
                policies=policies,
                demand=spec.demand,
                revocations=self.revocations,
                session_claim=self._session_claim,
                transient=self.options.transient,
                renewals=self._renewals(trusted),
            ),
            concurrency=said.concurrency or self.options.concurrency,
            on_error=spec.on_error,
            deadline=said.deadline or spec.deadline or self.options.deadline,
            operators=operators,
        )

    def _renewals(self, trusted: Authenticator) -> Renewals:
        """Return what tokens are held to that policies have anew."""
        return Renewals(
            trusted=trusted,
            audience=frozenset().union(*self._audiences.values()),
            clock=self.clock,
            transient=self.options.transient,
        )

    def message_rules(
        self, queue: str, proofs: Proofs | None, routes: Iterable[Route]
    ) -> MessageRules:
        """Return what a consumer asks of its messages besides their tokens.

        Raises:
            ConfigurationError: a replay memory that forgets earlier than these proofs are stale.
        """
        return message_rules_of(
            self.messages,
            queue,
            proofs,
            routes,
            options=self.options,
            header=self.header.name,
            letters=self.letters,
            session_claim=self._session_claim,
        )

    def record(self, caller: Caller) -> FirstToken:
        """Return the record of a caller's token, for when that is gone."""
        return first_token(caller, self._session_claim)

    def check_first(self, first: FirstToken) -> None:
        """Refuse work whose first token was revoked.

        Raises:
            Untimely: ``token.revoked``.
            Deferred: what knows about revocations is out of reach.
        """
        caller = as_caller(first, self._session_claim)
        check_revoked(self.revocations, caller, self.clock.now(), self.options.transient)

    async def send(
        self,
        connection: AbstractConnection,
        outgoing: Outgoing,
        exchange: str,
        routing_key: str,
        *,
        way: tuple[str, str] | None = None,
        within: Within | None = None,
    ) -> None:
        """Publish a prepared message, and tell the auditor; what `publish` and `Bus` share.

        Args:
            connection: on which.
            outgoing: what.
            exchange: where to, which is told.
            routing_key: with which key, likewise.
            way: exchange and routing key by which it gets there; None for the same.
            within: how long it may take.

        Raises:
            PublishError: the broker did not confirm that the message was routed.
        """
        through, key = way or (exchange, routing_key)
        with self._watching.publishing(connection, outgoing, exchange, routing_key):
            await self._own.publish(
                connection, outgoing, exchange=through, routing_key=key, within=within
            )
        message_id, now = evidence(outgoing.properties.message_id), self.clock.now()
        if self.sent is not None:
            self.sent(outgoing, exchange, routing_key)
        self.tell(Event(kind=EventKind.PUBLISHED, queue=routing_key, at=now, message_id=message_id))

    @property
    def watcher(self) -> Watcher | None:
        """Return who watches its messages, None where nobody does."""
        return self._watching.watcher

    def keys_ages(self) -> dict[str, float | None]:
        """Return how old each issuer's keys are, the oldest where it has several sets.

        None stands for keys that are not fetched, or not yet; seconds otherwise.
        """
        oldest: dict[str, float | None] = {}
        for verifier in self.verifiers:
            keys = verifier.keys if isinstance(verifier, Verifier) else None
            age = keys.age if isinstance(keys, JWKS) else None
            # An authenticator of a user's own need not name one: then it stands for itself.
            issuer = str(getattr(verifier, "issuer", verifier))
            known = oldest.get(issuer)
            oldest[issuer] = age if known is None else max(known, age or 0.0)
        return oldest

    def watch(self, watcher: Watcher | None) -> None:
        """Have somebody watch what is published and handled from now on; None for nobody."""
        self._watching.watcher = watcher
        self._context.auditor.watcher = None if watcher is None else watcher.told

    def claim_loop(self) -> None:
        """Have the running event loop run its consumers; `Bus` does so as it starts.

        Raises:
            ConfigurationError: the loop of another thread runs them, and goes on.
        """
        self._context.loop.claim("this guard's consumers")

    def tell_mistake(self, refused: Refused) -> None:
        """Log the error that made a refusal at the edge, where one of the program's own did."""
        self._context.auditor.tell_mistake(refused, "at the edge")

    def tell_exchanged(self, fresh: Fresh) -> None:
        """Tell that a token was had at the edge."""
        self.tell_had(fresh.caller, fresh.told)

    def tell_had(self, caller: Caller, what: str) -> None:
        """Tell that a token was had in a caller's name, at the edge."""
        detail = evidence(f"{what}, at the edge")
        self.tell(exchanged(caller, queue="", at=self.clock.now(), detail=detail))

    def tell(self, event: Event) -> None:
        """Tell the auditor; its failure is logged and goes no further."""
        self._context.auditor(event)

    def _confirmed(self) -> Authenticator:
        if isinstance(self.trusted, Verifiers):  # JWTs alone: nobody among them can be asked
            raise ConfigurationError(
                "introspect=True: expected an Introspection among the guard's verifiers"
            )
        return self.trusted.confirmed()

    async def close(self) -> None:
        """Close what was opened here, and tell what the log has counted."""
        self._context.auditor.lines.close()
        if isinstance(self.auditor, Sink):
            await self.auditor.close()
        await self._context.replies.close()


def _is_unasked(revocations: Revocations) -> bool:
    return type(revocations) is NoRevocations


def _check_plain(what: str, called: object) -> None:
    """Refuse what would return a coroutine that nobody awaits."""
    if is_async(called) or not callable(called):
        raise ConfigurationError(f"{what}={name_of(called)}: expected a plain function, not async")


def _needed(queue: str, rules: ConsumerRules) -> Iterator[str]:
    """Yield the queues that a plain consumer needs around its own."""
    yield from (dead_queue(queue), rejected_queue(queue))
    if rules.callers.policies.parks:
        yield parked_queue(queue)


async def _same_connection(delivery: Delivery) -> AbstractConnection:
    """On a plain consumer, copies go out on the connection that the message came in on."""
    if delivery.channel is None or delivery.is_lost:
        raise PublishError("the delivery's channel is closed")
    return delivery.channel.connection
