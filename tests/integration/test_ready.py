"""How long a publication may take, and whether a service is ready, asked without the broker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aio_pika
import pytest

from busauth import (
    ANONYMOUS,
    Bus,
    BusOptions,
    Caller,
    ConfigurationError,
    Deferred,
    Guard,
    GuardOptions,
    Publication,
    PublishError,
)
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from busauth.testing.broker.model.limits import Limits
from tests.proxy import proxied
from tests.support import Broker, Order, Trail, guard_for

BRIEF = "?connection_timeout=200"
Publish = Callable[[Bus, aio_pika.abc.AbstractExchange, float | None], Awaitable[None]]


async def _one(bus: Bus, _: object, seconds: float | None) -> None:
    await bus.publish("key", b"", token=ANONYMOUS, timeout=seconds)


async def _batch(bus: Bus, _: object, seconds: float | None) -> None:
    await bus.publish_many([Publication("key", b"", token=ANONYMOUS, timeout=seconds)])


async def _plain(bus: Bus, exchange: aio_pika.abc.AbstractExchange, seconds: float | None) -> None:
    message = aio_pika.Message(b"")
    await bus.guard.publish(exchange, message, "key", token=ANONYMOUS, timeout=seconds)


WAYS = pytest.mark.parametrize("publish", [_one, _batch, _plain])


@WAYS
async def test_a_publication_has_its_own_time(
    publish: Publish, url: str, issuer: Issuer, trail: Trail
) -> None:
    """With the broker down an edge is told when it said, and that nothing was sent."""
    async with (
        proxied(url) as (proxy, through),
        Bus(through + BRIEF, guard=guard_for(issuer, trail), service="edge") as bus,
        await aio_pika.connect_robust(through) as connection,
    ):
        exchange = (await connection.channel()).default_exchange
        proxy.mute = True
        proxy.cut()
        async with asyncio.timeout(10):
            while connection.connected.is_set() or len(bus.ready.reasons) < 2:
                await asyncio.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(PublishError, match=r"0\.3 s.*it was not sent"):
            await publish(bus, exchange, 0.3)
        assert time.monotonic() - began < 2


@WAYS
async def test_a_broker_that_does_not_answer_in_time(
    publish: Publish, url: str, issuer: Issuer, trail: Trail
) -> None:
    """What was written and not confirmed in its own time is unknown."""
    async with (
        proxied(url) as (proxy, through),
        Bus(through, guard=guard_for(issuer, trail), service="edge") as bus,
        await aio_pika.connect_robust(through) as connection,
    ):
        exchange = (await connection.channel()).default_exchange
        with pytest.raises(PublishError, match="unroutable"):  # its channel is open
            await publish(bus, exchange, None)
        proxy.hold()
        with pytest.raises(PublishError, match=r"not confirmed within 0\.2 s.*unknown"):
            await publish(bus, exchange, 0.2)
        proxy.release()


@WAYS
@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
async def test_a_time_is_a_span(
    publish: Publish, seconds: float, issuer: Issuer, trail: Trail
) -> None:
    """What is no span of time is an error of whoever says it, and nothing is sent."""
    async with (
        EmbeddedBroker() as server,
        Bus(server.url, guard=guard_for(issuer, trail), service="edge") as bus,
        await aio_pika.connect(server.url) as connection,
    ):
        exchange = (await connection.channel()).default_exchange
        with pytest.raises(ConfigurationError, match="expected seconds above 0"):
            await publish(bus, exchange, seconds)


async def until_ready(bus: Bus) -> None:
    async with asyncio.timeout(10):
        while not bus.ready:
            await asyncio.sleep(0.02)


async def test_ready(url: str, broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """A service is ready while it is connected and consumes, and says why it is not."""
    queue = broker.name("orders")
    async with proxied(url) as (proxy, through):
        options = BusOptions(drain=0)
        bus = Bus(through + BRIEF, guard=guard_for(issuer, trail), service="x", options=options)

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller) -> None: ...

        assert not bus.ready
        assert str(bus.ready).startswith("not ready: not connected to 127.0.0.1:")
        async with bus:
            assert bus.ready
            assert (bus.ready.reasons, str(bus.ready)) == ((), "ready")
            proxy.mute = True
            proxy.cut()
            async with asyncio.timeout(10):
                while len(bus.ready.reasons) < 4:
                    await asyncio.sleep(0.01)
            told = str(bus.ready)
            for purpose in ("publish", "copies", "consume"):
                assert f"the connection for {purpose} was lost, and is being restored" in told
            assert f"the consumer of '{queue}' was ended" in told
            assert "guest:" not in told
            proxy.mute = False
            await until_ready(bus)
        assert not bus.ready


class OutOfReach:
    """Revocations that nobody can be asked for."""

    is_there = True

    def revoked(self, _caller: Caller, _now: float) -> bool:
        if self.is_there:
            return False
        raise Deferred("the list of revocations is out of reach: eyJhbGciOiJub25lIn0.eyJhIjoxfQ.x")


async def test_a_paused_consumer(url: str, broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Why a consumer pauses is told, and no token in it."""
    queue, list_ = broker.name("orders"), OutOfReach()
    quick = GuardOptions(pause_first=0.05, pause_longest=0.1)
    guard: Guard = guard_for(issuer, trail, options=quick, revocations=list_)
    bus = Bus(url, guard=guard, service="orders")

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None: ...

    async with bus:
        list_.is_there = False
        await broker.publish(queue, token=issuer.token())
        await trail.until("deferred")
        assert bus.ready.reasons == (
            f"the consumer of '{queue}' is paused: the list of revocations is out of reach: "
            "[token]",
        )
        list_.is_there = True
        await trail.until("handled")
        await until_ready(bus)


async def test_an_alarm(issuer: Issuer, trail: Trail) -> None:
    """A broker that takes no publications for want of memory is told, once for all connections."""
    async with (
        EmbeddedBroker(limits=Limits(memory=1_000_000)) as server,
        Bus(server.url, guard=guard_for(issuer, trail), service="edge") as bus,
        await aio_pika.connect(server.url) as connection,
    ):
        channel = await connection.channel()
        queue = await channel.declare_queue("filler", exclusive=True)
        await bus.publish("filler", b"x" * 2_000_000, token=ANONYMOUS)
        for _ in range(2):  # the first one may be taken, and is told of the alarm
            with suppress(PublishError):
                await bus.publish("filler", b"", token=ANONYMOUS, timeout=0.2)
        assert bus.ready.reasons == (
            "the broker takes no publications: its memory or disk is short",
        )
        await queue.purge()
        await until_ready(bus)
