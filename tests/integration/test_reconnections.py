"""What many reconnections leave behind: nothing."""

import asyncio
import gc
import logging
from collections import Counter

import aiormq
import pytest
from aiormq.channel import Channel

from busauth import Bus, BusOptions, Caller, GuardOptions, Reject, RetryOptions
from busauth._amqp.connecting import connections as links
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing.lanes import Lane
from busauth._amqp.settling.acks import Ledger
from busauth.caller import Lease
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.proxy import proxied
from tests.support import Broker, Order, Trail, connected, guard_for

KEPT = (aiormq.Connection, Channel, Ledger, Lane, Delivery, Lease)
TIMES = 30


def living() -> Counter[str]:
    """Count what belongs to a connection or to a delivery, of all that the process holds.

    A service in its test has three connections, with a few channels each.
    """
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, KEPT))


def service(url: str, broker: Broker, issuer: Issuer, trail: Trail) -> tuple[Bus, str]:
    """Return a service that handles, publishes, retries and refuses; and its queue."""
    queue, second = broker.name("orders"), broker.name("second")
    options = BusOptions(retry=RetryOptions(limit=3, first=0.05))
    brief = GuardOptions(pause_first=0.05, pause_longest=0.1)  # a cut in mid-copy is a pause
    guard = guard_for(issuer, trail, options=brief)
    bus = Bus(url, guard=guard, service="orders", options=options)

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None:
        if order.id == 1:
            await bus.publish(second, order)
        elif order.id == 2:
            raise Reject("no")
        else:
            raise LookupError

    @bus.consumer(second)
    async def end(caller: Caller) -> None:
        del caller

    return bus, queue


@pytest.mark.long
async def test_memory_is_flat(
    issuer: Issuer, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a service has reconnected, it holds what belongs to one connection."""
    others = living()  # of tests before this one
    monkeypatch.setattr(links, "_RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # pytest keeps records
    async with (
        EmbeddedBroker() as server,
        connected(server.url) as broker,
        proxied(server.url) as (proxy, through),
    ):
        bus, queue = service(through, broker, issuer, trail)
        async with bus:
            for number in range(1, TIMES + 1):
                for order in (1, 2, 3):
                    await broker.publish(queue, b'{"id": %d}' % order, token=issuer.token())
                await broker.publish(queue)
                await trail.until("handled", count=2 * number)
                await trail.until("refused", count=2 * number)
                await trail.until("retried", count=number)
                proxy.cut()
                await asyncio.sleep(0.1)
            async with asyncio.timeout(20):  # what is closed at this moment takes a while to go
                while max((living() - others).values(), default=0) > TIMES // 2:
                    await asyncio.sleep(0.1)
