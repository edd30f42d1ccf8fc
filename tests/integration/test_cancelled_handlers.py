"""A handler's task that was cancelled from inside: the message comes again, on the same channel."""

import asyncio
from collections import Counter

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, BusOptions, Caller, OnError
from busauth.messages import InProcessReplay, ReplayKey
from busauth.testing import Issuer
from tests.parties import Party, Scene, security
from tests.support import LADDERS, Broker, Order, Trail, consuming, guard_for

OPTIONS = BusOptions(prefetch=3, retry=LADDERS[1])


async def cancelled() -> None:
    """Be cancelled, as by a watchdog of the handler's own."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.Event().wait()


async def test_a_watchdog_that_cancels_the_handlers_task(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """As many as the prefetch are cancelled; all come again, and those behind are handled."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=OPTIONS)
    seen: list[int] = []

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        seen.append(order.id)
        if seen.count(order.id) == 1 and order.id < 3:
            await cancelled()

    async with bus:
        for number in range(4):
            await bus.publish(queue, Order(id=number), token=issuer.token())
        await trail.until("handled", count=4)
    assert sorted(seen) == [0, 0, 1, 1, 2, 2, 3]
    assert trail.kinds().count("abandoned") == 3
    await broker.settles_at(queue, 0)


@pytest.mark.parametrize("on_error", OnError)
async def test_a_plain_consumers_task(
    on_error: OnError, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """In front of an aio-pika callback it is the same: no letter, no attempt, it comes again."""
    queue, seen = await broker.declare("orders"), Counter[bytes]()

    @guard_for(issuer, trail)(queue=queue, on_error=on_error)
    async def handle(message: AbstractIncomingMessage, caller: Caller) -> None:
        seen[message.body] += 1
        if seen[message.body] == 1:
            await cancelled()

    async with consuming(broker, queue, handle):
        for body in (b"1", b"2"):
            await broker.publish(queue, body, token=issuer.token())
        await trail.until("handled", count=2)
    assert seen == {b"1": 2, b"2": 2}
    await broker.settles_at(queue, 0)


async def test_a_handler_that_is_cancelled_each_time_has_an_end(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """After some returns that is how its attempts fail: few more, and it is a dead letter."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=OPTIONS)
    began = 0

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        nonlocal began
        began += 1
        await cancelled()

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        (refused,) = await trail.until("refused")
    assert (refused.code, refused.error) == ("handler.failed", "CancelledError")
    assert began < 12
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.dead", 1)


async def test_a_message_whose_handler_is_cancelled_often_is_handled_at_last(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """It waits as a retry after some returns, so that no delivery limit is met."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=OPTIONS)
    began = 0

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        nonlocal began
        began += 1
        if began < 6:
            await cancelled()

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("handled")
    assert began == 6
    await broker.settles_at(queue, 0)
    await broker.settles_at(f"{queue}.dead", 0)


async def test_a_handler_that_acknowledged_and_was_cancelled(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What it settled itself stays settled, and is not given back as well."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=OPTIONS)
    seen: list[bytes] = []

    @bus.consumer(queue)
    async def handle(message: AbstractIncomingMessage) -> None:
        seen.append(message.body)
        if message.body == b"1":
            await message.ack()
            await cancelled()

    async with bus:
        for body in (b"1", b"2"):
            await bus.publish(queue, body, token=issuer.token())
        await trail.until("handled")
        await broker.settles_at(queue, 0)
    assert seen == [b"1", b"2"]
    assert trail.kinds().count("settled-by-handler") == 1


class CutOff(InProcessReplay):
    """A memory whose asker is cancelled once it has noted that a message is done."""

    is_done = False

    async def done(self, key: ReplayKey) -> None:
        await super().done(key)
        if not self.is_done:
            self.is_done = True
            await cancelled()


async def test_what_may_be_done_is_never_put_off_as_a_copy(scene: Scene) -> None:
    """However often it came back before: a replay memory would take its copy for somebody's."""
    queue, web = scene.broker.name("orders"), Party("web")
    bus = scene.bus(security(web.publisher(), replay=CutOff(keep_for=2 * 24 * 3600.0)))
    began = 0

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        nonlocal began
        began += 1
        if began < 3:
            await cancelled()

    async with bus, scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=scene.issuer.token("ann"))
        await scene.trail.until("duplicate")
    assert began == 3
    assert scene.codes() == []
    await scene.broker.settles_at(queue, 0)
