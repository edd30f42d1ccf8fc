"""A bus runs once at a time, in one event loop; whoever asks it for more is told so at once."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import pytest

from busauth import ANONYMOUS, Bus, Caller, ConfigurationError, Publication, PublishError
from busauth.revocation import RevocationFeed
from busauth.testing import Issuer
from tests.support import Broker, Trail, guard_for
from tests.unit.revoking import transmitters

ONCE = "expected one start at a time.*`async with bus` and `bus.run\\(\\)`"
Start = Callable[[Bus], Awaitable[None]]


async def entered(bus: Bus) -> None:
    async with bus:
        pass


async def run(bus: Bus) -> None:
    await bus.run(signals=False)


STARTS = [entered, run]


class Service:
    """A bus with one consumer that is held until it may go on."""

    def __init__(self, broker: Broker, issuer: Issuer, trail: Trail) -> None:
        self.bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")
        self.queue, self.issuer, self.trail, self.broker = (
            broker.name("orders"), issuer, trail, broker,
        )  # fmt: skip
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

        @self.bus.consumer(self.queue)
        async def handle(caller: Caller) -> None:
            await self.may_go_on.wait()

    async def consumers(self) -> int | None:
        channel = await self.broker.channel.get_underlay_channel()
        return (await channel.queue_declare(self.queue, passive=True)).consumer_count

    async def works(self, count: int) -> None:
        await self.bus.publish(self.queue, b"{}", token=self.issuer.token())
        await self.trail.until("handled", count=count)
        assert bool(self.bus.ready)


@pytest.fixture
def service(broker: Broker, issuer: Issuer, trail: Trail) -> Service:
    return Service(broker, issuer, trail)


@pytest.mark.parametrize("again", STARTS)
async def test_a_bus_that_runs_is_not_started_again(service: Service, again: Start) -> None:
    """Whichever way it is tried, it is refused at once, and the first goes on; later it may be."""
    bus = service.bus
    async with bus:
        with pytest.raises(ConfigurationError, match=f"the bus runs already: {ONCE}"):
            await again(bus)
        assert await service.consumers() == 1
        await service.works(1)
    assert await service.consumers() == 0
    async with bus:
        await service.works(2)


@pytest.mark.parametrize("again", STARTS)
async def test_a_bus_under_run_is_not_started_again(service: Service, again: Start) -> None:
    """It is refused while the first start is on its way and later, and `stop` ends the first."""
    running = asyncio.create_task(run(service.bus))
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match=f"the bus is starting: {ONCE}"):
        await again(service.bus)
    async with asyncio.timeout(20):
        while not service.bus.ready:
            await asyncio.sleep(0.01)
    with pytest.raises(ConfigurationError, match=f"the bus runs already: {ONCE}"):
        await again(service.bus)
    await service.works(1)
    service.bus.stop()
    async with asyncio.timeout(20):
        await running
    assert await service.consumers() == 0


@pytest.mark.parametrize("again", STARTS)
async def test_a_bus_that_drains_is_not_started_again(service: Service, again: Start) -> None:
    """What the first still handles is finished and acknowledged."""
    bus = service.bus
    service.may_go_on.clear()
    async with bus:
        await bus.publish(service.queue, b"{}", token=service.issuer.token())
        await service.trail.until("accepted")
        leaving = asyncio.create_task(bus.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match=f"the bus is stopping: {ONCE}"):
            await again(bus)
        with pytest.raises(ConfigurationError, match="is stopping: expected one that runs"):
            await bus.idle()
        service.may_go_on.set()
        await leaving
    assert service.trail.kinds().count("handled") == 1
    assert await service.broker.count(service.queue) == 0
    async with bus:
        await service.works(2)


async def test_two_starts_at_once(service: Service) -> None:
    """One of them runs, and the other one is refused."""
    runs = [asyncio.create_task(run(service.bus)) for _ in range(2)]
    done, (left,) = await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(ConfigurationError, match=ONCE):
        done.pop().result()
    service.bus.stop()
    await left


async def test_declaring_takes_its_turn(service: Service) -> None:
    """A bus that declares its queues is not started meanwhile, and one that runs declares alone."""
    declaring = asyncio.create_task(service.bus.declare())
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match=f"is declaring its queues: {ONCE}"):
        await entered(service.bus)
    await declaring
    async with service.bus:
        with pytest.raises(ConfigurationError, match=r"a bus that runs.*by itself"):
            await service.bus.declare()
        await service.works(1)


async def test_a_start_that_fails_leaves_the_bus_free(service: Service, trail: Trail) -> None:
    """It may be tried again, however it was started."""
    bus = Bus("amqp://127.0.0.1:9/", guard=service.bus.guard, service="orders")
    for start in (*STARTS, *STARTS):
        with pytest.raises(ConnectionError, match="no broker at"):
            await start(bus)
    with pytest.raises(ConnectionError, match="no broker at"):
        await bus.declare()


async def test_idle_is_for_a_bus_that_runs(service: Service) -> None:
    """Nothing would be waited for: it is refused, before, and after as well."""
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"does not run: expected one that runs"):
            await service.bus.idle()
        async with service.bus:
            await service.bus.idle()


async def test_a_feed_is_opened_once(broker: Broker) -> None:
    """A second reader of one feed would be nobody's to close."""
    feed = RevocationFeed(broker.url, transmitters=transmitters())
    for _ in range(2):
        async with feed:
            with pytest.raises(ConfigurationError, match="revocation feed runs already: expected"):
                await feed.open()


async def test_a_thread_publishes_for_the_handlers_caller(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A handler's thread hands its publication to the loop, and it goes out on their behalf."""
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")
    queue, packed, seen = broker.name("orders"), broker.name("packed"), list[str]()

    def work(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run_coroutine_threadsafe(bus.publish(packed, b"{}"), loop).result()

    @bus.consumer(queue)
    async def handle() -> None:
        await asyncio.to_thread(work, asyncio.get_running_loop())

    @bus.consumer(packed)
    async def pack(caller: Caller) -> None:
        seen.append(caller.subject)

    async with bus:
        await bus.publish(queue, b"{}", token=issuer.token("ann"))
        await trail.until("handled", count=2)
    assert seen == ["ann"]


def calls(service: Service) -> list[tuple[Callable[[], Awaitable[Any]], type[Exception], str]]:
    bus, queue = service.bus, service.queue
    batch = [Publication(queue, b"{}", token=ANONYMOUS)]
    return [
        (lambda: bus.publish(queue, b"{}", token=ANONYMOUS), PublishError, "publish(...)"),
        (lambda: bus.publish_many(batch), PublishError, "publish_many(...)"),
        (lambda: bus.release(queue, "x"), ConfigurationError, "release(...)"),
        (bus.idle, ConfigurationError, "idle()"),
    ]


async def test_a_call_from_another_loop_is_refused_in_a_sentence(service: Service) -> None:
    """At once, with the way that there is, and nothing is left behind; asking needs no loop."""
    left: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: left.append(context["message"]))

    async def elsewhere(call: Callable[[], Awaitable[Any]]) -> None:
        there = asyncio.get_running_loop()
        there.set_exception_handler(lambda _, context: left.append(context["message"]))
        async with asyncio.timeout(5):
            await call()

    async with service.bus:
        for call, kind, named in calls(service):
            with pytest.raises(kind) as caught:
                await asyncio.to_thread(asyncio.run, elsewhere(call))
            told = str(caught.value)
            assert f"asyncio.run_coroutine_threadsafe(bus.{named}, loop)" in told
            assert len(told) < 300
        exchange, plain = service.broker.channel.default_exchange, aio_pika.Message(b"{}")
        publishing = service.bus.guard.publish
        wrong = elsewhere(lambda: publishing(exchange, plain, service.queue, token=ANONYMOUS))
        with pytest.raises(PublishError, match=r"exchange ''.*\(guard.publish\(...\), loop\)"):
            await asyncio.to_thread(asyncio.run, wrong)
        with pytest.raises(ConfigurationError, match=ONCE):
            await asyncio.to_thread(asyncio.run, elsewhere(lambda: entered(service.bus)))
        assert await asyncio.to_thread(lambda: bool(service.bus.ready))
        gc.collect()
        assert left == []
        sending = service.bus.publish(service.queue, b"{}", token=service.issuer.token())
        await asyncio.to_thread(asyncio.run_coroutine_threadsafe(sending, loop).result)
        await service.trail.until("handled")
