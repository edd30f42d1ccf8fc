"""Looking ahead: what is told of each stage, and what is said not to be known."""

import asyncio
import threading
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, Caller, ConfigurationError, Grace, StaticKeys, Verifier
from busauth._amqp.guard import Guard
from busauth._amqp.judging.foresight import STAGES
from busauth._callables import is_pure
from busauth.expiry import LateToken, Policies, Verdict, pure
from busauth.messages import ForeseenEnd, MessageSecurity, Received, StageState
from busauth.testing import Issuer, ManualClock
from tests.parties import SEAL
from tests.support import Order

QUEUE = "orders"


async def asks_somebody(late: LateToken) -> Verdict | None:
    raise AssertionError("it was run")


def spends_something(caller: Caller) -> bool:
    raise AssertionError("it was run")


class Shop:
    """A bus of one consumer, which has never run, and messages for it."""

    def __init__(self, on_expired: Policies | None = None, **said: Any) -> None:
        self.clock = ManualClock()
        self.issuer = Issuer(clock=self.clock)
        keys = StaticKeys(self.issuer.jwks())
        verifier = Verifier(keys, issuer=self.issuer.url, audience=self.issuer.audience, leeway=0)
        messages = MessageSecurity(seal=SEAL)
        guard = Guard(verifier, clock=self.clock, on_expired=on_expired, messages=messages)
        self.bus = Bus("amqp://localhost/", guard=guard, service="shop")

        @self.bus.consumer(QUEUE, scopes={"orders:write"}, **said)
        async def place(order: Order, caller: Caller, message: AbstractIncomingMessage) -> None:
            raise AssertionError("it was run")

    def message(self, body: bytes = b'{"id": 1}', *, act: Any = None, **headers: Any) -> Received:
        acted = {} if act is None else {"act": act}
        token = self.issuer.token("ann", scope="orders:write", **acted)
        return Received(
            body=body,
            exchange="",
            routing_key=QUEUE,
            redelivered=False,
            headers={"authorization": f"Bearer {token}", **headers},
        )


async def test_each_stage_is_told_with_its_evidence() -> None:
    """Who reads it sees what was found at each stage, and never the token."""
    shop = Shop()
    message = shop.message()
    foreseen = await shop.bus.foresee(QUEUE, message)
    assert [stage.name for stage in foreseen.stages] == list(STAGES)
    found = {stage.name: stage.found or "" for stage in foreseen.stages}
    assert "'ann'" in found["recall"]
    assert "in time for another 300 s" in found["judge"]
    assert foreseen.end is ForeseenEnd.ACCEPTED
    assert foreseen.stages[-1].state is StageState.NOT_REACHED
    token = str((message.headers or {})["authorization"]).removeprefix("Bearer ")
    assert token[:20] not in str(foreseen.document())


@pytest.mark.parametrize(("outer", "is_accepted"), [("agent-x", True), ("agent-y", False)])
async def test_who_acts_and_who_may_is_told(outer: str, is_accepted: bool) -> None:
    """What is demanded of actors stands at its stage, and who acts for whom where it is proven."""
    shop = Shop(actors={"agent-x"})
    inner = {"sub": "agent-z"}
    foreseen = await shop.bus.foresee(QUEUE, shop.message(act={"sub": outer, "act": inner}))
    said = {stage.name: f"{stage.asks} {stage.found} {stage.expected}" for stage in foreseen.stages}
    assert f"{outer} for ann, 2 in the chain" in said["recall"]
    assert "actor agent-x" in said["judge"]
    assert (foreseen.end is ForeseenEnd.ACCEPTED) == is_accepted
    assert is_accepted or foreseen.code == "caller.actor"


def test_a_look_keeps_no_consumer_out_of_another_loop() -> None:
    """A page that looks in a loop of its own would keep the service from its messages."""
    shop, looks = Shop(), asyncio.new_event_loop()
    page = threading.Thread(target=looks.run_forever)
    page.start()
    try:
        look = shop.bus.foresee(QUEUE, shop.message())
        foreseen = asyncio.run_coroutine_threadsafe(look, looks).result(10)
        assert foreseen.end is ForeseenEnd.ACCEPTED
        (consumer,) = shop.bus.guard.core.consumers

        async def begins() -> None:
            consumer.open()

        asyncio.run(begins())
    finally:
        looks.call_soon_threadsafe(looks.stop)
        page.join()
        looks.close()


async def test_a_policy_that_may_have_effects_is_not_run() -> None:
    """What it would say is unknown, and its name is told; what decides before it is known."""
    shop = Shop([Grace(minutes=1), asks_somebody])
    message = shop.message()
    await shop.clock.advance(330)
    assert (await shop.bus.foresee(QUEUE, message)).policy == "Grace"
    await shop.clock.advance(60)
    foreseen = await shop.bus.foresee(QUEUE, message)
    assert foreseen.end is ForeseenEnd.UNKNOWN
    assert "asks_somebody" in foreseen.detail


async def test_a_check_that_may_have_effects_is_not_run() -> None:
    """The end is unknown, whatever the later stages would say."""
    shop = Shop(allow=spends_something)
    foreseen = await shop.bus.foresee(QUEUE, shop.message())
    assert foreseen.end is ForeseenEnd.UNKNOWN
    assert foreseen.detail.startswith("allow=spends_something was not run")
    states = {stage.name: stage.state for stage in foreseen.stages}
    assert (states["judge"], states["arguments"]) == (StageState.UNKNOWN, StageState.PASSED)


def test_who_inherits_or_wraps_does_not_inherit_the_word() -> None:
    """That something is pure is said of that thing alone."""

    @pure
    class Lenient:
        async def decide(self, late: LateToken) -> Verdict | None:
            return None

    class Asking(Lenient):
        pass

    assert is_pure(Lenient())
    assert not is_pure(Asking())


async def test_what_came_back_by_hand_would_go_home() -> None:
    """A letter of this consumer's without a token is told with the queue that it came from."""
    shop = Shop()
    async with shop.bus.guard.judge(queue=QUEUE, scopes={"orders:delete"})(
        shop.message()
    ) as judged:
        letter = judged.copy
    assert letter is not None
    moved = Received(
        body=letter.body,
        exchange="",
        routing_key=QUEUE,
        redelivered=False,
        headers=letter.headers,
        **{name: letter.properties[name] for name in ("message_id",)},
    )
    foreseen = await shop.bus.foresee(QUEUE, moved)
    assert (foreseen.end, foreseen.copied_to) == (ForeseenEnd.RETURNED, f"{QUEUE}.dead")


async def test_without_a_handler_that_is_said() -> None:
    """Of a queue's options alone, neither what is demanded nor what the body must be is known."""
    shop = Shop()
    foresight = shop.bus.guard.core.foresight(QUEUE, None, frame_max=131_072)
    message = shop.message(b"no order at all")
    foreseen = await foresight.foresee(message)
    assert foreseen.end is ForeseenEnd.UNKNOWN
    assert [stage.name for stage in foreseen.stages if stage.state is StageState.UNKNOWN] == [
        "judge",
        "arguments",
    ]
    await shop.clock.advance(1000)
    assert "policies" in (await foresight.foresee(message)).detail


async def test_what_only_a_missing_key_would_open_is_said() -> None:
    """Where settings alone are known, a refusal for want of a key is none of the consumer's."""
    shop = Shop()
    guard = Guard(*shop.bus.guard.verifiers, clock=shop.clock)
    foresight = guard.core.foresight(QUEUE, None, frame_max=131_072)
    seal: dict[str, Any] = {"busauth-seal": "x", "busauth-purpose": "letter"}
    statement: dict[str, Any] = {"busauth-statement": "x.y.z"}
    sealed, stated = shop.message(**seal), shop.message(authorization=None, **statement)
    encrypted = shop.message(authorization="Bearer a.b.c.d.e")
    for message, why in (
        (sealed, "it has a seal, and its consumer's key is not here"),
        (encrypted, "its token is encrypted, and its consumer's keys are not here"),
        (stated, "it has an operator's statement, and whose count is not known here"),
    ):
        foreseen = await foresight.foresee(message)
        assert (foreseen.end, foreseen.detail) == (ForeseenEnd.UNKNOWN, why)


async def test_a_run_of_misdirected_messages_is_foreseen_one_by_one() -> None:
    """A look counts nothing: the seventh stranger's message ends as the first one."""
    shop = Shop()
    token = shop.issuer.token("ann", aud="another")
    ends = {
        (await shop.bus.foresee(QUEUE, shop.message(authorization=f"Bearer {token}"))).code
        for _ in range(8)
    }
    assert ends == {"token.audience"}


async def test_what_is_no_consumer_is_refused() -> None:
    """Who asks about something else is told what to hand in."""
    shop = Shop()
    with pytest.raises(ConfigurationError, match="has no consumer here"):
        await shop.bus.foresee("other", shop.message())
    with pytest.raises(ConfigurationError, match=r"expected what @guard\(queue=...\) returned"):
        await shop.bus.guard.foresee(len, shop.message())  # type: ignore[arg-type]
