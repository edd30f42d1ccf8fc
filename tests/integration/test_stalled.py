"""A broker that does not read for a while, just as a consumer pauses."""

import asyncio

import aio_pika
import pytest

from busauth import Bus, BusOptions, Caller, GuardOptions
from busauth._amqp.connecting import patience
from busauth.testing import Issuer
from tests.integration.test_intake import Outage
from tests.proxy import Proxy, proxied
from tests.support import LADDERS, Broker, Trail, guard_for

QUICK = GuardOptions(pause_first=0.5, pause_longest=1)


@pytest.mark.parametrize("kind", ["bus", "plain", "plain-robust"])
async def test_it_consumes_again(
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    url: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It consumes again once the broker answers: a plain channel is not given up meanwhile."""
    monkeypatch.setattr(patience.answered, "__defaults__", (0.2,))
    outage = Outage()
    async with proxied(url) as (proxy, through):
        guard = guard_for(issuer, trail, options=QUICK, revocations=outage)
        if kind == "bus":
            queue = broker.name("orders")
            bus = Bus(through, guard=guard, service="t", options=BusOptions(retry=LADDERS[1]))

            @bus.consumer(queue)
            async def place(caller: Caller) -> None: ...

            async with bus:
                await scenario(broker, queue, issuer, trail, proxy, outage)
        else:
            queue = await broker.declare("orders")

            @guard(queue=queue)
            async def place_plain(caller: Caller) -> None: ...

            connect = aio_pika.connect_robust if "robust" in kind else aio_pika.connect
            connection = await connect(through)
            async with connection:
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=10)
                await (await channel.get_queue(queue)).consume(place_plain)
                await scenario(broker, queue, issuer, trail, proxy, outage)


async def scenario(
    broker: Broker, queue: str, issuer: Issuer, trail: Trail, proxy: Proxy, outage: Outage
) -> None:
    """Hold the broker while the consumer pauses, and let it go after that."""
    proxy.hold()
    await broker.publish(queue, token=issuer.token())
    await trail.until("deferred")
    await asyncio.sleep(0.5)  # longer than anybody who gives up would wait
    outage.is_there = lambda: False
    proxy.release()
    await broker.publish(queue, token=issuer.token())
    await trail.until("handled", count=2)
