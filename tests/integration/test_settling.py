"""Settlement is total: whatever a message is made of, it ends somewhere; the consumer goes on."""

import asyncio
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from copy import deepcopy
from datetime import datetime
from itertools import count
from typing import Annotated, Any
from unittest.mock import Mock

import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelPreconditionFailed
from pydantic import BaseModel, Field, field_validator

from busauth import Bus, BusOptions, Caller, Deferred, Guard, GuardOptions, OnError, RetryOptions
from busauth._amqp import headers
from busauth._amqp.publishing import copies
from busauth._amqp.topology import arguments_of
from busauth.testing import Issuer, ManualClock
from tests.parties import Party, Scene, security
from tests.support import (
    LADDERS,
    Broker,
    Order,
    Trail,
    consuming,
    guard_for,
    long_table,
    publish_raw,
    short_string,
)

QUICK = GuardOptions(pause_first=0.05, pause_longest=0.2)
LADDER = BusOptions(retry=LADDERS[1])
HEADERS_FLAG, MODE_FLAG, PRIORITY_FLAG = 0x2000, 0x1000, 0x0800
NO_TEXT = b"S" + struct.pack(">I", 2) + b"\xff\xfe"
TOO_GREAT = b"d" + struct.pack(">d", 1e300)
DEEP = 60


def text(raw: bytes) -> bytes:
    return b"S" + struct.pack(">I", len(raw)) + raw


def nested(depth: int) -> bytes:
    """Return an array in an array in an array."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


def table(token: str | None, **members: bytes) -> bytes:
    """Encode headers, a token among them."""
    given = {name.replace("_", "-"): value for name, value in members.items()}
    if token is not None:
        given["authorization"] = text(f"Bearer {token}".encode())
    return long_table(b"".join(short_string(n.encode()) + v for n, v in given.items()))


ODD: dict[str, tuple[int, dict[str, bytes], bytes]] = {
    "a delivery mode of 7": (MODE_FLAG, {}, b"\x07"),
    "a priority of 255": (PRIORITY_FLAG, {}, b"\xff"),
    "a proof that is no text": (0, {"busauth_proof": NO_TEXT}, b""),
    "a proof that is a number": (0, {"busauth_proof": TOO_GREAT}, b""),
    "a header too great to write": (0, {"h": TOO_GREAT}, b""),
    "a header nested deep": (0, {"h": nested(DEEP)}, b""),
    "busauth's own headers, odd": (
        0,
        {"busauth_attempt": TOO_GREAT, "busauth_seal": NO_TEXT, "busauth_noted": nested(3)},
        b"",
    ),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("outcome", ["rejected", "refused", "failed", "handled"])
async def test_odd_messages_are_settled(
    outcome: str,
    odd: tuple[int, dict[str, bytes], bytes],
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    url: str,
) -> None:
    """A message of odd properties ends where one of usual ones would, and the next is handled."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=LADDER)
    seen: Counter[str] = Counter()

    @bus.consumer(queue, scopes={"w"})
    async def handle(caller: Caller) -> None:
        seen[caller.subject] += 1
        if caller.subject == "odd" and outcome == "failed":
            raise LookupError

    token = {
        "rejected": None,
        "refused": issuer.token("odd"),
        "failed": issuer.token("odd", scope="w"),
        "handled": issuer.token("odd", scope="w"),
    }[outcome]
    flags, members, rest = odd
    async with bus:
        properties = table(token, **members) + rest
        if not await was_taken(url, queue, HEADERS_FLAG | flags, properties):
            return
        await trail.until("handled" if outcome == "handled" else "refused")
        await broker.publish(queue, token=issuer.token("next", scope="w"))
        await trail.until("handled", count=2 if outcome == "handled" else 1)
    assert seen == {"next": 1} | {"failed": {"odd": 4}, "handled": {"odd": 1}}.get(outcome, {})
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.rejected", 1 if outcome == "rejected" else 0)
    await broker.settles_at(f"{queue}.dead", 1 if outcome in ("refused", "failed") else 0)


async def was_taken(url: str, queue: str, flags: int, properties: bytes) -> bool:
    """Publish, and return whether the broker took it: before RabbitMQ 4.3 not any delivery mode."""
    try:
        await publish_raw(url, queue, flags, properties)
    except ChannelPreconditionFailed:
        return False
    return True


async def test_properties_without_a_value_of_aio_pikas_are_a_refusal(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A handler that takes the message cannot have one of these; its letter says why."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=LADDER)

    @bus.consumer(queue)
    async def handle(message: AbstractIncomingMessage) -> None:
        pass

    async with bus:
        odd = table(issuer.token()) + b"\x07"
        if not await was_taken(url, queue, HEADERS_FLAG | MODE_FLAG, odd):
            return
        letter = await broker.one(f"{queue}.dead")
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled")
    assert letter.headers[headers.REFUSAL] == "message.property"


async def test_a_forged_count_during_a_pause(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A message that no copy can be made of, and that says it came often, is given back as well."""
    queue = broker.name("orders")
    away = {"away": True}
    bus = Bus(
        url,
        guard=guard_for(issuer, trail, options=QUICK, on_expired=wavering(away)),
        service="orders",
        options=LADDER,
    )

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        pass

    async with bus:
        await broker.publish(queue, token=issuer.token(exp=1_000_000_000))
        forged = {"authorization": NO_TEXT, "x_delivery_count": b"l" + struct.pack(">q", 99)}
        await publish_raw(url, queue, HEADERS_FLAG, table(None, **forged))
        await trail.until("deferred", count=3)
        away["away"] = False
        await trail.until("refused", count=2)
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.rejected", 1)


def wavering(state: dict[str, bool]) -> Any:
    """Return a policy that cannot tell while it is away, and then says no."""

    async def asks(late: object) -> None:
        if state["away"]:
            raise Deferred("the policy's service is away")

    return asks


async def test_a_fault_of_ours_strips_no_backlog(
    broker: Broker, issuer: Issuer, trail: Trail, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """While our own code fails, messages stay, and it is told; afterwards each goes whole."""
    queue = broker.name("orders")
    guard = guard_for(issuer, trail, options=QUICK)
    bus = Bus(url, guard=guard, service="orders", options=LADDER)

    @bus.consumer(queue, scopes={"w"})
    async def handle(caller: Caller) -> None:
        pass

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async with bus:
        with monkeypatch.context() as patched:
            patched.setattr(copies, "dead_letter", broken)
            for number in range(5):
                await broker.publish(queue, token=issuer.token(), headers={"number": number})
            faults = await trail.until("fault", count=8)
            assert "refused" not in trail.kinds()
        await trail.until("refused", count=5, seconds=30)
    assert "RuntimeError" in str(faults[0].detail)
    await broker.settles_at(f"{queue}.dead", 5)
    letters = await broker.take(f"{queue}.dead")
    assert {letter.headers["number"] for letter in letters} == set(range(5))


def odd() -> Exception:
    """Return an error that tools for errors stumble over: its notes are of a type of their own."""
    error = LookupError("odd")
    error.__notes__ = None  # type: ignore[assignment]  # as somebody's code has it
    return error


async def test_however_odd_an_error_is_its_message_goes_the_usual_way(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A handler's is retried and then a dead letter, a check's is refused: none is a fault."""
    queue = broker.name("orders")
    revocations = Mock(revoked=Mock(side_effect=[odd(), *[False] * 4]))
    guard = guard_for(issuer, trail, options=QUICK, revocations=revocations)
    bus = Bus(url, guard=guard, service="orders", options=LADDER)

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        raise ExceptionGroup("two", [odd(), odd()])

    async with bus:
        for number, code in enumerate(("check.failed", "handler.failed"), 1):
            await broker.publish(queue, token=issuer.token())
            refused = await trail.until("refused", count=number)
            assert refused[-1].code == code
    assert Counter(trail.kinds()) == {"refused": 2, "accepted": 4, "retried": 3}
    await broker.settles_at(queue, 0)


class OfOne:
    """Revocations that are wrong about one caller."""

    def revoked(self, caller: Caller, _: float) -> bool:
        if caller.subject == "mallory":
            raise TypeError(caller.subject)
        return False


async def test_a_fault_with_one_message_has_an_end(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What fails each time, while others are handled in between, is a dead letter at last."""
    queue = broker.name("orders")
    guard = guard_for(issuer, trail, options=QUICK, revocations=OfOne())
    bus = Bus(url, guard=guard, service="orders", options=LADDER)

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        pass

    async def handled_one_by_one() -> None:
        for number in count(1):
            if "refused" in trail.kinds():
                return
            await broker.publish(queue, token=issuer.token("ann"))
            await trail.until("handled", count=number)

    async with bus:
        await broker.publish(queue, b"kept", token=issuer.token("mallory"))
        others = asyncio.create_task(handled_one_by_one())
        (refused,) = await trail.until("refused")
        await others
    assert refused.code == "check.failed"
    assert trail.kinds().count("fault") >= 4
    assert "mallory" not in str(refused.detail)
    assert (await broker.one(f"{queue}.dead")).body == b"kept"
    await broker.settles_at(queue, 0)


class Placed(BaseModel):
    """A model as people write them: its validator takes text alone."""

    at: datetime

    @field_validator("at", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return datetime.fromisoformat(value)


class Plain(BaseModel):
    """Nothing but pydantic, which tells by a `TypeError` that a number has no length."""

    at: Annotated[int | str, Field(max_length=30)]


@pytest.mark.parametrize("model", [Placed, Plain])
async def test_a_body_on_which_a_model_fails_is_one_refused_message(
    model: Any, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Whoever sends it stops nobody: it is a dead letter at once, and the next one is handled."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=LADDER)

    @bus.consumer(queue)
    async def handle(body: model) -> None:
        pass

    async with bus:
        for body in (b'{"at": 5}', b'{"at": "2026-01-01"}'):
            await broker.publish(queue, body, token=issuer.token("mallory"))
        await trail.until("handled")
        (refused,) = await trail.until("refused")
    assert sorted(trail.kinds()) == ["accepted", "handled", "refused"]
    assert refused.code == "body.invalid"
    assert "TypeError" in str(refused.detail)
    await broker.settles_at(f"{queue}.dead", 1)


@pytest.mark.parametrize("kind", ["bus", "quorum", "classic"])
async def test_one_undecidable_message_does_not_stop_the_others(
    kind: str, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Eighty messages behind one that stays undecidable are handled; that one is not lost."""
    state = {"away": True}
    guard = guard_for(issuer, trail, options=QUICK, on_expired=wavering(state))
    seen: Counter[str] = Counter()

    async def handle(caller: Caller) -> None:
        seen[caller.subject] += 1

    async def fill(queue: str) -> None:
        await broker.publish(queue, token=issuer.token(exp=1_000_000_000), message_id="stuck")
        for number in range(80):
            await broker.publish(queue, token=issuer.token(f"user-{number}"))

    if kind == "bus":
        queue = broker.name("orders")
        bus = Bus(url, guard=guard, service="orders", options=LADDER)
        bus.consumer(queue)(handle)
        async with bus:
            await fill(queue)
            await trail.until("handled", count=80, seconds=80)
            state["away"] = False
            await trail.until("refused", seconds=80)
    else:
        queue = await declared(broker, kind)
        await fill(queue)
        async with consuming(broker, queue, guard(queue=queue)(handle)):
            await trail.until("handled", count=80, seconds=80)
            state["away"] = False
            await trail.until("refused", seconds=80)
    assert set(seen.values()) == {1}
    await broker.settles_at(queue, 0)
    letter = await broker.one(f"{queue}.dead")
    assert letter.message_id == "stuck"


async def declared(broker: Broker, kind: str) -> str:
    """Declare a queue of a plain consumer's, of either type."""
    if kind == "quorum":
        return await broker.declare("orders", **{"x-delivery-limit": 20})
    queue = broker.name("orders")
    for each in (queue, f"{queue}.dead", f"{queue}.rejected"):
        await broker.channel.declare_queue(each, durable=True)
    return queue


@pytest.mark.parametrize("kind", ["quorum", "classic"])
async def test_a_message_that_is_given_back_comes_to_an_end(
    kind: str, broker: Broker, issuer: Issuer, trail: Trail, clock: ManualClock
) -> None:
    """A handler that always fails runs so many times, with a pause between, and then it is dead."""
    options = GuardOptions(retries=3, pause_first=10)
    own = Issuer(clock=clock)
    guard = guard_for(own, trail, clock=clock, options=options)
    queue = await declared(broker, kind)
    runs: list[float] = []

    @guard(queue=queue, on_error=OnError.RETRY)
    async def handle(order: Order) -> None:
        runs.append(clock.now())
        raise LookupError

    start = clock.now()
    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=own.token(lifetime=3600))
        for number, pause in enumerate((10, 20, 40), start=1):
            await trail.until("accepted", count=number)
            await trail.until("retried", count=number - 1)
            await asyncio.sleep(0.05)
            assert trail.kinds().count("retried") == number - 1
            await clock.advance(pause)
        await trail.until("refused")
    assert runs == [start, start + 10, start + 30, start + 70]
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.REFUSAL] == "handler.failed"
    assert "authorization" not in letter.headers
    await broker.settles_at(queue, 0)


async def test_without_its_delay_queues_a_failing_handler_comes_to_an_end(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A ladder that nobody declares is told, and after some runs the message is a dead letter.

    One that the bus declares is there again when it consumes again.
    """
    queue = broker.name("orders")
    guard = guard_for(issuer, trail, options=QUICK)
    operators = LADDER.model_copy(update={"declare": False})
    bus = Bus(url, guard=guard, service="orders", options=operators)
    runs = 0

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        nonlocal runs
        runs += 1
        raise LookupError

    for name, arguments in arguments_of(queue, LADDER).items():
        if ".retry." not in name:
            await broker.channel.declare_queue(name, durable=True, arguments=arguments)
    async with bus:
        await broker.publish(queue, token=issuer.token())
        (deferred, *_) = await trail.until("deferred")
        await trail.until("refused")
    assert "retry" in str(deferred.detail)
    assert runs == 4
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.REFUSAL] == "handler.failed"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
async def test_what_is_retried_is_what_came(
    first: bool, wrapped: bool, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Whatever a handler does to its message, the next attempt and the letter have what came."""
    guard = guard_for(issuer, trail, options=GuardOptions(retries=1, pause_first=0.05))
    queue = await broker.declare("orders")
    seen: list[tuple[bytes, Any, str | None]] = []

    @guard(queue=queue, on_error=OnError.RETRY)
    async def handle(message: AbstractIncomingMessage, caller: Caller) -> None:
        if message.body == b"warm":
            return
        seen.append((message.body, deepcopy(dict(message.headers)), message.correlation_id))
        table = message.headers["table"]
        assert isinstance(table, dict)
        table.clear()
        message.headers.clear()
        for name in ("body", "correlation_id", "reply_to"):
            setattr(message, name, None)
        raise LookupError

    async def around(message: AbstractIncomingMessage) -> None:
        await handle(message)

    async with consuming(broker, queue, around if wrapped else handle):
        if not first:
            await broker.publish(queue, b"warm", token=issuer.token())
            await trail.until("handled")
        sent = {"tenant": "acme", "table": {"list": [1, 2]}}
        await broker.publish(
            queue, b"body", token=issuer.token(), headers=sent, correlation_id="c", reply_to="r"
        )
        await trail.until("refused")
    assert [(body, said["tenant"], said["table"], c) for body, said, c in seen] == [
        (b"body", "acme", {"list": [1, 2]}, "c")
    ] * 2
    letter = await broker.one(f"{queue}.dead")
    assert (letter.body, letter.correlation_id, letter.reply_to) == (b"body", "c", "r")
    assert letter.headers["table"] == {"list": [1, 2]}


WEB = Party("web")

SETTLED: dict[str, Callable[[AbstractIncomingMessage], Awaitable[None]]] = {
    "nack": lambda message: message.nack(requeue=True),
    "reject": lambda message: message.reject(requeue=True),
    "ack": lambda message: message.ack(),
    "drop": lambda message: message.reject(requeue=False),
}


@pytest.mark.parametrize("how", SETTLED)
@pytest.mark.parametrize("warm", [True, False])
async def test_what_a_handler_put_back_is_handled_again(how: str, warm: bool, scene: Scene) -> None:
    """A replay memory forgets what its handler put back, and remembers what it settled for good."""
    broker, trail = scene.broker, scene.trail
    queue = broker.name("orders")
    bus = scene.bus(security(WEB.publisher()))
    runs: Counter[bytes] = Counter()

    @bus.consumer(queue)
    async def handle(message: AbstractIncomingMessage) -> None:
        runs[message.body] += 1
        if message.body == b"warm" or runs[message.body] > 1:
            return
        await SETTLED[how](message)

    async with bus, scene.publishing(WEB) as web:
        token = scene.issuer.token()
        if warm:
            await web.publish(queue, b"warm", token=token)
            await trail.until("handled")
        await web.publish(queue, b"work", token=token)
        await trail.until("settled-by-handler")
        if how in ("nack", "reject"):
            await trail.until("handled", count=2 if warm else 1)
    assert runs[b"work"] == (2 if how in ("nack", "reject") else 1)
    assert "duplicate" not in trail.kinds()
    await broker.settles_at(queue, 0)


async def test_a_plain_guard_never_hands_a_token_to_the_brokers_dead_letters(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What is given back meets no delivery limit, so that no letter has a raw token."""
    guard = guard_for(issuer, trail, options=GuardOptions(retries=6, pause_first=0.01))
    queue = await broker.declare(
        "orders",
        **{
            "x-delivery-limit": 2,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": broker.name("taken"),
        },
    )

    @guard(queue=queue, on_error=OnError.RETRY)
    async def handle(order: Order) -> None:
        raise LookupError

    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=issuer.token())
        await trail.until("refused")
    assert trail.kinds().count("accepted") == 7
    letter = await broker.one(f"{queue}.dead")
    assert issuer.token() not in repr(letter.info())
    assert letter.headers[headers.REFUSAL] == "handler.failed"


def test_guards_have_a_limit_of_retries(issuer: Issuer, trail: Trail) -> None:
    """Nothing is given back without end: the number is at least one, and bounded."""
    with pytest.raises(ValueError, match="retries"):
        GuardOptions(retries=0)
    assert isinstance(guard_for(issuer, trail), Guard)
    assert RetryOptions().limit == GuardOptions().retries


async def test_an_error_after_the_acknowledgement_gives_nothing_back(
    broker: Broker, issuer: Issuer, trail: Trail, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """What is acknowledged stays so, whatever fails behind it."""
    queue = broker.name("orders")
    guard = guard_for(issuer, trail, options=QUICK)
    bus = Bus(url, guard=guard, service="orders", options=LADDER)

    @bus.consumer(queue, scopes={"w"})
    async def handle(caller: Caller) -> None:
        pass

    async def broken(*_: object) -> None:
        raise RuntimeError("no answer today")

    monkeypatch.setattr(guard.core._context.replies, "answer", broken)
    async with bus:
        await broker.publish(queue, token=issuer.token())
        await trail.until("fault")
        await broker.publish(queue, token=issuer.token(scope="w"))
        await trail.until("handled")
        await asyncio.sleep(0)
    assert trail.kinds().count("refused") == 1
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.dead", 1)
