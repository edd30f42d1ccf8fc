"""The kit notices tasks that go on in the name of a handler that has ended."""

import asyncio
from contextlib import suppress
from types import FunctionType

import pytest

from busauth import Bus, CallerError, as_nobody
from busauth.caller import Lease, current_lease
from busauth.testing import Kit
from busauth.testing.tasks import _WatchedLease
from tests.kit.shop import Order


class Worker:
    """Publishes for whoever asks; the first one starts it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.jobs: asyncio.Queue[Order] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self._work(), name="worker")

    async def _work(self) -> None:
        while True:
            order = await self.jobs.get()
            with suppress(CallerError):  # as somebody's loop would
                await self.bus.publish("stock", order)
            self.jobs.task_done()

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


SENTENCE = (
    r"the task 'worker' was started in the handler \S+handle, message \S+ from orders; it "
    r"published in the name of alice, and goes on after that handler: .* `with as_nobody\(\): ...`"
)


def stocked(bus: Bus) -> None:
    @bus.consumer("stock")
    async def take(order: Order) -> None:
        del order


@pytest.mark.parametrize("waits", [True, False], ids=["during", "after"])
async def test_a_task_of_another_messages_handler(
    waits: bool, busauth_kit: Kit, busauth_bus: Bus
) -> None:
    """A worker that alice's handler started does bob's work: while hers runs, or afterwards."""
    worker, started, bobs = Worker(busauth_bus), asyncio.Event(), asyncio.Event()
    stocked(busauth_bus)

    @busauth_bus.consumer("orders")
    async def handle(order: Order) -> None:
        worker.start()
        started.set()
        if order.id == 1:
            await (bobs.wait() if waits else asyncio.sleep(0))
            return
        worker.jobs.put_nowait(order)
        await worker.jobs.join()
        bobs.set()

    async def both() -> None:
        async with busauth_bus:
            await busauth_kit.publish("orders", Order(id=1), by="alice")
            await started.wait()
            await busauth_kit.publish("orders", Order(id=2), by="bob")
            await busauth_bus.idle()

    with pytest.raises(AssertionError, match=SENTENCE):
        await both()
    await worker.stop()
    busauth_kit.check_tasks()  # told once


async def test_a_task_that_nobody_started(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """Started as nobody, it may go on; and a handler's own children may publish."""
    worker = Worker(busauth_bus)
    stocked(busauth_bus)

    @busauth_bus.consumer("orders")
    async def handle(order: Order) -> None:
        with as_nobody():
            worker.start()
        worker.jobs.put_nowait(order)
        async with asyncio.TaskGroup() as group:
            group.create_task(busauth_bus.publish("stock", order))
        await asyncio.wait_for(busauth_bus.publish("stock", order), 10)
        abandoned = asyncio.create_task(leaving(order))
        await asyncio.sleep(0)
        abandoned.cancel()

    async def leaving(order: Order) -> None:
        await busauth_bus.publish("stock", order)
        await asyncio.Event().wait()

    async with busauth_bus:
        await busauth_kit.publish("orders", Order(id=1))
        await busauth_bus.idle()
    await worker.stop()


async def test_a_task_that_publishes_nothing_may_go_on(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """A cache that is warmed in a handler's context harms nobody."""
    warming: list[asyncio.Task[None]] = []

    @busauth_bus.consumer("orders")
    async def handle(order: Order) -> None:
        del order
        warming.append(asyncio.create_task(asyncio.sleep(3600)))

    async with busauth_bus:
        await busauth_kit.publish("orders", Order(id=1))
        await busauth_bus.idle()
    assert not warming[0].done()
    warming[0].cancel()


async def test_a_services_own_bus(busauth_kit: Kit) -> None:
    """A bus that the kit was lent is watched as well; an error of the test's counts first."""
    bus = Bus("amqp://nowhere.example/", guard=busauth_kit.guard(), service="orders")
    worker = Worker(bus)
    stocked(bus)

    @bus.consumer("orders")
    async def handle(order: Order) -> None:
        worker.start()
        worker.jobs.put_nowait(order)
        await worker.jobs.join()

    async def once(error: type[Exception] | None = None) -> None:
        worker.task = None
        async with busauth_kit.using(bus), bus:
            await busauth_kit.publish("orders", Order(id=1))
            await bus.idle()
            if error is not None:
                raise error

    with pytest.raises(AssertionError, match=SENTENCE):
        await once()
    await worker.stop()
    with pytest.raises(KeyError):
        await once(KeyError)
    await worker.stop()
    with pytest.raises(AssertionError, match=SENTENCE):
        busauth_kit.check_tasks()


async def test_a_handler_of_the_kits_can_be_called_bare(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """Watched or not, `.handler` is called with what the test hands over."""
    seen: list[int] = []

    @busauth_bus.consumer("orders")
    async def handle(order: Order) -> None:
        seen.append(order.id)

    await handle.handler(Order(id=7))
    assert seen == [7]
    assert handle.__name__ == "handle"


async def test_a_handler_in_a_thread_is_no_task_that_goes_on(
    busauth_kit: Kit, busauth_bus: Bus
) -> None:
    """Its caller is in scope there, and it is waited for."""
    callers: list[str] = []

    @busauth_bus.consumer("orders")
    def handle(order: Order) -> None:
        del order
        callers.append(current_lease().token())

    async with busauth_bus:
        token = busauth_kit.issuer.token("alice")
        sent = await busauth_kit.publish("orders", Order(id=1), token=token)
        await busauth_bus.idle()
        busauth_kit.assert_handled(sent)
    assert callers == [token]


def test_a_watched_lease_is_asked_like_any_other() -> None:
    """Whatever a lease can be asked is passed on to the handler's own: it knows whose it is."""
    asked = {
        name
        for name, each in vars(Lease).items()
        if isinstance(each, FunctionType | property) and not name.startswith("_")
    }
    assert asked <= vars(_WatchedLease).keys()
