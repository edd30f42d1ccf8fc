"""What is published now and arrives later: when, as what, and what stands in its way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest

from busauth import (
    Bus,
    BusOptions,
    Caller,
    ConfigurationError,
    Grace,
    Publication,
    PublishError,
)
from busauth.messages import Proven
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer, ManualClock
from tests.parties import Party, Scene, security
from tests.support import LADDERS, Broker, Order, Trail, connected, guard_for

HOUR = 3600.0
OPTIONS = BusOptions(retry=LADDERS[1])


@asynccontextmanager
async def in_time(clock: ManualClock) -> AsyncIterator[Broker]:
    """Run a broker on which time passes as a test says."""
    async with EmbeddedBroker(clock=clock) as embedded, connected(embedded.url) as broker:
        yield broker


@pytest.mark.long
async def test_a_delayed_message_arrives_as_it_was_published(
    broker: Broker, issuer_in_time: Issuer, trail: Trail, clock: ManualClock
) -> None:
    """Later, for its caller, proven for its queue; a short delay waits behind no longer one."""
    queue, shop = broker.name("orders"), Party("shop")
    scene = Scene(broker, issuer_in_time, clock, trail)
    bus = scene.bus(security(shop.publisher(), signer=shop.signer))
    seen: list[tuple[int, str, str, float]] = []
    began = time.monotonic()

    @bus.consumer(queue)
    async def place(order: Order, caller: Caller, proven: Proven) -> None:
        after = time.monotonic() - began
        seen.append((order.id, caller.subject, f"{proven.exchange}>{proven.routing_key}", after))

    token = issuer_in_time.token("ann")
    async with bus:
        await bus.publish(queue, Order(id=3), token=token, delay=2.5)
        batch = [
            Publication(queue, Order(id=1), token=token, delay=1),
            Publication(queue, Order(id=0), token=token),
        ]
        await bus.publish_many(batch)
        await trail.until("handled", count=3)
    assert [each[:3] for each in seen] == [(n, "ann", f">{queue}") for n in (0, 1, 3)]
    assert seen[1][3] >= 1
    assert 3 <= seen[2][3] < 4.5
    assert {event.queue for event in trail.events if event.kind == "published"} == {queue}


async def test_hours_pass_as_they_were_said(
    clock: ManualClock, issuer_in_time: Issuer, trail: Trail
) -> None:
    """Not before, and within a second; many at once make no queues of their own."""
    delays = [20 * HOUR, 1, 59, 20 * HOUR - 1, 7 * HOUR + 0.5]
    seen: list[tuple[int, float]] = []
    async with in_time(clock) as broker:
        queue = broker.name("orders")
        guard = guard_for(issuer_in_time, trail, clock=clock, on_expired=Grace(hours=23))
        bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS)
        began = clock.now()

        @bus.consumer(queue)
        async def place(order: Order) -> None:
            seen.append((order.id, clock.now() - began))

        async with bus:
            token = issuer_in_time.token()
            for number, delay in enumerate(delays):
                await bus.publish(queue, Order(id=number), token=token, delay=delay)
            await clock.advance(21 * HOUR)
            await trail.until("handled", count=len(delays))
    assert [number for number, _ in seen] == [1, 2, 4, 3, 0]
    for number, after in seen:
        assert delays[number] <= after < delays[number] + 1.1


@pytest.mark.long
async def test_a_queue_must_be_there_and_may_go_meanwhile(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Nothing is sent where none is; what arrives where none is any more holds nobody up."""
    queue, other = await broker.declare("orders"), await broker.declare("others")
    unrouted, token = "busauth.delay.unrouted", issuer.token()
    async with Bus(broker.url, guard=guard_for(issuer, trail), service="orders") as bus:
        with pytest.raises(PublishError, match=r"'nowhere' is not there.*declare the queue"):
            await bus.publish("nowhere", "", token=token, delay=1)
        lost = Publication("nowhere", "", token=token, delay=1)
        with pytest.raises(PublishError, match="not there"):
            await bus.publish_many([Publication(queue, "", token=token), lost])
        await (await broker.channel.get_queue(unrouted)).purge()  # of earlier runs
        gone = [Publication(queue, str(number), token=token, delay=1) for number in range(50)]
        await bus.publish_many([*gone, Publication(other, "", token=token, delay=1)])
        await broker.channel.queue_delete(queue)
        await broker.settles_at(other, 1)
        await broker.settles_at(unrouted, 50)
        assert await broker.count("busauth.delay.0") == 0


async def test_where_an_operator_declares_it_is_told_what(
    clock: ManualClock, issuer_in_time: Issuer, trail: Trail
) -> None:
    """Levels, and the queue's binding; once they are there, it is delayed."""
    async with in_time(clock) as broker:
        queue = await broker.declare("orders")
        guard, token = guard_for(issuer_in_time, trail, clock=clock), issuer_in_time.token()
        operated = Bus(broker.url, guard=guard, service="orders", options=BusOptions(declare=False))
        async with operated, Bus(broker.url, guard=guard, service="operator") as operator:
            with pytest.raises(
                ConfigurationError, match=r"levels 0 to 2 of busauth\.delay"
            ) as told:
                await operated.publish(queue, "", token=token, delay=5)
            assert f"'{'*.' * 22}{queue}'" in str(told.value)
            with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
                await broker.channel.get_exchange("busauth.delay.0")
            await operator.publish(queue, "", token=token, delay=5)
            await operated.publish(queue, "", token=token, delay=5)
            with pytest.raises(ConfigurationError, match="levels 0 to 3"):
                await operated.publish(queue, "", token=token, delay=8)
            with pytest.raises(PublishError, match="not there"):
                await operated.publish("nowhere", "", token=token, delay=1)
            await clock.advance(6)
            await broker.settles_at(queue, 2)


async def test_a_queue_that_was_declared_anew_is_bound_again(
    clock: ManualClock, issuer_in_time: Issuer, trail: Trail
) -> None:
    """Within a minute, on the same connection: what is due does not miss it for good."""
    async with in_time(clock) as broker:
        queue, token = await broker.declare("orders"), issuer_in_time.token()
        guard = guard_for(issuer_in_time, trail, clock=clock)
        async with Bus(broker.url, guard=guard, service="orders") as bus:
            await bus.publish(queue, "", token=token, delay=1)
            await clock.advance(60)
            await broker.channel.queue_delete(queue)
            await broker.channel.declare_queue(queue, durable=True)
            await bus.publish(queue, "", token=token, delay=1)
            await clock.advance(2)
            await broker.settles_at(queue, 1)


async def test_what_delays_is_declared_once_by_all_that_need_it(
    clock: ManualClock, issuer_in_time: Issuer, trail: Trail
) -> None:
    """Many at a time wait for one declaration; one that is cut off leaves the next to do it."""
    async with in_time(clock) as broker:
        queue = await broker.declare("orders")
        guard, token = guard_for(issuer_in_time, trail, clock=clock), issuer_in_time.token()
        async with Bus(broker.url, guard=guard, service="orders") as bus:
            with pytest.raises(PublishError, match="not declared within"):
                await bus.publish(queue, "", token=token, delay=2**21, timeout=1e-6)
            sends = (bus.publish(queue, "", token=token, delay=n + 1) for n in range(30))
            await asyncio.gather(*sends)
            await clock.advance(31)
            await broker.settles_at(queue, 30)
