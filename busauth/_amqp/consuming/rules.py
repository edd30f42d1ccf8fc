"""What one queue is consumed by: what a decorator says of it, and what a guard makes of that."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from busauth._amqp.consuming.message_rules import MessageRules
from busauth._amqp.headers import TokenHeader
from busauth._amqp.options import GuardOptions, OnError
from busauth._amqp.publishing.watching import Watching
from busauth._amqp.settling.acks import Acks
from busauth._amqp.settling.replies import Replies
from busauth._amqp.shadowing.shadows import Shadows
from busauth._arguments import checked_class
from busauth._decision import Demand, Rules
from busauth._expiry import Policies
from busauth._loops import OneLoop
from busauth._messages.proof import Proofs, Route
from busauth._messages.statements import OperatorRules, Operators
from busauth._tokens.authenticators import Authenticator
from busauth._tokens.encryption.encryption import Decryption
from busauth.audit import Telling
from busauth.clock import Clock
from busauth.errors import ConfigurationError


@checked_class
@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """What a decorator asks of one queue's messages, for any guard; see `Guard` for each."""

    queue: str
    demand: Demand = field(default_factory=Demand)
    on_expired: Policies | None = None
    introspect: bool = False
    proofs: Proofs | None = None
    routes: tuple[Route, ...] = ()
    on_error: OnError = OnError.DEAD_LETTER
    deadline: float | None = None
    on_redrive: Operators | None = None

    def __post_init__(self) -> None:
        if self.deadline is not None and not 0 < self.deadline < math.inf:
            raise ConfigurationError(
                f"{self.queue}: deadline={self.deadline!r}: expected seconds above 0, or None"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerRules:
    """The terms on which one queue is consumed.

    Attributes:
        queue: the consumed queue.
        trusted: who proves tokens genuine.
        issued: whether a trusted issuer signed a token, whoever it is for.
        decryption: opens tokens that travel encrypted.
        messages: what is asked of the messages themselves.
        callers: what its callers are held to.
        concurrency: handlers that run at once.
        on_error: what happens to a message whose handler failed and is not retried.
        deadline: seconds after which its handler is cancelled; None for never.
        operators: whose word counts for a letter without its token; None: nobody's.
    """

    queue: str
    trusted: Authenticator
    issued: Callable[[str], bool]
    decryption: Decryption | None
    messages: MessageRules
    callers: Rules
    concurrency: int
    on_error: OnError
    deadline: float | None = None
    operators: OperatorRules | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardContext:
    """What every consumer of a guard shares."""

    clock: Clock
    options: GuardOptions
    header: TokenHeader
    auditor: Telling
    replies: Replies
    acks: Acks
    loop: OneLoop
    watching: Watching
    shadows: Shadows
