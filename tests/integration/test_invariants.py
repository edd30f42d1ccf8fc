"""The ten invariants, by number. Those that need a fault of the broker are in tests/faults."""

import asyncio
import logging
import time
from collections import Counter
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import (
    JWKS,
    Bus,
    BusOptions,
    Caller,
    CallerError,
    Discard,
    Grace,
    Guard,
    GuardOptions,
    PublishError,
    Restrict,
    RetryOptions,
    Verifier,
)
from busauth._amqp import headers
from busauth.testing import Issuer, IssuerServer
from busauth.tokens import JWKSOptions
from tests.support import Broker, Order, Trail, consuming, guard_for

QUICK = GuardOptions(pause_first=0.05, pause_longest=0.2)


def recording(guard: Guard, queue: str, seen: list[Caller], **demands: Any) -> Any:
    @guard(queue=queue, **demands)
    async def handle(caller: Caller) -> None:
        seen.append(caller)

    return handle


@pytest.mark.parametrize(
    "policy",
    [Grace(hours=24), Restrict({"w"}), [Grace(minutes=1), Restrict({"w"})], Discard()],
    ids=repr,
)
async def test_1_genuine_first(policy: Any, broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Under no policy does a handler run on an expired token that is forged or for another."""
    guard = guard_for(issuer, trail, on_expired=policy)
    queue = await broker.declare("orders")
    old: dict[str, Any] = {"exp": int(time.time()) - 30}
    forged = Issuer(issuer.url).token(header={"kid": issuer.signing.key_id}, **old)
    seen: list[Caller] = []
    async with consuming(broker, queue, recording(guard, queue, seen)):
        for token in (forged, issuer.token(aud="bank", **old), issuer.token(iss="other", **old)):
            await broker.publish(queue, token=token)
        await trail.until("refused", count=3)
    codes = {event.code for event in trail.events}
    assert codes == {"token.signature", "token.audience", "token.issuer"}
    assert not seen
    await broker.settles_at(f"{queue}.rejected", 3)


async def test_2_cancelled_means_unsettled(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A service that is stopped in mid-handler gives its message back to the broker."""
    queue = broker.name("orders")
    guard = guard_for(issuer, trail)
    bus = Bus(url, guard=guard, service="orders", options=BusOptions(drain=0.1))
    started = asyncio.Event()

    @bus.consumer(queue)
    async def never(order: Order, caller: Caller) -> None:
        started.set()
        await asyncio.Event().wait()

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await started.wait()
    message = await broker.one(queue)
    assert message.redelivered
    assert "handled" not in trail.kinds()


async def test_2_a_dead_letter_queue_that_does_not_exist(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Without a queue for it a refused delivery stays where it is; with one it goes there.

    One that was never there is told before anything is judged; one that is gone, when it is needed.
    """
    queue = broker.name("orders")
    quorum = {"x-queue-type": "quorum"}
    for each in (queue, f"{queue}.dead", f"{queue}.rejected"):
        await broker.channel.declare_queue(each, durable=True, arguments=quorum)
    guard = guard_for(issuer, trail, options=QUICK)
    async with consuming(broker, queue, recording(guard, queue, [], scopes={"w"})):
        await broker.publish(queue, token=issuer.token())
        await trail.until("refused")
        await broker.channel.queue_delete(f"{queue}.dead")
        await broker.publish(queue, token=issuer.token())
        deferred = await trail.until("deferred", count=2)
        assert "unroutable" in str(deferred[0].detail)
        assert trail.kinds().count("refused") == 1
        await broker.channel.declare_queue(f"{queue}.dead", durable=True, arguments=quorum)
        await trail.until("refused", count=2)
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.REFUSAL] == "caller.scope"
    await broker.settles_at(queue, 0)


async def test_3_transient_is_not_guilty(broker: Broker, trail: Trail, url: str) -> None:
    """While the issuer is down a backlog waits, undisturbed; when it is back it is handled."""
    own = Issuer(algorithm="ES256")
    with IssuerServer(own) as server:
        server.down = True
        keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0.05))
        guard = Guard(Verifier(keys, issuer=own.url, audience="shop"), options=QUICK, auditor=trail)
        queue = broker.name("orders")
        bus = Bus(url, guard=guard, service="orders")
        handled: Counter[int] = Counter()

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller) -> None:
            handled[order.id] += 1

        async with bus:
            for number in range(100):
                await bus.publish(queue, Order(id=number), token=own.token())
            await trail.until("deferred", count=3)
            await broker.settles_at(queue, 100)
            assert not handled
            server.down = False
            await trail.until("handled", count=100)
    assert handled == Counter(range(100))
    assert await broker.count(f"{queue}.dead") == await broker.count(f"{queue}.rejected") == 0
    assert len(server.requests) < 60


async def test_3_a_paused_service_stops_and_starts_again(
    broker: Broker, trail: Trail, url: str
) -> None:
    """Stopping while paused loses nothing, and the same bus may start anew."""
    own = Issuer(algorithm="ES256")
    with IssuerServer(own) as server:
        server.down = True
        keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0.05))
        verifier = Verifier(keys, issuer=own.url, audience="shop")
        guard = Guard(verifier, options=QUICK, auditor=trail)
        queue = broker.name("orders")
        bus = Bus(url, guard=guard, service="orders")

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller) -> None:
            pass

        async with bus:
            for number in range(10):
                await bus.publish(queue, Order(id=number), token=own.token())
            await trail.until("deferred")
        await broker.settles_at(queue, 10)
        server.down = False
        async with bus:
            await trail.until("handled", count=10)


async def test_4_fail_closed(
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected error inside a check refuses, and is logged; the worker goes on."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    seen: list[Caller] = []

    def broken(caller: Caller) -> bool:
        raise ZeroDivisionError(caller.subject)

    def unexpected(*_: object) -> int:
        raise ZeroDivisionError("a bug")

    async with consuming(broker, queue, recording(guard, queue, seen, allow=broken)):
        await broker.publish(queue, token=issuer.token())
        await trail.until("refused", count=1)
        monkeypatch.setattr("busauth._amqp.consuming.pipeline.token_in", unexpected)
        await broker.publish(queue, token=issuer.token())
        await trail.until("refused", count=2)
    assert [e.code for e in trail.events if e.code] == ["caller.predicate", "check.failed"]
    assert len([line for line in caplog.records if line.exc_info]) == 2
    assert not seen
    await broker.settles_at(f"{queue}.dead", 2)


async def test_5_the_sender_cannot_widen_the_policy(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """No header or property of a sender's makes a late token any less late."""
    guard = guard_for(issuer, trail, on_expired=Grace(minutes=1))
    queue = await broker.declare("orders")
    seen: list[Caller] = []
    past = int(time.time()) - 3600
    claims = {
        headers.AT: "2001-01-01T00:00:00.000+00:00",
        headers.ATTEMPT: -100,
        headers.HOP: -100,
        "busauth-published": past,
        "busauth-policy": "grace",
        "timestamp_in_ms": past * 1000,
        "x-death": [{"time": past}],
    }
    async with consuming(broker, queue, recording(guard, queue, seen)):
        await broker.publish(
            queue, token=issuer.token(exp=past), headers=claims, timestamp=past, priority=9
        )
        await trail.until("refused")
    assert not seen
    assert (await broker.one(f"{queue}.dead")).headers[headers.REFUSAL] == "token.expired"


async def test_5_a_forged_attempt_does_not_buy_retries(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Whatever attempt a sender claims, a failing message is dead after the limit at the latest."""
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=1, first=0.05))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def fail(order: Order, caller: Caller) -> None:
        raise LookupError("never")

    async with bus:
        for attempt in (-7, 10**5, "0", True):
            await broker.publish(queue, token=issuer.token(), headers={headers.ATTEMPT: attempt})
        await trail.until("refused", count=4)
    assert Counter(trail.kinds(queue))["retried"] == 3
    await broker.settles_at(f"{queue}.dead", 4)


async def test_6_revocation_is_judged_now(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """A revoked token is refused in time and late, remembered or not; so is a maybe."""
    revoked: set[str] = set()
    answers: list[Any] = []

    class Known:
        def revoked(self, caller: Caller, now: float) -> Any:
            return answers.pop() if answers else caller.subject in revoked

    guard = guard_for(issuer, trail, on_expired=Grace(hours=1), revocations=Known())
    queue = await broker.declare("orders")
    seen: list[Caller] = []
    fresh, late = issuer.token("ann"), issuer.token("ann", exp=int(time.time()) - 60)
    async with consuming(broker, queue, recording(guard, queue, seen)):
        await broker.publish(queue, token=fresh)
        await trail.until("handled", count=1)
        revoked.add("ann")
        await broker.publish(queue, token=fresh)
        await broker.publish(queue, token=late)
        await broker.publish(queue, token=issuer.token("bob"))
        await trail.until("refused", count=2)
        await trail.until("handled", count=2)
        answers.append(None)
        await broker.publish(queue, token=issuer.token("bob"))
        await trail.until("refused", count=3)
    assert {event.code for event in trail.events if event.code} == {"token.revoked"}
    assert [caller.subject for caller in seen] == ["ann", "bob"]
    await broker.settles_at(f"{queue}.dead", 3)


async def test_7_two_hundred_callers_are_never_mixed_up(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """At concurrency 50 each handler sees its message's caller, and so do the services behind."""
    first, second = broker.name("first"), broker.name("second")
    options = GuardOptions(concurrency=50)
    bus = Bus(url, guard=guard_for(issuer, trail, options=options), service="chain")
    ends: dict[int, str] = {}
    running = most = 0

    @bus.consumer(first)
    async def relay(order: Order, caller: Caller) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005 * (order.id % 7))
        assert caller.subject == f"user-{order.id}"
        await bus.publish(second, order)
        running -= 1

    @bus.consumer(second)
    async def end(order: Order, caller: Caller) -> None:
        await asyncio.sleep(0.003 * (order.id % 5))
        ends[order.id] = caller.subject

    tokens = [issuer.token(f"user-{number}") for number in range(200)]
    async with bus:
        await asyncio.gather(
            *(bus.publish(first, Order(id=n), token=token) for n, token in enumerate(tokens))
        )
        await trail.until("handled", count=400)
    assert ends == {number: f"user-{number}" for number in range(200)}
    assert 10 < most <= 50


async def test_7_a_leftover_task_cannot_publish(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A task that outlives its handler has lost its caller, token and all."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")
    leftovers: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()
    kept: list[Caller] = []

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None:
        async def later() -> None:
            await go_on.wait()
            await bus.publish(queue, order)

        kept.append(caller)
        leftovers.append(asyncio.create_task(later()))

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("handled")
        go_on.set()
        with pytest.raises(CallerError, match="handler has ended"):
            await leftovers[0]
        with pytest.raises(CallerError, match="handler has ended"):
            kept[0].bearer()


async def test_7_a_connection_made_while_a_caller_is_in_scope(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A bus refuses to connect in a handler; on a plain connection nobody is inherited."""
    queue, inner = broker.name("outer"), await broker.declare("inner")
    guard = guard_for(issuer, trail)
    bus = Bus(url, guard=guard, service="orders")
    found: list[str] = []
    done = asyncio.Event()
    made: list[Any] = []

    async def unguarded(message: AbstractIncomingMessage) -> None:
        exchange = made[1].default_exchange
        try:
            await guard.publish(exchange, aio_pika.Message(b""), inner)
        except CallerError as error:
            found.append(str(error))
        await message.ack()
        done.set()

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None:
        with pytest.raises(CallerError, match="connect at start-up"):
            async with Bus(url, guard=guard, service="second"):
                pass
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        made.extend((connection, channel))
        await (await channel.get_queue(inner)).consume(unguarded)

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("handled")
        await broker.publish(inner)
        await asyncio.wait_for(done.wait(), 10)
    await made[0].close()
    assert "handler has ended" in found[0]


async def test_8_no_token_in_logs_dead_letters_or_errors(
    broker: Broker, issuer: Issuer, trail: Trail, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A message's whole life, failures included, at level DEBUG, shows no token."""
    caplog.set_level(logging.DEBUG)
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=1, first=0.05))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)
    token = issuer.token()

    @bus.consumer(queue)
    async def fail(order: Order, caller: Caller) -> None:
        raise RuntimeError(f"carelessly prints {caller.bearer()} and {caller!r}")

    async with bus:
        await bus.publish(queue, Order(id=1), token=token)
        await trail.until("refused")
        with pytest.raises(PublishError) as unroutable:
            await bus.publish("nowhere", Order(id=1), token=token)
    letter = await broker.one(f"{queue}.dead")
    signature = token.rpartition(".")[2]
    logged = "\n".join(f"{record.getMessage()}{record.exc_text}" for record in caplog.records)
    assert signature not in logged
    assert signature not in repr(letter.info())
    assert signature not in repr(unroutable.value)
    assert signature not in repr(trail.events)
    assert str(letter.headers[headers.DETAIL]).startswith("handler.failed")


async def test_9_concurrency_is_bounded_without_prefetch(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """On a channel without prefetch no more handlers run than the guard allows."""
    guard = guard_for(issuer, trail, options=GuardOptions(concurrency=5))
    queue = await broker.declare("orders")
    running = most = 0

    @guard(queue=queue)
    async def handle(caller: Caller) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    token = issuer.token()
    await asyncio.gather(*(broker.publish(queue, token=token) for _ in range(300)))
    channel = await broker.connection.channel()
    source = await channel.get_queue(queue)
    await source.consume(handle)
    await trail.until("handled", count=300)
    await channel.close()
    assert most == 5


async def test_9_a_loop_of_honest_services_ends(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Two services that answer each other for ever are stopped at the limit of hops."""
    ping, pong = broker.name("ping"), broker.name("pong")
    guard = guard_for(issuer, trail, options=GuardOptions(max_hops=6))
    bus = Bus(url, guard=guard, service="loop")

    @bus.consumer(ping)
    async def to_pong(order: Order) -> None:
        await bus.publish(pong, order)

    @bus.consumer(pong)
    async def to_ping(order: Order) -> None:
        await bus.publish(ping, order)

    async with bus:
        await bus.publish(ping, Order(id=1), token=issuer.token())
        (refused,) = await trail.until("refused")
    assert refused.code == "message.hops"
    assert Counter(trail.kinds())["handled"] == 7


async def test_10_one_now_per_decision(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """A decision is made at one instant: a clock that leaps at every look cannot split it."""

    class Leaping:
        def __init__(self) -> None:
            self.reads: list[float] = []

        def now(self) -> float:
            self.reads.append(1000.0 * len(self.reads))
            return self.reads[-1]

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(0)

    clock = Leaping()
    guard = guard_for(issuer, trail, clock=clock, on_expired=Grace(seconds=1001))
    queue = await broker.declare("orders")
    seen: list[Caller] = []
    token = issuer.token(iat=0, nbf=0, exp=1000)
    async with consuming(broker, queue, recording(guard, queue, seen)):
        await broker.publish(queue, token=token)
        (event,) = await trail.until("accepted-late")
    assert seen[0].late is not None
    assert event.decided_at is not None
    assert seen[0].late.seconds == event.late == event.decided_at - 1000
    assert event.decided_at in clock.reads
