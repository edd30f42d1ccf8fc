"""A plain consumer whose queues are not declared says so before it handles anything."""

import pytest

from busauth import GuardOptions, Park
from busauth.testing import Issuer
from tests.parties import Party, security
from tests.support import QUORUM, Broker, Order, Trail, guard_for

SOON = GuardOptions(pause_first=0.05, pause_longest=0.05)


async def declared(broker: Broker, *beside: str) -> str:
    """Declare a classic queue, and some of those around it.

    A channel of RabbitMQ 3.10.8 crashes where a quorum queue is consumed again under one tag, many
    times a second.
    """
    name = broker.name("orders")
    await broker.channel.declare_queue(name, durable=True)
    for each in beside:
        await broker.channel.declare_queue(f"{name}.{each}", durable=True, arguments=QUORUM)
    return name


async def test_a_consumer_waits_for_the_queues_around_its_own(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """Which are missing, and how to declare them, is said once; declared, it goes on by itself."""
    name = await declared(broker)
    seen: list[int] = []

    @guard_for(issuer, trail, options=SOON)(queue=name)
    async def place(order: Order) -> None:
        seen.append(order.id)

    source = await broker.channel.get_queue(name)
    await source.consume(place)
    for _ in range(3):
        await broker.publish(name, token=issuer.token("ann"))
    first, *_ = await trail.until("deferred", count=3)
    expected = f"no queue '{name}.dead' and '{name}.rejected': declare them durable, with x-queue"
    assert expected in (first.detail or "")
    errors = [each for each in caplog.records if each.levelname == "ERROR"]
    assert [expected in each.getMessage() for each in errors] == [True]
    assert seen == []
    for beside in ("dead", "rejected"):
        await broker.channel.declare_queue(f"{name}.{beside}", durable=True, arguments=QUORUM)
    await trail.until("handled", count=3)
    assert seen == [1, 1, 1]


async def test_a_consumer_that_parks_needs_one_more(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """The queue where messages wait for their callers is one of them."""
    name = await declared(broker, "dead", "rejected")
    messages = security(Party("web").publisher())
    guard = guard_for(issuer, trail, options=SOON, messages=messages, on_expired=Park())

    @guard(queue=name)
    async def place(order: Order) -> None:
        """Do nothing."""

    await (await broker.channel.get_queue(name)).consume(place)
    await broker.publish(name, token=issuer.token("ann"))
    (event, *_) = await trail.until("deferred")
    assert f"no queue '{name}.parked'" in (event.detail or "")
