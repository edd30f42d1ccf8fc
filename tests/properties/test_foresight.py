"""What is foreseen of a message is what its consumer then decides, and looking changes nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from aio_pika.abc import AbstractIncomingMessage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from busauth import Caller, DeadLetter, Discard, Event, Grace, Guard, Park, StaticKeys, Verifier
from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.consuming.pipeline import Pipeline
from busauth._amqp.judging.received import seen
from busauth._decision import Discarded, Parked
from busauth.errors import Deferred, Refused
from busauth.expiry import LateToken, Restrict, ValidWhenPublished, Verdict, pure
from busauth.messages import Foreseen, MessageSecurity, Received, ReplayKey, StageState, Standing
from busauth.testing import Issuer, ManualClock
from tests.parties import Party, security
from tests.properties.strategies import few_of

QUEUE = "orders"
WEB = Party("web")
BODIES = st.sampled_from(
    [b'{"id": 1}', b'{"id": "x"}', b"{}", b"not JSON", b'{"id": 1}' + b" " * 99]
)


class Order(BaseModel):
    id: int


class Failing:
    """A replay memory that nobody may ask."""

    keep_for = 90_000.0

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        raise AssertionError("a memory was asked")

    async def done(self, key: ReplayKey) -> None:
        raise AssertionError("a memory was told")

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        raise AssertionError("a memory was told")

    async def was_settled(self, key: ReplayKey) -> bool:
        raise AssertionError("a memory was asked")


class Revoked:
    """Some are, and of one it cannot be told."""

    def revoked(self, caller: Caller, now: float) -> bool:
        if caller.subject == "nobody knows":
            raise ConnectionError("away")
        return caller.subject == "revoked"


@pure
async def lenient(late: LateToken) -> Verdict | None:
    return None if late.seconds > 100 else Discard()


@pure
def is_no_robot(caller: Caller) -> bool:
    return caller.subject != "robot"


POLICIES = st.sampled_from(
    [
        None,
        Grace(minutes=10),
        [Grace(minutes=1), DeadLetter()],
        [ValidWhenPublished(sources={"web"}, minutes=30), Discard()],
        [Park(), Discard()],
        Restrict({"orders:write"}),
        [lenient, Grace(minutes=20)],
    ]
)


CLOCK = ManualClock()
ISSUER, FORGER = Issuer(clock=CLOCK), Issuer(clock=CLOCK)

CHANGES = few_of(
    {
        "scope": st.sampled_from(["orders:write a", "orders:read"]),
        "sub": st.sampled_from(["revoked", "nobody knows", "robot"]),
        "aud": st.just("another"),
        "iss": st.just("https://another.example"),
        "nbf": st.just(10**10),
        "busauth-hop": st.sampled_from([1, 32, 33, "many"]),
        "busauth-purpose": st.sampled_from(["letter", "parked", "retry"]),
        "busauth-attempt": st.sampled_from([1, 3]),
        "busauth-seal": st.text(max_size=5),
        "busauth-proof": st.sampled_from([None, "x.y.z", 1]),
        "authorization": st.sampled_from([None, "Basic x", "Bearer x.y.z", "Bearer a.b.c.d.e"]),
        "body": BODIES,
        "issuer": st.just(FORGER),
        "routing_key": st.just("elsewhere"),
    }
)
"""What is wrong with a message, if anything."""

WAITS = st.sampled_from([0.0, 290.0, 310.0, 500.0, 1000.0, 5000.0, 200_000.0])
"""Seconds that it waits; its token counts for 300 of them."""


def a_guard(messages: MessageSecurity, policies: Any, auditor: Callable[[Event], None]) -> Guard:
    keys, audience = StaticKeys(ISSUER.jwks()), ISSUER.audience
    return Guard(
        Verifier(keys, issuer=ISSUER.url, audience=audience, leeway=0),
        clock=CLOCK,
        auditor=auditor,
        on_expired=policies,
        revocations=Revoked(),
        messages=messages,
    )


def a_consumer(guard: Guard) -> Consumer[..., Any]:
    @guard(queue=QUEUE, scopes={"orders:write"}, allow=is_no_robot)
    async def place(order: Order, caller: Caller, message: AbstractIncomingMessage) -> NoReturn:
        raise KeyboardInterrupt  # it is not run

    assert isinstance(place, Consumer)
    return place


async def published(changes: dict[str, Any], waits: float) -> Received:
    """Have an honest service publish, and somebody else change what it sent."""
    named = {"scope": "orders:write", "sub": "ann", **changes}
    claims = {name: named[name] for name in ("scope", "aud", "iss", "nbf") if name in named}
    token = named.get("issuer", ISSUER).token(named["sub"], **claims)
    verifier = Verifier(StaticKeys(ISSUER.jwks()), issuer=ISSUER.url, audience=ISSUER.audience)
    web = Guard(verifier, clock=CLOCK, messages=MessageSecurity(signer=WEB.signer))
    body = named.get("body", b'{"id": 1}')
    outgoing = web.core.outbox.prepare(body, token, routing_key=QUEUE)
    await CLOCK.advance(waits)
    written = {
        name: value
        for name, value in changes.items()
        if "busauth-" in name or name == "authorization"
    }
    headers = {**(outgoing.properties.headers or {}), **written}
    return Received(
        body=outgoing.body,
        exchange="",
        routing_key=named.get("routing_key", QUEUE),
        redelivered=False,
        headers={name: value for name, value in headers.items() if value is not None},
        message_id=outgoing.properties.message_id,
        content_type=outgoing.properties.content_type,
        timestamp=outgoing.properties.timestamp,
    )


async def decided(consumer: Consumer[..., Any], guard: Guard, message: Received) -> tuple[Any, ...]:
    """Return how the real course of a message ends, by the pipeline's own outcome."""
    context = guard.core._context
    ran: list[bool] = []

    async def handler(**_named: Any) -> None:
        ran.append(True)

    pipeline = Pipeline(replace(consumer.plan, call=handler), consumer.rules, context, {})
    delivery = seen(message, QUEUE)
    case = Case(delivery, guard.clock.now(), QUEUE, delivery.message_id)
    try:
        outcome = await pipeline.outcome(case)
    except Deferred as deferred:
        return "deferred", deferred.reason
    if outcome is None:
        assert ran
        late = case.caller.late if case.caller else None
        return ("accepted", None) if late is None else ("accepted-late", late.policy)
    return _end_of(outcome), outcome.code, outcome.detail


def _end_of(refused: Refused) -> str:
    kinds: list[tuple[type[Refused], str]] = [(Discarded, "discarded"), (Parked, "parked")]
    return next((end for kind, end in kinds if isinstance(refused, kind)), "refused")


def told(foreseen: Foreseen) -> tuple[Any, ...]:
    """Return the same of what was foreseen."""
    if foreseen.end == "deferred":
        return foreseen.end.value, foreseen.detail
    if foreseen.end.is_accepted:
        return foreseen.end.value, foreseen.policy
    return foreseen.end.value, foreseen.code, foreseen.detail


@given(changes=CHANGES, waits=WAITS, policies=POLICIES)
def test_what_is_foreseen_is_what_is_decided(
    changes: dict[str, Any], waits: float, policies: Any
) -> None:
    """The end, its code and its evidence are the pipeline's, and nobody is told or asked for it."""

    async def check() -> None:
        message, trusted = await published(changes, waits), WEB.publisher()
        events = list[Event]()
        watched = a_guard(security(trusted, replay=Failing()), policies, events.append)
        foreseen = await watched.foresee(a_consumer(watched), message)
        assert events == []
        guard = a_guard(security(trusted), policies, events.append)
        assert told(foreseen) == await decided(a_consumer(guard), guard, message)
        states = [stage.state for stage in foreseen.stages]
        reached = [each for each in states if each is not StageState.NOT_REACHED]
        assert states[: len(reached)] == reached
        assert (StageState.REFUSED in reached) == (foreseen.code is not None)

    asyncio.run(check())
