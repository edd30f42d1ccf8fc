"""Publications that nobody need listen for."""

import asyncio

import aio_pika
import pytest

from busauth import ANONYMOUS, Bus, BusOptions, Guard, NotAllPublished, Publication, PublishError
from busauth.testing import Issuer
from tests.support import Broker, Trail, guard_for


@pytest.fixture
def guard(issuer: Issuer, trail: Trail) -> Guard:
    return guard_for(issuer, trail)


async def test_what_nobody_takes_is_an_error_unless_it_may_be(
    broker: Broker, guard: Guard, trail: Trail, url: str
) -> None:
    """It is confirmed, one by one and in a batch, where each says for itself."""
    nowhere = broker.name("nowhere")
    events = await broker.channel.declare_exchange(broker.name("events"), auto_delete=True)
    queue = await broker.declare("orders")
    await (await broker.channel.get_queue(queue)).bind(events, "placed")
    options = BusOptions(declare=False)
    async with Bus(url, guard=guard, service="orders", options=options) as bus:
        await bus.publish(nowhere, b"", token=ANONYMOUS, must_route=False)
        for key in ("placed", "nobody"):
            await bus.publish(key, b"", exchange=events.name, token=ANONYMOUS, must_route=False)
        with pytest.raises(PublishError, match="returned as unroutable"):
            await bus.publish(nowhere, b"", token=ANONYMOUS)
        both = [
            Publication(nowhere, b"", token=ANONYMOUS, must_route=must) for must in (False, True)
        ]
        with pytest.raises(NotAllPublished) as caught:
            await bus.publish_many(both)
        assert list(caught.value.errors) == [1]
    assert trail.kinds() == ["published"] * 4
    await broker.settles_at(queue, 1)


async def test_an_exchange_that_is_not_there_is_an_error_for_everybody(
    broker: Broker, guard: Guard, trail: Trail, url: str
) -> None:
    """Nobody can have bound a queue to it, and what shares the connection goes on."""
    missing = broker.name("missing")
    async with Bus(url, guard=guard, service="orders") as bus:
        first = bus.publish("a", b"", exchange=missing, token=ANONYMOUS, must_route=False)
        second = bus.publish("b", b"", exchange=missing, token=ANONYMOUS, must_route=False)
        other = bus.publish(broker.name("nowhere"), b"", token=ANONYMOUS, must_route=False)
        ended = await asyncio.gather(first, second, other, return_exceptions=True)
    assert [type(each) for each in ended] == [PublishError, PublishError, type(None)]
    assert "it was not published" in str(ended[0])


async def test_a_guard_publishes_so_as_well(broker: Broker, guard: Guard) -> None:
    """On a plain exchange, a body alone or a message."""
    exchange, nowhere = broker.channel.default_exchange, broker.name("nowhere")
    for message in ({"id": 1}, aio_pika.Message(b"")):
        await guard.publish(exchange, message, nowhere, token=ANONYMOUS, must_route=False)
        with pytest.raises(PublishError, match="returned as unroutable"):
            await guard.publish(exchange, message, nowhere, token=ANONYMOUS)
