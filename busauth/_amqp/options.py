"""Knobs that most users leave alone, each with its unit and its default."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, model_validator

from busauth._amqp.headers import AUTHORIZATION
from busauth._amqp.shadowing.shadow import Shadow
from busauth._arguments import Bytes, Count, Range, Seconds, SecondsOrNone
from busauth._expiry import DeclaredPolicies
from busauth._files.keys import naming, read_jwk
from busauth._knobs import Knobs
from busauth._messages.proof import ProofDemand
from busauth._messages.statements import Operators
from busauth._tokens.encryption.kept import LetterKeys
from busauth._tokens.verifier import CACHED_TOKENS, MAX_TOKEN_BYTES
from busauth.errors import BusauthError, ConfigurationError

Handlers = Annotated[int, Range(unit="a number", least=1, most=10_000)]
TokenBytes = Annotated[int, Range(unit="bytes", least=256, most=64 * 1024)]
Tokens = Annotated[int, Range(unit="a number", most=1_000_000)]
Times = Annotated[int, Range(unit="a number", least=1, most=1000)]
Retries = Annotated[int, Range(unit="a number", most=100)]
Deliveries = Annotated[int, Range(unit="a number", least=1, most=65_535)]
"""What AMQP can say of a prefetch; none would be without limit."""

Minutes = Annotated[float, Range(unit="seconds", above=0, most=300)]
Delay = Annotated[float, Range(unit="seconds", least=0.05)]
PerSecond = Annotated[float, Range(unit="a number", above=0)]


class OnError(StrEnum):
    """What a plain consumer does with a message whose handler raised."""

    DEAD_LETTER = "dead-letter"
    """Copy it to ``<queue>.dead`` as ``handler.failed``, then acknowledge it."""

    RETRY = "retry"
    """Put it at the end of its queue after a pause, `GuardOptions.retries` times; then as above.

    Each pause is twice as long as the one before, and holds up that message alone.
    """


class ConsumerOptions(Knobs):
    """What an operator may say about one consumer; it counts above what its decorator says.

    Attributes:
        on_expired: the expiry policies.
        proof: whether its messages need their publishers' proofs.
        concurrency: handlers of this consumer that run at once.
        formerly: names that its queue had before, the first one first: what was parked or
            dead-lettered under them may still come back, and what was handled is still known.
        deadline: seconds after which a handler is cancelled, and its message tried again.
        on_redrive: whose word counts for sending a dead letter again whose token is gone.
        shadow: until when it hands over as nobody what it would refuse, so that a fleet can be
            moved; None for strict. A settings file can say so while the service runs.
    """

    on_expired: DeclaredPolicies | None = None
    on_redrive: Operators | None = None
    proof: ProofDemand | None = None
    concurrency: Handlers | None = None
    formerly: tuple[str, ...] = ()
    deadline: Seconds | None = None
    shadow: Shadow | None = None


def _check_transient(kinds: tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """Refuse what would make a verdict, or every mistake, nobody's fault."""
    for kind in kinds:
        if issubclass(kind, BusauthError) or issubclass(BusauthError, kind):
            found = f"transient={kind.__name__}"
            raise ConfigurationError(f"{found}: expected errors of a library's, or of yours")
    return kinds


def _letter_keys(given: object) -> object:
    """Read a key, or the file that a settings file names."""
    if isinstance(given, str | Path):
        with naming(given):
            return LetterKeys(read_jwk(given))
    return LetterKeys(given) if isinstance(given, Mapping) else given


class Letters(Knobs):
    """What a consumer's letters keep, so that they can be sent again.

    Attributes:
        keep_token: what is genuine and refused, has failed for good, or is parked keeps its token,
            encrypted for the consumer, which alone opens it: its private JWK, a JWK set of which
            the first key encrypts and all open, or the path of a file with either. None: only what
            `DeadLetter` says is kept.
    """

    holds_paths: ClassVar[bool] = True

    keep_token: Annotated[
        InstanceOf[LetterKeys] | None, BeforeValidator(_letter_keys), Field(repr=False)
    ] = None

    if TYPE_CHECKING:  # a key and a path are taken, and read: the field holds neither

        def __init__(
            self, *, keep_token: LetterKeys | Mapping[str, Any] | Path | str | None = ...
        ) -> None: ...


def _check_pauses(first: str, shortest: float, longest: str, most: float) -> None:
    """Refuse a first pause that is longer than the longest one."""
    if shortest > most:
        raise ConfigurationError(
            f"{first}={shortest:g} is longer than {longest}={most:g}: expected it no longer, "
            "or the other one longer, too"
        )


class GuardOptions(Knobs):
    """How a guard works; seconds and bytes throughout.

    Attributes:
        header: the AMQP header that carries the token; transaction tokens have one of their own.
        max_token_bytes: longer tokens are refused unread.
        max_body_bytes: longer bodies are refused where a handler takes anything but `bytes`.
        cached_tokens: how many verified tokens are remembered.
        hard_max_age: seconds past `exp` after which no policy accepts.
        concurrency: handlers of one consumer that run at once, also where the channel has no
            prefetch.
        deadline: seconds after which a handler is cancelled, and its message tried again; None for
            never. Best below the broker's consumer timeout, 30 minutes by default.
        max_hops: how often a message may lead to another before it is taken for a loop.
        publish_timeout: seconds to wait for the broker's confirmation.
        pause_first: seconds of the first pause where something is out of reach; each further one is
            twice as long.
        pause_longest: seconds of the longest pause.
        retries: how often a plain consumer tries a message again whose handler failed, where it
            says `OnError.RETRY`.
        reply_to: patterns (`fnmatch`) of reply queues that get a problem+json answer to a refused
            request, next to direct reply-to, which always does.
        replies_per_second: how many such answers are sent at most.
        broker_stamps: the broker overwrites `timestamp_in_ms` on each publication (RabbitMQ 3.12
            and later, where its operator says so): a sender cannot choose what it says.
        transient: kinds of errors that are nobody's fault next to `OSError`, where something that
            you bring raises them (revocations, policies, keys, a memory): the message waits. Such
            as ``redis.exceptions.ConnectionError``, which is no `OSError`.
        consumers: what is said about single consumers, by queue.
    """

    header: str = Field(default=AUTHORIZATION, min_length=1, max_length=128)
    max_token_bytes: TokenBytes = MAX_TOKEN_BYTES
    max_body_bytes: Bytes = 1024 * 1024
    cached_tokens: Tokens = CACHED_TOKENS
    hard_max_age: SecondsOrNone = 24 * 3600.0
    concurrency: Handlers = 50
    deadline: Seconds | None = None
    max_hops: Times = 32
    publish_timeout: Minutes = 30.0
    pause_first: Minutes = 1.0
    pause_longest: Minutes = 60.0
    retries: Times = 5
    reply_to: tuple[str, ...] = ()
    replies_per_second: PerSecond = 50.0
    broker_stamps: bool = False
    transient: Annotated[tuple[type[Exception], ...], AfterValidator(_check_transient)] = ()
    consumers: Mapping[str, ConsumerOptions] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_pauses("pause_first", self.pause_first, "pause_longest", self.pause_longest)
        return self

    def shadows(self) -> dict[str, Shadow]:
        """Return which consumers are said to be in shadow, by queue."""
        said = ((queue, each.shadow) for queue, each in self.consumers.items())
        return {queue: shadow for queue, shadow in said if shadow is not None}

    def of(self, queue: str) -> ConsumerOptions:
        """Return what is said about the consumer of a queue."""
        return self.consumers.get(queue, ConsumerOptions())


class RetryOptions(Knobs):
    """The ladder of delays between attempts; no delay is longer than `longest`.

    Retry *n* waits on rung *n* or the one above, at random, so that messages that failed together
    do not come back together: a delay may be twice as long as its rung's. So there is a rung more
    than there are retries, but for those that `longest` makes equal: five retries, six queues.

    Attributes:
        limit: retries after the first attempt; 0 for none.
        first: seconds of the shortest delay; each rung above is twice as long.
        longest: seconds of the longest delay.
    """

    limit: Retries = 5
    first: Delay = 1.0
    longest: Delay = 300.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_pauses("first", self.first, "longest", self.longest)
        return self


class BusOptions(Knobs):
    """How a service consumes.

    Attributes:
        prefetch: deliveries that one consumer holds unacknowledged.
        delivery_limit: broken-off deliveries of one message, after which the broker itself moves
            it to ``<queue>.dead``, token included.
        rejected_limit: messages kept in ``<queue>.rejected``; the oldest go first.
        retry: the delays between attempts.
        drain: seconds that handlers get to finish when the service stops, but for those that run in
            a thread, which are waited for; what has not begun is
            given back at once. Best below the time that an orchestrator waits, 30 s as a rule.
        declare: whether queues, exchanges and bindings are declared; False where an operator does
            it.
    """

    prefetch: Deliveries = 100
    delivery_limit: Count = 20
    rejected_limit: Count = 10_000
    retry: RetryOptions = Field(default_factory=RetryOptions)
    drain: SecondsOrNone = 25.0
    declare: bool = True
