"""What a guard adds to one message, in microseconds, all together and by stage.

Nothing is built into busauth for it: real deliveries go through real consumers on a channel that
says nothing. A guard is compared with the same delivery, handler and acknowledgement without a
check, and with aio-pika's own way, ``async with message.process()``. The stages are called one
after the other the way that an attempt calls them; together they are less than the whole, which
also passes from one to the next.
"""

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import IncomingMessage
from aiormq.abc import DeliveredMessage

from bench import proof, proven
from bench.delivered import deliveries
from bench.figures import Spread
from bench.messages import HEADER, Order
from bench.patterns import Pattern, callers
from bench.scale import Scale
from bench.tokens import AUDIENCE, Pool
from bench.turns import spreads
from busauth import (
    Caller,
    DeadLetter,
    EventKind,
    Guard,
    GuardOptions,
    StaticKeys,
    Verifier,
    Verifiers,
    log_event,
)
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.plan import compile_plan
from busauth._amqp.headers import BEARER, token_in
from busauth._amqp.settling.acks import Acks
from busauth._decision import Rules, decide_in_time
from busauth._demand import Demand
from busauth._expiry import PolicyChain
from busauth.audit import Telling
from busauth.caller import acting, holding, lease_for

T = TypeVar("T")
Step = Callable[[DeliveredMessage], Awaitable[object]]
Brought = Callable[[], list[DeliveredMessage]]
"""Makes the messages of one round, each to be handled once."""

_QUEUE = "orders"
_TURN = 3
"""Messages that a turn of the loop brings, as aiormq reads ten frames at a time."""
_SCHEME = len("Bearer ")


@dataclass(frozen=True, slots=True)
class Stages:
    """Microseconds for one message, over the rounds.

    Attributes:
        added: what a guard adds, by pattern of tokens and kind of handler.
        stages: what each stage takes, warm.
        proofs: what a proof takes to sign and to check, and a seal, by algorithm.
    """

    added: dict[str, Spread]
    stages: dict[str, Spread]
    proofs: dict[str, Spread]

    def to_json(self) -> dict[str, Any]:
        """Return all of them."""
        parts = {"added": self.added, "stages": self.stages, "proofs": self.proofs}
        return {
            part: {name: spread.to_json() for name, spread in found.items()}
            for part, found in parts.items()
        }


def verifier_of(pool: Pool) -> Verifier:
    """Return a verifier of a pool's tokens."""
    keys = StaticKeys(pool.jwk)
    return Verifier(keys, issuer=pool.issuer, audience=AUDIENCE, algorithms=[pool.algorithm])


def guarded(
    guard: Guard, queue: str = _QUEUE, *, actors: Iterable[str] | None = None
) -> Consumer[..., None]:
    """Return a guarded handler that takes the message and does nothing."""

    @guard(queue=queue, scopes={"orders:write"}, actors=actors)
    async def place_order(message: AbstractIncomingMessage, caller: Caller) -> None:
        """Do nothing."""

    return cast("Consumer[..., None]", place_order)


def guarded_body(guard: Guard) -> Consumer[..., None]:
    """Return a guarded handler that takes the body as a model and does nothing."""

    @guard(queue=_QUEUE, scopes={"orders:write"})
    async def place_order(order: Order, caller: Caller) -> None:
        """Do nothing."""

    return cast("Consumer[..., None]", place_order)


async def plain(delivered: DeliveredMessage) -> None:
    """Handle a message the way that aio-pika's own callbacks do."""
    message = IncomingMessage(delivered)
    async with message.process():
        await _nothing()


def unguarded() -> Step:
    """Return a step that does what a guarded consumer does, but for every check."""
    acks = Acks()

    async def handle(delivered: DeliveredMessage) -> None:
        delivery = Delivery(delivered)
        await _takes(delivery.message)
        acks.add(delivery, _told)

    return handle


async def _takes(_message: AbstractIncomingMessage) -> None:
    """Do nothing with a message."""


async def _nothing() -> None:
    """Do nothing, as the guarded handlers do."""


async def timed(step: Callable[[T], Awaitable[object]], messages: list[T]) -> float:
    """Return microseconds for one message, or whatever else a step takes; each is handled once.

    Nothing waits in here: the process's own time is what an idle machine's clock would show. The
    loop turns as often as it would, so that what is gathered is written.
    """
    gc.collect()
    began = time.process_time_ns()
    for number, message in enumerate(messages):
        await step(message)
        if number % _TURN == 0:
            await asyncio.sleep(0)
    return (time.process_time_ns() - began) / len(messages) / 1000


async def _rounds(
    steps: dict[str, tuple[Step, Brought]], rounds: int, plain: str
) -> dict[str, Spread]:
    """Let steps take turns; return what each takes more than the plain one of its round."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, (step, brought) in steps.items():
            found[name].append(await timed(step, brought()))
    base = found.pop(plain)
    return {
        name: Spread.of(value - floor for value, floor in zip(values, base, strict=True))
        for name, values in found.items()
    }


async def _added(pool: Pool, scale: Scale) -> dict[str, Spread]:
    """Compare whole consumers with the plain way; the cold guard remembers nothing."""
    remembering = Guard(verifier_of(pool))
    forgetting = _forgetful(pool)
    tokens = [pool.tokens[caller] for caller in callers(Pattern.WARM, scale.loop)]
    few, new = partial(deliveries, tokens), partial(deliveries, pool.tokens[: scale.loop])
    steps: dict[str, tuple[Step, Brought]] = {
        "unguarded": (unguarded(), few),
        "warm": (direct(guarded(remembering)), few),
        "warm, body": (direct(guarded_body(remembering)), few),
        "cold": (direct(guarded(forgetting)), new),
        "aio-pika's own way, no check": (plain, few),
        **_proven(pool, tokens),
    }
    return await _rounds(steps, scale.loop_rounds, "unguarded")


def _proven(pool: Pool, tokens: list[str]) -> dict[str, tuple[Step, Brought]]:
    """Return warm guards that ask for a proof of each message."""
    steps: dict[str, tuple[Step, Brought]] = {}
    for remembers, more in ((False, ""), (True, ", seal and replay memory")):
        for algorithm, proving in proven.proving(remembers=remembers).items():
            guard = Guard(verifier_of(pool), messages=proving.security)
            brought = partial(proving.deliveries, tokens, time.time())
            steps[f"warm, proof {algorithm}{more}"] = (direct(guarded(guard)), brought)
    return steps


def direct(consumer: Consumer[..., None]) -> Step:
    """Return what aiormq calls from a consumer's second delivery on."""
    consumer._around.unseen = ()  # noqa: SLF001 -- with the first one, it has looked for queues
    return lambda delivered: consumer.take(Delivery(delivered))


def _forgetful(pool: Pool) -> Guard:
    """Return a guard that remembers the last token only, so that each next one is new."""
    return Guard(verifier_of(pool), options=GuardOptions(cached_tokens=1))


async def _by_stage(pool: Pool, scale: Scale) -> dict[str, Spread]:
    tokens = [pool.tokens[caller] for caller in callers(Pattern.WARM, scale.loop)]
    brought = partial(deliveries, tokens)
    steps: dict[str, tuple[Step, Brought]] = {
        name: (step, brought) for name, step in _stages(pool).items()
    }
    return await _rounds(steps, scale.loop_rounds, "an empty step")


def _stages(pool: Pool) -> dict[str, Step]:
    """Return each stage as a step, with what the stages before it would have found."""
    verifiers = Verifiers(verifier_of(pool))
    caller = verifiers.recall(pool.tokens[0]).caller

    async def empty(_message: DeliveredMessage) -> None:
        """Do nothing: what a step costs by itself."""

    return {"an empty step": empty, **_judging(pool, verifiers), **_handling(pool, caller)}


def _judging(pool: Pool, verifiers: Verifiers) -> dict[str, Step]:
    """Whose message is it, and may they?"""
    verified, now = verifiers.recall(pool.tokens[0]), time.time()
    rules = Rules(
        policies=PolicyChain(DeadLetter(), hard_max_age=0), demand=Demand.of(["orders:write"])
    )

    async def extract(message: DeliveredMessage) -> None:
        token_in(_headers(message), BEARER)

    async def authenticate(message: DeliveredMessage) -> None:
        verifiers.recall(str(_headers(message)[HEADER])[_SCHEME:])

    async def judge(_message: DeliveredMessage) -> None:
        verified.lateness(now)
        decide_in_time(verified, rules, now)

    return {"extract": extract, "authenticate": authenticate, "decide": judge}


def _headers(message: DeliveredMessage) -> dict[str, Any]:
    return message.header.properties.headers or {}


def _handling(pool: Pool, caller: Caller) -> dict[str, Step]:
    """Run the handler, settle, tell."""
    plan = compile_plan(guarded_body(Guard(verifier_of(pool))).handler)
    token, teller = pool.tokens[0], Telling(log_event)

    async def body(message: DeliveredMessage) -> None:
        plan.arguments(Delivery(message), caller)

    async def dispatch(_message: DeliveredMessage) -> None:
        lease = lease_for(caller, token)
        holding(caller, lease)
        with acting(lease):
            await _nothing()

    acks = Acks()

    async def settle(message: DeliveredMessage) -> None:
        acks.add(Delivery(message), _told)

    async def tell(_message: DeliveredMessage) -> None:
        for kind in (EventKind.ACCEPTED, EventKind.HANDLED):
            teller.is_heard(kind)

    return {"body": body, "dispatch": dispatch, "settle": settle, "tell": tell}


def _told(_was_told: bool) -> None:  # noqa: FBT001 -- a callback's one argument
    """Do nothing more."""


def measure(pool: Pool, scale: Scale) -> Stages:
    """Measure whole guards, then their stages."""

    async def both() -> Stages:
        proofs = spreads(proof.steps(), scale.loop_rounds, scale.loop // 20)
        return Stages(await _added(pool, scale), await _by_stage(pool, scale), proofs)

    return asyncio.run(both())
