"""What many reconnections leave behind: nothing."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import aiormq
import pytest
from aiormq.channel import Channel

from busauth import Bus, BusOptions, Caller, GuardOptions, Reject, RetryOptions
from busauth._amqp.connecting import connections as links
from busauth._amqp.consuming import intake
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


async def passed(broker: Broker, queue: str, issuer: Issuer, trail: Trail, number: int) -> None:
    """Let one message go each way, and wait for these themselves.

    What a cut has doubled is told again, and would make up the numbers of messages that wait yet:
    then nothing happens between two cuts, and what waits grows with each of them.
    """
    for order in (1, 2, 3):
        token, message_id = issuer.token(), f"{number}.{order}"
        body = b'{"id": %d}' % order
        await broker.publish(queue, body, token=token, message_id=message_id)
    await broker.publish(queue, message_id=f"{number}.0")
    for kind, order in (("handled", 1), ("refused", 2), ("refused", 0), ("retried", 3)):
        await trail.until(kind, message_id=f"{number}.{order}")
    await trail.until("handled", count=2 * number)


@contextmanager
def unlogged() -> Iterator[None]:
    """Log nothing: pytest keeps records, and what the client library logs has channels in it.

    Loggers remember whether a level was enabled, from tests before this one; `disable` forgets it.
    """
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is kept while nothing shall be, of a logger either that was used before."""
    used = logging.getLogger("aiormq.connection")
    used.warning("before")
    with unlogged():
        used.warning("meanwhile")
    used.warning("after")
    assert caplog.messages == ["before", "after"]


@pytest.mark.long
async def test_memory_is_flat(
    issuer: Issuer, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a service has reconnected, it holds what belongs to one connection."""
    others = living()  # of tests before this one
    monkeypatch.setattr(links, "_RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(intake, "_FIRST", 0.01)
    async with (
        EmbeddedBroker() as server,
        connected(server.url) as broker,
        proxied(server.url) as (proxy, through),
    ):
        bus, queue = service(through, broker, issuer, trail)
        with unlogged():
            async with bus:
                for number in range(1, TIMES + 1):
                    await passed(broker, queue, issuer, trail, number)
                    proxy.cut()
                    await asyncio.sleep(0.1)
                await passed(broker, queue, issuer, trail, TIMES + 1)
                async with asyncio.timeout(20):  # what was closed just now takes a while to go
                    while max((living() - others).values(), default=0) > TIMES // 2:
                        await asyncio.sleep(0.1)
