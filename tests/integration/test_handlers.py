"""Bodies and handlers as people write them: whatever is annotated, and what blocks."""

import asyncio
import logging
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from busauth import Bus, BusOptions, Caller, CallerError, RetryOptions
from busauth.integrations.threads import BusThread
from busauth.testing import Issuer, ManualClock
from tests.proxy import proxied
from tests.support import Broker, Order, Trail, guard_for

QUICK = BusOptions(retry=RetryOptions(limit=1, first=0.05))


@dataclass
class Line:
    """A body that is a dataclass."""

    order: int
    amounts: list[float] = field(default_factory=list)


async def test_what_is_published_arrives_as_it_is_annotated(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A dataclass, a union of lists, bytes and text, each as its handler says."""
    lines, several, raw, text = (broker.name(each) for each in ("lines", "several", "raw", "text"))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)
    seen: list[Any] = []

    @bus.consumer(lines)
    async def line(body: Line) -> None:
        seen.append(body)
        await bus.publish(several, [body], body_type=list[Line])

    @bus.consumer(several)
    async def each(body: list[Line] | dict[str, int]) -> None:
        seen.append(body)
        await bus.publish(raw, b"\xff\x00")

    @bus.consumer(raw)
    async def image(body: bytes) -> None:
        seen.append(body)
        await bus.publish(text, "\N{SNOWMAN}")

    @bus.consumer(text)
    async def note(body: str) -> None:
        seen.append(body)

    async with bus:
        await bus.publish(lines, Line(1, [1.5]), token=issuer.token())
        await trail.until("handled", count=4)
    assert seen == [Line(1, [1.5]), [Line(1, [1.5])], b"\xff\x00", "\N{SNOWMAN}"]


class Blocking:
    """A handler that blocks until it is let go."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Semaphore(0)
        self.go = threading.Event()
        self.runs: Counter[int] = Counter()

    def __call__(self, order: Order, caller: Caller) -> None:
        self.runs[order.id] += 1
        self.loop.call_soon_threadsafe(self.begun.release)
        assert self.go.wait(30)


async def test_a_handler_that_blocks_has_its_caller(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """It runs in a thread, with its own caller and for as long as it runs; others run meanwhile."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)
    both, callers, said = threading.Barrier(2, timeout=20), list[Caller](), dict[str, str]()

    @bus.consumer(queue)
    def block(order: Order, caller: Caller) -> None:
        both.wait()
        callers.append(caller)
        said[caller.subject] = caller.bearer()
        both.wait()

    async with bus:
        tokens = {name: issuer.token(name) for name in ("ann", "bob")}
        for token in tokens.values():
            await broker.publish(queue, token=token)
        await trail.until("handled", count=2)
    assert said == tokens
    for caller in callers:
        with pytest.raises(CallerError):
            caller.bearer()


async def test_a_message_without_a_thread_is_not_guilty(
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    url: str,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no thread can be begun, the consumer pauses, and handles it once one can."""
    queue, own = broker.name("orders"), Issuer(issuer.url, clock=clock)
    bus = Bus(url, guard=guard_for(own, trail, clock=clock), service="orders", options=QUICK)
    handled = list[int]()

    @bus.consumer(queue)
    def block(order: Order) -> None:
        handled.append(order.id)

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with bus:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none_left)
            await broker.publish(queue, token=own.token())
            await trail.until("deferred")
        await clock.advance(60)
        await trail.until("handled")
    assert handled == [1]
    assert trail.kinds(queue) == ["accepted", "deferred", "resumed", "accepted", "handled"]


async def test_a_thread_that_is_late_keeps_its_message(
    broker: Broker, issuer: Issuer, trail: Trail, clock: ManualClock, url: str
) -> None:
    """A deadline cannot end it: what has returned after it is handled, and not done once more."""
    queue, own = broker.name("orders"), Issuer(issuer.url, clock=clock)
    bus = Bus(url, guard=guard_for(own, trail, clock=clock), service="orders", options=QUICK)
    blocking = Blocking()
    bus.consumer(queue, deadline=60)(blocking)
    async with bus:
        await broker.publish(queue, token=own.token())
        await blocking.begun.acquire()
        await clock.advance(61)
        assert trail.kinds(queue) == ["accepted"]
        blocking.go.set()
        await trail.until("handled")
    assert blocking.runs == {1: 1}
    await broker.settles_at(queue, 0)


async def test_a_service_stops_once_its_threads_have_ended(
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The time to drain is over, and the thread still runs: its message is not given to others."""
    queue, blocking = broker.name("orders"), Blocking()
    options = BusOptions(drain=0, retry=RetryOptions(limit=1, first=0.05))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)
    bus.consumer(queue)(blocking)

    async def serve() -> None:
        async with bus:
            await broker.publish(queue, token=issuer.token())
            await blocking.begun.acquire()

    with caplog.at_level(logging.WARNING):
        serving = asyncio.create_task(serve())
        while "waits for handlers in threads" not in caplog.text:
            await asyncio.sleep(0.01)
    assert not serving.done()
    blocking.go.set()
    await serving
    assert trail.kinds(queue) == ["accepted", "handled"]
    await broker.settles_at(queue, 0)


async def test_a_thread_whose_connection_is_lost_runs_once(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Its service consumes again meanwhile, and settles the message as it has come back."""
    queue, blocking = broker.name("orders"), Blocking()
    async with proxied(url) as (proxy, through):
        bus = Bus(through, guard=guard_for(issuer, trail), service="orders", options=QUICK)
        bus.consumer(queue)(blocking)
        async with bus:
            await broker.publish(queue, token=issuer.token())
            await blocking.begun.acquire()
            taken = bus._intakes[queue].consumer.taken
            proxy.cut()
            async with asyncio.timeout(20):
                while bus._intakes[queue].consumer.taken == taken:
                    await asyncio.sleep(0.05)
            blocking.go.set()
            await trail.until("handled")
    assert blocking.runs == {1: 1}
    await broker.settles_at(queue, 0)


@pytest.mark.parametrize("buses", [1, 2])
async def test_a_handler_that_blocks_publishes_in_its_callers_name(
    broker: Broker, issuer: Issuer, trail: Trail, url: str, buses: int
) -> None:
    """By its own bus, or by one in a thread, which may share its guard."""
    orders, reserved = broker.name("orders"), await broker.declare("reserved")
    guard = guard_for(issuer, trail)
    bus = Bus(url, guard=guard, service="orders", options=QUICK)
    publisher = BusThread(bus if buses == 1 else Bus(url, guard=guard, service="orders"))

    @bus.consumer(orders)
    def reserve(order: Order) -> None:
        publisher.publish(reserved, {"id": order.id})

    async with bus:
        token = issuer.token("ann")
        await bus.publish(orders, Order(id=7), token=token)
        await trail.until("handled")
    sent = await broker.one(reserved)
    assert (sent.body, sent.headers["authorization"]) == (b'{"id":7}', f"Bearer {token}")
    await asyncio.to_thread(publisher.close)
