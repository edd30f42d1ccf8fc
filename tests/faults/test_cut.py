"""Connections cut at awkward moments, through a proxy that can cut them one by one."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from busauth import (
    JWKS,
    Bus,
    BusOptions,
    Caller,
    Guard,
    GuardOptions,
    OnError,
    RetryOptions,
    Verifier,
)
from busauth.testing import Issuer, IssuerServer
from busauth.tokens import JWKSOptions
from tests.proxy import proxied
from tests.support import Broker, Order, Trail, connected, consuming, guard_for

pytestmark = pytest.mark.processes

QUICK = GuardOptions(pause_first=0.05, pause_longest=0.2)


async def test_2_a_plain_consumer_cut_in_mid_handler(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """The handler is cancelled, its message unsettled; it comes again and is handled once."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    started, finished = asyncio.Event(), Counter[bool]()

    @guard(queue=queue)
    async def handle(order: Order) -> None:
        first = not started.is_set()
        started.set()
        await asyncio.sleep(60 if first else 0)
        finished[first] += 1

    async with (
        proxied(url) as (proxy, through),
        connected(through) as cuttable,
        consuming(cuttable, queue, handle),
    ):
        await broker.publish(queue, token=issuer.token())
        await started.wait()
        proxy.cut()
        await trail.until("handled", seconds=30)
        await cuttable.connection.ready()
    assert finished == {False: 1}
    await broker.settles_at(queue, 0)


@pytest.mark.parametrize("outcome", ["handled", "refused", "given back"])
async def test_2_a_connection_cut_before_the_acknowledgement(
    outcome: str, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A handler that outlives its channel settles nothing: the broker has the message already."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    cut = asyncio.Event()
    on_error = OnError.RETRY if outcome == "given back" else OnError.DEAD_LETTER

    async with proxied(url) as (proxy, through), connected(through) as cuttable:

        @guard(queue=queue, on_error=on_error)
        async def handle(order: Order) -> None:
            if cut.is_set():
                return
            cut.set()
            try:
                proxy.cut()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()  # as a handler does that swallows its cancellation
            if outcome != "handled":
                raise LookupError

        async with consuming(cuttable, queue, handle):
            await broker.publish(queue, token=issuer.token())
            await trail.until("abandoned", seconds=30)
            await trail.until("handled", seconds=30)
            await cuttable.connection.ready()
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.dead", 0)


async def test_2_the_publishing_connection_cut_while_the_consuming_one_lives(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Publications under way fail and are tried again: every order arrives, none hangs."""
    first, second = broker.name("first"), broker.name("second")
    arrived: Counter[int] = Counter()
    async with proxied(url) as (proxy, through):
        bus = Bus(through, guard=guard_for(issuer, trail), service="chain")

        @bus.consumer(first)
        async def relay(order: Order, caller: Caller) -> None:
            await asyncio.sleep(0.01)
            await bus.publish(second, order)

        @bus.consumer(second)
        async def end(order: Order, caller: Caller) -> None:
            arrived[order.id] += 1

        async with bus:
            token = issuer.token()
            for number in range(100):
                await broker.publish(first, b'{"id": %d}' % number, token=token)
            await trail.until("handled", count=10)
            proxy.cut(0)
            async with asyncio.timeout(30):
                while len(arrived) < 100:
                    await asyncio.sleep(0.05)
    assert set(arrived) == set(range(100))
    for name in (first, second):
        await broker.settles_at(name, 0)


async def test_3_connections_cut_while_paused(broker: Broker, trail: Trail, url: str) -> None:
    """A consumer that was paused and cut comes back once, and handles everything."""
    own = Issuer(algorithm="ES256")
    with IssuerServer(own) as server:
        server.down = True
        keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0.05))
        verifier = Verifier(keys, issuer=own.url, audience="shop")
        guard = Guard(verifier, options=QUICK, auditor=trail)
        queue = broker.name("orders")
        handled: Counter[int] = Counter()
        async with proxied(url) as (proxy, through):
            bus = Bus(through, guard=guard, service="orders")

            @bus.consumer(queue)
            async def handle(order: Order, caller: Caller) -> None:
                handled[order.id] += 1

            async with bus:
                for number in range(20):
                    await broker.publish(queue, b'{"id": %d}' % number, token=own.token())
                await trail.until("deferred", count=2)
                proxy.cut()
                await trail.until("deferred", count=6)
                server.down = False
                await trail.until("handled", count=20, seconds=30)
    assert handled == Counter(range(20))
    assert await broker.count(f"{queue}.dead") == await broker.count(f"{queue}.rejected") == 0


async def test_3_a_pause_that_is_shorter_than_the_way_to_the_broker(
    broker: Broker, trail: Trail, url: str
) -> None:
    """A consumer whose cancellation takes longer than its pause comes back all the same."""
    own = Issuer(algorithm="ES256")
    queue = await broker.declare("orders")
    with IssuerServer(own) as server:
        server.down = True
        keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0.01))
        verifier = Verifier(keys, issuer=own.url, audience="shop")
        guard = Guard(verifier, options=QUICK, auditor=trail)

        @guard(queue=queue)
        async def handle(order: Order) -> None:
            pass

        async with (
            proxied(url) as (proxy, through),
            connected(through) as slow,
            consuming(slow, queue, handle),
        ):
            proxy.delay = 0.6
            await broker.publish(queue, token=own.token())
            await trail.until("deferred")
            server.down = False
            await trail.until("resumed")
            proxy.delay = 0
            for _ in range(3):
                await broker.publish(queue, token=own.token())
            await trail.until("handled", count=4)


async def test_9_one_consumer_after_a_cut_and_a_pause(
    broker: Broker, trail: Trail, url: str
) -> None:
    """A consumer that was restored carefully, then paused, comes back once and not twice."""
    own = Issuer(algorithm="ES256")
    queue = broker.name("orders")
    with IssuerServer(own) as server:
        keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0.01))
        verifier = Verifier(keys, issuer=own.url, audience="shop")
        guard = Guard(verifier, options=QUICK, auditor=trail)
        async with proxied(url) as (proxy, through):
            bus = Bus(through, guard=guard, service="orders")

            @bus.consumer(queue)
            async def handle(order: Order) -> None:
                pass

            async with bus:
                server.down = True
                own.rotate()  # the keys of the start do not do any more
                proxy.cut()
                await until_consumers(broker, queue, 1)
                await broker.publish(queue, token=own.token())
                await trail.until("deferred")
                server.down = False
                await trail.until("handled")
                await until_consumers(broker, queue, 1)
                await asyncio.sleep(0.3)
                await until_consumers(broker, queue, 1)


async def until_consumers(broker: Broker, queue: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await consumers_of(broker, queue) != count:
            await asyncio.sleep(0.05)


async def consumers_of(broker: Broker, queue: str) -> int:
    channel = await broker.channel.get_underlay_channel()
    return (await channel.queue_declare(queue, passive=True)).consumer_count or 0


async def test_3_many_returns_do_not_reach_the_delivery_limit(
    broker: Broker, trail: Trail, url: str
) -> None:
    """With more replicas than the delivery limit, an outage dead-letters nothing."""
    own = Issuer(algorithm="ES256")
    queue = broker.name("orders")
    handled: Counter[int] = Counter()
    with IssuerServer(own) as server:
        server.down = True
        options = BusOptions(delivery_limit=8, retry=RetryOptions(limit=3, first=0.05))
        replicas = []
        for _ in range(14):
            keys = JWKS(f"{own.url}/jwks.json", options=JWKSOptions(min_interval=0.01))
            verifier = Verifier(keys, issuer=own.url, audience="shop")
            guard = Guard(verifier, options=QUICK, auditor=trail)
            bus = Bus(url, guard=guard, service="orders", options=options)

            @bus.consumer(queue)
            async def handle(order: Order) -> None:
                handled[order.id] += 1

            replicas.append(bus)
        async with AsyncExitStack() as stack:
            for bus in replicas:
                await stack.enter_async_context(bus)
            await broker.publish(queue, token=own.token())
            await trail.until("deferred", count=28)
            server.down = False
            await trail.until("handled", seconds=30)
    assert handled == {1: 1}
    await broker.settles_at(f"{queue}.dead", 0)
