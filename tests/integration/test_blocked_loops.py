"""A handler that blocks the loop: what was not acknowledged in time is never told as handled."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Generic, TypeVar

import pamqp.frame
import pytest
from aio_pika.abc import AbstractIncomingMessage
from pamqp.commands import Connection

from busauth import Bus, BusOptions
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.proxy import Proxy, proxied
from tests.support import LADDERS, Broker, Trail, amqp_url, connected, guard_for

LADDER = BusOptions(retry=LADDERS[1])
LARGE = bytes(20_000)

T = TypeVar("T")


class Aside(Generic[T]):
    """Something asynchronous that goes on while this loop stands still: in a thread of its own."""

    def __init__(self, made: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._made = made
        self._is_there = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.loop: asyncio.AbstractEventLoop
        self.it: T

    async def _run(self) -> None:
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with self._made() as self.it:
            self._is_there.set()
            await self._over.wait()

    def __enter__(self) -> T:
        self._thread.start()
        assert self._is_there.wait(30)
        return self.it

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    def do(self, what: Callable[[], object]) -> None:
        """Have it do something, and stand still until it is done."""
        done = threading.Event()
        for each in (what, done.set):
            self.loop.call_soon_threadsafe(each)
        assert done.wait(30)


@contextmanager
def server(kind: str) -> Iterator[str]:
    """Return the address of a broker that does not stand still with this loop."""
    if kind == "rabbitmq":
        yield amqp_url()
        return
    with Aside(EmbeddedBroker) as broker:
        yield broker.url


@pytest.fixture(params=["embedded", "rabbitmq"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    with server(request.param) as url:
        async with connected(url) as broker:
            yield broker


def stand_still(seconds: float) -> None:
    """Do what no handler should."""
    time.sleep(seconds)


def end(proxy: Proxy) -> None:
    """Let the connections end, without a word."""
    for writer in proxy._open:
        writer.close()


def close(proxy: Proxy) -> None:
    """Close the connections as a broker does that an operator has told to."""
    frame = pamqp.frame.marshal(Connection.Close(320, "CONNECTION_FORCED", 0, 0), 0)
    for writer in proxy._open:
        writer.write(frame)


@pytest.mark.parametrize("ending", [end, Proxy.cut, close])
async def test_a_connection_that_ends_while_a_handler_blocks(
    ending: Callable[[Proxy], None], broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """However much came before its end, each message is told as handled once, and is."""
    queue, seen = broker.name("orders"), Counter[str]()
    aside = Aside(lambda: proxied(broker.url))
    with aside as (proxy, url):
        bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=LADDER)

        @bus.consumer(queue)
        async def handle(message: AbstractIncomingMessage) -> None:
            seen[message.message_id or ""] += 1
            if seen["0"] == 1 and message.message_id == "0":
                stand_still(0.2)  # the others come
                aside.do(lambda: ending(proxy))
                stand_still(0.2)

        await bus.declare()
        for number in range(8):
            await broker.publish(queue, LARGE, token=issuer.token(), message_id=str(number))
        async with bus:
            await trail.until("handled", count=8)
    told = [(event.kind, event.message_id) for event in trail.events if event.kind != "accepted"]
    assert told[0] == ("abandoned", "0")
    assert Counter(which for kind, which in told if kind == "handled") == Counter(
        map(str, range(8))
    )
    await broker.settles_at(queue, 0)


@pytest.mark.long
async def test_a_handler_that_blocks_past_the_heartbeat(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """The broker has given it up by then: both messages come again, and are handled once each."""
    queue, seen = broker.name("orders"), Counter[str]()
    guard = guard_for(issuer, trail)
    bus = Bus(f"{broker.url}?heartbeat=1", guard=guard, service="orders", options=LADDER)

    @bus.consumer(queue)
    async def handle(message: AbstractIncomingMessage) -> None:
        seen[message.message_id or ""] += 1
        if seen[message.message_id or ""] == 1:
            stand_still(4)

    await bus.declare()
    for number in "ab":
        await broker.publish(queue, token=issuer.token(), message_id=number)
    async with bus:
        await trail.until("handled", count=2)
    assert seen == {"a": 2, "b": 2}
    assert trail.kinds().count("abandoned") == trail.kinds().count("handled") == 2
    await broker.settles_at(queue, 0)
