"""What stands in front of handlers: one guard for a service, a decorator for each consumer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from aio_pika.abc import AbstractExchange, AbstractIncomingMessage
from aio_pika.exchange import Exchange
from aiormq.abc import AbstractConnection

from busauth._amqp.connecting.running import check_loop
from busauth._amqp.connecting.within import Within
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.consuming.rules import ConsumerSpec
from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.core import GuardCore
from busauth._amqp.handling.guarded import GuardedConsumer, P, R
from busauth._amqp.handling.plan import Handler
from busauth._amqp.judging.foreseen import Foreseen
from busauth._amqp.judging.judge import FRAME, FrameBytes
from busauth._amqp.judging.received import Received
from busauth._amqp.judging.verdicts import Judge
from busauth._amqp.options import GuardOptions, Letters, OnError
from busauth._amqp.publishing.onwards import OnwardRoutes
from busauth._amqp.publishing.outbox import Body, Token
from busauth._amqp.trust import check_verifiers, discovered
from busauth._arguments import checked, decorator, kind_of
from busauth._decision import LOOKS, Bare, Rules, check_standing, decide, stands
from busauth._delegation.exchanging import OnwardToken
from busauth._demand import Actors, Demand, Predicate
from busauth._expiry import Policies
from busauth._messages.proof import Proofs, Route
from busauth._messages.statements import Operators
from busauth._redaction import quiet_transport_logs
from busauth._revocation.revocations import Revocations
from busauth._tokens.asking.checking import check_issuers
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.envelope import is_encrypted
from busauth._tokens.evidence import Verified, still_said
from busauth._tokens.keys.waiting import found
from busauth._tokens.verifier import Verifier
from busauth.audit import LOGGER, Auditor, EventLog, Sink, both, log_event
from busauth.caller import Caller, lease_for
from busauth.clock import Clock, SystemClock
from busauth.errors import (
    ConfigurationError,
    Deferred,
    PublishError,
    Refused,
    defer_if_transient,
)

_ROUTES = OnwardRoutes(None)
"""A guard declares none: what is said with a publication counts."""


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
        letters: what letters keep, so that they can be sent again; default: nothing.
        options: knobs that most users leave alone.
        clock: where `now` comes from.
        auditor: is told of every decision; default: the ``busauth`` logger, by an `EventLog`. A
            sink (`busauth.sinks`) is told next to that log, and closed with the guard.

    Attributes:
        verifiers: as given, or the one that was made.
        messages, options, clock: as given, or the default.
        core: what buses and releases share with it; nothing for users.

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
        letters: Letters | None = None,
        options: GuardOptions | None = None,
        clock: Clock | None = None,
        auditor: Auditor = log_event,
    ) -> None:
        quiet_transport_logs()  # before the first frame with a token in it can be logged
        check_verifiers(verifiers, named=bool(issuer or audience))
        self.options = options or GuardOptions()
        self.messages = messages or MessageSecurity()
        self.clock = clock or SystemClock()
        self.verifiers = verifiers or (discovered(issuer, audience, self.clock),)
        self.core = GuardCore(
            self.verifiers,
            on_expired=on_expired,
            revocations=revocations,
            messages=self.messages,
            letters=letters or Letters(),
            options=self.options,
            clock=self.clock,
            auditor=auditor,
            authenticate=self._handed_in,
        )

    def __repr__(self) -> str:
        return f"<Guard of tokens by {', '.join(sorted(self.issuers))}>"

    @decorator('@guard(queue="queue", ...)')
    @checked
    def __call__(
        self,
        *,
        queue: str,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        actors: Actors | Iterable[str] | None = None,
        allow: Predicate | None = None,
        on_expired: Policies | None = None,
        introspect: bool = False,
        proofs: Proofs | None = None,
        routes: Iterable[Route] = (),
        on_error: OnError = OnError.DEAD_LETTER,
        deadline: float | None = None,
        on_redrive: Operators | None = None,
    ) -> Callable[[Callable[P, R]], GuardedConsumer[P, R]]:
        """Decorate a handler; the result is an aio-pika callback.

        A plain function runs in a thread; its message is held until that has ended.

        Args:
            queue: what it will consume; refused messages go to ``<queue>.dead`` and
                ``<queue>.rejected``, which must exist: nothing is handled before they do.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            actors: who may act for the caller: names, or `busauth.delegation.Actors`; NO_ACTOR for
                nobody; None where it makes no difference.
            allow: a further check of the caller; must return True.
            on_expired: instead of the guard's policies.
            introspect: a token is proven with the keys at hand, and then its issuer is asked.
            proofs: instead of the guard's.
            routes: how messages get to the queue, next to its name on the default exchange: where
                proofs may say that they were published to.
            on_error: what happens to a message whose handler raised.
            deadline: seconds after which the handler is cancelled, and has failed; instead of the
                guard's.
            on_redrive: whose word counts for a dead letter whose token is gone; see
                `busauth.letters.Operators`. Default: nobody's.

        Raises:
            TypeError: a parameter of the handler cannot be injected; or parentheses are missing.
            ConfigurationError: a policy can never be reached, needs a word that cannot be had, or
                takes away what is demanded.
        """
        spec = ConsumerSpec(
            queue=queue,
            demand=Demand.of(scopes, roles, allow, actors),
            on_expired=on_expired,
            introspect=introspect,
            proofs=proofs,
            routes=tuple(routes),
            on_error=on_error,
            deadline=deadline,
            on_redrive=on_redrive,
        )
        return partial(self.core.consumer, spec=spec)

    @checked
    def judge(
        self,
        *,
        queue: str,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        actors: Actors | Iterable[str] | None = None,
        allow: Predicate | None = None,
        on_expired: Policies | None = None,
        introspect: bool = False,
        proofs: Proofs | None = None,
        routes: Iterable[Route] = (),
        on_error: OnError = OnError.DEAD_LETTER,
        on_redrive: Operators | None = None,
        frame_max: FrameBytes = FRAME,
    ) -> Judge:
        """Return who judges a queue's messages for whoever has them in hand, and settles them.

        Made once, as a decorated handler is; then ``async with judge(message) as judged:`` for each
        message. It passes what a delivery on a consumer passes, and is told what that consumer
        would do; see `busauth.messages.Judge`. Nothing is said of the body but by its proof.

        Args:
            queue: whose messages; where it is named in options, those count here as well.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            actors: who may act for the caller: names, or `busauth.delegation.Actors`; NO_ACTOR for
                nobody; None where it makes no difference.
            allow: a further check of the caller; must return True.
            on_expired: instead of the guard's policies.
            introspect: a token is proven with the keys at hand, and then its issuer is asked.
            proofs: instead of the guard's.
            routes: how messages get to the queue, next to its name on the default exchange.
            on_error: what becomes of a message that is said to have `failed`.
            on_redrive: whose word counts for a dead letter whose token is gone.
            frame_max: bytes of a frame, as negotiated by the connection that copies go out on: what
                does not fit is left out of them.

        Raises:
            ConfigurationError: as for a decorated handler.
        """
        spec = ConsumerSpec(
            queue=queue,
            demand=Demand.of(scopes, roles, allow, actors),
            on_expired=on_expired,
            introspect=introspect,
            proofs=proofs,
            routes=tuple(routes),
            on_error=on_error,
            on_redrive=on_redrive,
        )
        return self.core.judge(spec, frame_max=frame_max)

    async def foresee(
        self,
        consumer: GuardedConsumer[..., Any],
        message: Received | AbstractIncomingMessage,
        *,
        frame_max: FrameBytes = FRAME,
    ) -> Foreseen:
        """Return what a decorated handler's consumer would decide about a message now.

        The message passes the consumer's own stages, and nothing happens: no handler runs, nothing
        is published, settled, told or remembered, and no policy of yours is run that does not say
        that it is `pure`. What cannot be known so is said. Keys are fetched, and issuers and what
        knows of revocations are asked, as the consumer would.

        Args:
            consumer: what decorating the handler returned.
            message: aio-pika's, or another client's as a `Received`.
            frame_max: bytes of a frame, as negotiated by the connection that copies go out on.

        Raises:
            ConfigurationError: it is no consumer of a guard's, the message came from another queue
                or is none; or the guard's consumers run in another thread's event loop.
        """
        if not isinstance(consumer, Consumer):
            raise ConfigurationError(
                f"got {kind_of(consumer)}, expected what @guard(queue=...) returned"
            )
        foresight = self.core.foresight(consumer.queue, consumer, frame_max=frame_max)
        return await foresight.foresee(message)

    def replica(
        self,
        *verifiers: Verifier | Authenticator,
        clock: Clock,
        auditor: Auditor,
        revocations: Revocations | None = None,
        around: Callable[[Handler], Handler] | None = None,
        logs: bool = True,
    ) -> "Guard":
        """Return a guard with the same policies and options, and other trust: for tests.

        Args:
            verifiers: whom it trusts instead.
            clock: where `now` comes from instead.
            auditor: is told of every decision next to this guard's own; a sink of that keeps none.
            revocations: who is asked instead; None for whom this guard asks.
            around: returns what is called in place of a handler, with the same arguments.
            logs: False where `auditor` shows what the log would: it is told to the log no more.
        """
        kept = self.core.auditor
        own = kept.in_tests() if isinstance(kept, Sink) else kept
        is_log = own is log_event or isinstance(own, EventLog)
        # Their ends were looked at by this guard's clock: by another one they may be far ahead.
        strict = {
            queue: said.model_copy(update={"shadow": None})
            for queue, said in self.options.consumers.items()
        }
        replica = Guard(
            *verifiers,
            on_expired=self.core.on_expired,
            revocations=self.core.revocations if revocations is None else revocations,
            messages=self.messages,
            letters=self.core.letters,
            options=self.options.model_copy(update={"consumers": strict}),
            clock=clock,
            auditor=auditor if is_log and not logs else both(auditor, own),
        )
        replica.core.shadows.begin_as(self.core.shadows)
        replica.core.around = around
        replica.core.watch(self.core.watcher)
        return replica

    async def authenticate(
        self,
        authorization: str | None,
        *,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        actors: Actors | Iterable[str] | None = None,
        on_expired: Policies | None = None,
    ) -> Caller:
        """Verify an HTTP request's ``Authorization`` value, or its ``Txn-Token``.

        Args:
            authorization: the header's value, None where there is none; of a guard of transaction
                tokens that of ``Txn-Token``.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            actors: who may act for the caller: names, or `busauth.delegation.Actors`; NO_ACTOR for
                nobody; None where it makes no difference.
            on_expired: for services behind a queue, whose callers may have waited there; default:
                nothing late is accepted, whatever the guard's policies say of messages.

        Raises:
            Refused: with its code and HTTP status.
            Deferred: the issuer's keys are out of reach; answer 503.
            ConfigurationError: a `Restrict` takes away what is demanded, or another policy can
                never be reached, or needs a word that cannot be had.
        """
        rules = self.core.edge_rules(Demand.of(scopes, roles, actors=actors), on_expired)
        token = self.core.header.token(authorization)
        decryption = self.messages.decryption
        if decryption is not None and is_encrypted(token):
            token = decryption.decrypt(token)
        return await self._authenticated(token, rules)

    async def _authenticated(self, token: str, rules: Rules) -> Caller:
        in_hand = Bare(token)
        try:
            caller = await self._decided(token, rules, in_hand)
        except Refused as refused:
            self.core.tell_mistake(refused)
            raise
        finally:
            if in_hand.fresh is not None:  # whatever comes of it
                self.core.tell_exchanged(in_hand.fresh)

        def check(caller: Caller) -> None:
            check_standing(caller, rules, self.clock.now())

        if in_hand.fresh is not None:
            token = in_hand.fresh.token
        lease = lease_for(caller, token, standing=check, clock=self.clock, told=self.core.tell_had)
        return replace(caller, _lease=lease)

    async def _handed_in(self, token: str) -> Caller:
        return await self._authenticated(token, self.core.edge_rules(Demand(), None))

    async def _decided(self, token: str, rules: Rules, in_hand: Bare) -> Caller:
        """Decide, and look once more after a policy was asked: what stood then may have fallen."""
        verified = await self._proven(token)
        for _ in range(LOOKS):
            # Now, and not before: the wait for keys must not make the decision stale.
            caller = await decide(verified, rules, self.clock.now(), in_hand=in_hand)
            if caller.late is None:  # nothing was awaited
                return caller
            verified, is_same = await still_said(verified, partial(self._proven, token))
            if (fresh := in_hand.fresh) is not None and rules.renewals is not None:
                is_same = await rules.renewals.still_says(fresh) and is_same
            now = self.clock.now()
            if is_same and stands(verified, caller, rules, now, fresh=fresh):
                return caller
            in_hand.fresh = None
        raise Deferred("what the decision rests on keeps changing")

    async def _proven(self, token: str) -> Verified:
        try:
            return await found(lambda: self.core.trusted.recall(token))
        except Exception as error:  # a user's own authenticator may raise what only they know
            defer_if_transient("who proves tokens is", error, self.options.transient)
            raise

    async def publish(
        self,
        exchange: AbstractExchange,
        message: Body,
        routing_key: str,
        *,
        body_type: Any = None,
        token: Token = None,
        recipient: str | None = None,
        must_route: bool = True,
        onward: OnwardToken | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- given up, it is told what became of it
    ) -> None:
        """Publish on the exchange's connection, on a channel of busauth's own, confirmed.

        Args:
            exchange: where to.
            message: body, properties and headers of yours; or a body alone, as of `Bus.publish`.
            routing_key: as AMQP has it.
            body_type: what its consumer has a body annotated as; None for its own type.
            token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.
            recipient: for whom the token is encrypted, where there are several.
            must_route: False where nobody need listen: then it is no error that no queue takes it.
            onward: which token goes on in place of the caller's own, such as an `Onward`; the given
                token is verified first. None for the caller's own.
            timeout: seconds until it is given up; None for `GuardOptions.publish_timeout`.

        Raises:
            CallerError, NotGenuine, Untimely: there is nobody to publish for; see `Outbox.prepare`.
            Refused, Deferred: no token goes on, or none can be had now: nothing was sent.
            PublishError: the broker did not confirm that the message was routed, or the body would
                not come back equal.
            ConfigurationError: nothing of this type can be a body.
        """
        if not isinstance(exchange, Exchange):  # only from those a way leads to their connection
            raise TypeError(f"expected an exchange of aio-pika's: got {type(exchange).__name__}")
        # Begun here: the wait for a connection is part of what was allowed.
        within = Within.of(timeout, self.options.publish_timeout)
        chosen = _ROUTES.of(onward, token, exchange.name, routing_key, body=message)
        instead = await self.core.onwards.instead(chosen, token, routing_key, within)
        outgoing = self.core.outbox.prepare(
            message,
            token,
            body_type=body_type,
            exchange=exchange.name,
            routing_key=routing_key,
            recipient=recipient,
            must_route=must_route,
            instead=instead,
        )
        connection = await _connection_of(exchange, within)
        await self.core.send(connection, outgoing, exchange.name, routing_key, within=within)

    async def check(self) -> Mapping[str, Deferred]:
        """Ask each issuer, before the first message comes; `Bus` does so as it starts.

        Keys are fetched that are not at hand, and the metadata's `issuer` is compared. Where a
        consumer says ``introspect=True``, its issuer must answer about JWTs.

        Returns:
            Who is out of reach, and why, by issuer: their tokens wait. Each is told in the log.

        Raises:
            ConfigurationError: an issuer contradicts what is configured.
        """
        away = await check_issuers(self.verifiers, introspects=self.core.introspects)
        for issuer, deferred in away.items():
            LOGGER.warning("issuer %r is waited for: %s", issuer, deferred.reason)
        return away

    @property
    def issuers(self) -> frozenset[str]:
        """Return whose tokens it takes, by name; those who prove sessions among them."""
        return frozenset(self.core.keys_ages())

    async def close(self) -> None:
        """Close what the guard opened by itself: the connection for answers, if there is one.

        What its log has counted is told, too, and a sink writes what waits.
        """
        await self.core.close()


def credentials_of(guard: Guard) -> Guard:
    """Return a guard that people sign in by: no transaction token is anybody's credentials.

    Raises:
        ConfigurationError: it takes those (draft-ietf-oauth-transaction-tokens-10, section 9.10).
    """
    if guard.core.header.is_transactions:
        raise ConfigurationError(
            "a guard of transaction tokens: nobody signs in by one; expected one of access tokens"
        )
    return guard


async def _connection_of(exchange: Exchange, within: Within) -> AbstractConnection:
    """Return where a plain exchange is, waiting for it while its connection is being restored.

    Raises:
        PublishError: it is not restored in time, or lives in another event loop.
    """
    try:
        async with within.limit():
            connection = (await exchange.channel.get_underlay_channel()).connection
    except TimeoutError as error:
        raise PublishError(
            f"the connection of exchange {exchange.name!r} was not there for {within.seconds:g} s: "
            "it was not sent"
        ) from error
    whose = f"the connection of exchange {exchange.name!r}"
    check_loop(connection.loop, whose, "guard.publish(...)", PublishError)
    return connection
