"""What stands in front of handlers: one guard for a service, a decorator for each consumer."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import replace

from aio_pika.abc import AbstractExchange, AbstractIncomingMessage
from aio_pika.exceptions import ChannelInvalidStateError
from aio_pika.exchange import Exchange
from aio_pika.message import Message
from aiormq.abc import AbstractConnection

from busauth.amqp.acks import Acks
from busauth.amqp.attempt import Terms, Tools
from busauth.amqp.consumer import GuardedConsumer
from busauth.amqp.copies import Outgoing
from busauth.amqp.disposal import Disposal
from busauth.amqp.headers import bearer_token
from busauth.amqp.options import ConsumerOptions, GuardOptions, OnError
from busauth.amqp.outbox import Outbox, Token
from busauth.amqp.plan import Handler, compile_plan
from busauth.amqp.publisher import Outlet, Publisher
from busauth.amqp.replies import Replies
from busauth.amqp.topology import RetryLadder
from busauth.audit import Auditor, Event, EventKind, log_event, told_safely
from busauth.caller import Caller, lease_for
from busauth.clock import Clock, SystemClock
from busauth.decision import Demand, Predicate, Rules, decide
from busauth.errors import ConfigurationError, PublishError, evidence
from busauth.late.expiry import DeadLetter, Policies, PolicyChain
from busauth.late.revocation import NoRevocations, Revocations
from busauth.redaction import quiet_transport_logs
from busauth.tokens.authenticators import Authenticator, Authenticators
from busauth.tokens.jwks import JWKS
from busauth.tokens.verifier import Verifier, Verifiers


class Guard:
    """Verifies the token of every delivery before its handler runs.

    Args:
        verifiers: one for each issuer, `Introspection` and `Sessions` among them; or none, with
            `issuer` and `audience` instead.
        issuer: the exact `iss`; its keys are found by discovery (RFC 8414).
        audience: whom tokens must be for.
        on_expired: what to do with a genuine token that has expired; default: dead-letter.
        revocations: what knows which tokens were revoked; default: nothing is.
        options: knobs that most users leave alone.
        clock: where `now` comes from.
        auditor: is told of every decision; default: the ``busauth`` logger.

    Attributes:
        verifiers: as given, or the one that was made.
        options: as given.

    Raises:
        ConfigurationError: the arguments do not go together; says which and why.
    """

    def __init__(
        self,
        *verifiers: Verifier | Authenticator,
        issuer: str | None = None,
        audience: str | Iterable[str] | None = None,
        on_expired: Policies | None = None,
        revocations: Revocations | None = None,
        options: GuardOptions | None = None,
        clock: Clock | None = None,
        auditor: Auditor = log_event,
    ) -> None:
        quiet_transport_logs()
        _check_verifiers(verifiers, named=bool(issuer or audience))
        self.options = options or GuardOptions()
        self._clock = clock or SystemClock()
        self._revocations = NoRevocations() if revocations is None else revocations
        if inspect.iscoroutinefunction(self._revocations.revoked):
            raise ConfigurationError("revocations.revoked: expected a plain function, not async")
        self._auditor = auditor
        self._on_expired = on_expired if on_expired is not None else DeadLetter()
        self._policies(None, None)  # a guard that cannot decide is found here, not at a decorator
        self.verifiers = verifiers or (_discovered(issuer, audience, self._clock),)
        self._trusted = _trust(self.verifiers, self.options)
        self._copies = Publisher(timeout=self.options.publish_timeout)
        self._own = Publisher(timeout=self.options.publish_timeout)
        self.outbox = Outbox(header=self.options.header, verifiers=self._trusted, clock=self._clock)
        self._tools = Tools(
            clock=self._clock,
            options=self.options,
            auditor=told_safely(auditor),
            replies=self._replies(),
            acks=Acks(),
        )

    def __call__(
        self,
        *,
        queue: str,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        allow: Predicate | None = None,
        on_expired: Policies | None = None,
        introspect: bool = False,
        on_error: OnError = OnError.DEAD_LETTER,
    ) -> Callable[[Handler], GuardedConsumer]:
        """Decorate a handler; the result is an aio-pika callback.

        Args:
            queue: what it will consume; refused messages go to ``<queue>.dead`` and
                ``<queue>.rejected``, which must exist.
            scopes: all of them must be in the token.
            roles: all of them must be in the token.
            allow: a further check of the caller; must return True.
            on_expired: instead of the guard's policies.
            introspect: a token is proven with the keys at hand, and then its issuer is asked.
            on_error: what happens to a message whose handler raised.

        Raises:
            TypeError: a parameter of the handler cannot be injected.
            ConfigurationError: a policy can never be reached.
        """
        demand = Demand.of(scopes, roles, allow)
        return lambda handler: self.consumer(
            handler,
            queue=queue,
            demand=demand,
            on_expired=on_expired,
            introspect=introspect,
            on_error=on_error,
        )

    def consumer(
        self,
        handler: Handler,
        *,
        queue: str,
        demand: Demand,
        on_expired: Policies | None,
        introspect: bool = False,
        on_error: OnError = OnError.DEAD_LETTER,
        outlet: Outlet | None = None,
        retries: RetryLadder | None = None,
    ) -> GuardedConsumer:
        """Guard a handler; what the decorator and `Bus` have in common."""
        said = self.options.consumers.get(queue, ConsumerOptions())
        rules = Rules(
            policies=self._policies(said, on_expired),
            demand=demand,
            revocations=self._revocations,
        )
        terms = Terms(
            queue=queue,
            trusted=self._confirmed() if introspect else self._trusted,
            rules=rules,
            concurrency=said.concurrency or self.options.concurrency,
            on_error=on_error,
        )
        disposal = Disposal(
            queue=queue,
            token_header=self.options.header,
            publisher=self._copies,
            outlet=outlet or _same_connection,
            retries=retries,
        )
        return GuardedConsumer(compile_plan(handler), terms, self._tools, disposal)

    def replica(
        self, *verifiers: Verifier | Authenticator, clock: Clock, auditor: Auditor
    ) -> "Guard":
        """Return a guard with the same policies and options, and other trust: for tests.

        Args:
            verifiers: whom it trusts instead.
            clock: where `now` comes from instead.
            auditor: is told of every decision next to this guard's own.
        """

        def both(event: Event) -> None:
            auditor(event)
            self._auditor(event)

        return Guard(
            *verifiers,
            on_expired=self._on_expired,
            revocations=self._revocations,
            options=self.options,
            clock=clock,
            auditor=both,
        )

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
        """
        token = bearer_token(authorization)
        verified = await self._trusted.authenticate(token)
        rules = Rules(
            policies=self._policies(None, on_expired or DeadLetter()),
            demand=Demand.of(scopes, roles),
            revocations=self._revocations,
        )
        caller = await decide(verified, rules, self._clock.now())
        return replace(caller, _lease=lease_for(caller, token))

    async def publish(
        self,
        exchange: AbstractExchange,
        message: Message,
        routing_key: str,
        *,
        token: Token = None,
    ) -> None:
        """Publish on the exchange's connection, on a channel of busauth's own, confirmed.

        Args:
            exchange: where to.
            message: body, properties and headers of yours.
            routing_key: as AMQP has it.
            token: a raw token at the edge; None for the caller in scope; or `ANONYMOUS`.

        Raises:
            CallerError, NotGenuine, Untimely: there is nobody to publish for; see `Outbox.prepare`.
            PublishError: the broker did not confirm that the message was routed.
        """
        outgoing = self.outbox.prepare(message, token)
        if not isinstance(exchange, Exchange):
            raise TypeError(f"expected an exchange of aio-pika's: got {type(exchange).__name__}")
        channel = await exchange.channel.get_underlay_channel()
        await self.send(channel.connection, outgoing, exchange.name, routing_key)

    async def close(self) -> None:
        """Close what the guard opened by itself: the connection for answers, if there is one."""
        await self._tools.replies.close()

    async def send(
        self, connection: AbstractConnection, outgoing: Outgoing, exchange: str, routing_key: str
    ) -> None:
        """Publish a prepared message, and tell the auditor; what `publish` and `Bus` share.

        Raises:
            PublishError: the broker did not confirm that the message was routed.
        """
        await self._own.publish(connection, outgoing, exchange=exchange, routing_key=routing_key)
        message_id = evidence(outgoing.properties.message_id)
        self._tools.auditor(
            Event(
                kind=EventKind.PUBLISHED,
                queue=routing_key,
                at=self._clock.now(),
                message_id=message_id,
            )
        )

    def _confirmed(self) -> Authenticator:
        if isinstance(self._trusted, Verifiers):
            raise ConfigurationError(
                "introspect=True: expected an Introspection among the guard's verifiers"
            )
        return self._trusted.confirmed()

    def _policies(self, said: ConsumerOptions | None, given: Policies | None) -> PolicyChain:
        """The operator's word for one consumer counts first, then the decorator's, then ours."""
        operators = said.on_expired if said is not None else None
        chosen = next(p for p in (operators, given, self._on_expired) if p is not None)
        return PolicyChain(chosen, hard_max_age=self.options.hard_max_age)

    def _replies(self) -> Replies:
        return Replies(
            self.options.reply_to,
            per_second=self.options.replies_per_second,
            clock=self._clock,
            publisher=Publisher(timeout=self.options.publish_timeout),
        )


def _trust(
    verifiers: tuple[Verifier | Authenticator, ...], options: GuardOptions
) -> Verifiers | Authenticators:
    """JWTs alone need no choice of who judges them."""
    own = [each for each in verifiers if isinstance(each, Verifier)]
    limits: dict[str, int] = {
        "max_token_bytes": options.max_token_bytes,
        "cache_size": options.cached_tokens,
    }
    if len(own) == len(verifiers):
        return Verifiers(*own, **limits)
    return Authenticators(*verifiers, **limits)


def _check_verifiers(verifiers: tuple[object, ...], *, named: bool) -> None:
    """Take one way of saying whom a guard trusts, and only what can verify."""
    for verifier in verifiers:
        if not isinstance(verifier, Verifier) and not hasattr(verifier, "authenticate"):
            raise ConfigurationError(
                f"got {evidence(verifier)}: expected Guard(issuer=..., audience=...) or "
                "Guard(Verifier(...), ...)"
            )
    if verifiers and named:
        raise ConfigurationError("give Guard verifiers, or issuer and audience: not both")


def _discovered(issuer: str | None, audience: str | Iterable[str] | None, clock: Clock) -> Verifier:
    if not issuer or not audience:
        raise ConfigurationError(
            "expected Guard(issuer=..., audience=...) or Guard(Verifier(...)): who issues the "
            "tokens, and for whom?"
        )
    return Verifier(JWKS.discover(issuer, clock=clock), issuer=issuer, audience=audience)


async def _same_connection(message: AbstractIncomingMessage) -> AbstractConnection:
    """On a plain consumer, copies go out on the connection that the message came in on."""
    try:
        return message.channel.connection
    except ChannelInvalidStateError as error:
        raise PublishError("the delivery's channel is closed") from error
