"""Tasks that begin in one caller's handler, and in whose name they publish (docs/tasks.md)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, Caller, CallerError, as_nobody
from busauth.testing import Issuer
from tests.support import Broker, Order, Trail, guard_for

Job = Callable[[], Awaitable[None]]


class Pool:
    """One worker, which does the jobs of everybody: in its own context, or in that of the asker."""

    def __init__(self, *, nobodys: bool, in_whose_context: Callable[[], Context | None]) -> None:
        self._context = in_whose_context
        self._jobs: asyncio.Queue[tuple[Job, Context | None, asyncio.Future[None]]]
        self._jobs = asyncio.Queue()
        self._nobodys = nobodys
        self._worker: asyncio.Task[None] | None = None

    async def do(self, job: Job) -> None:
        """Have a job done; the first one who asks starts the worker."""
        if self._worker is None:
            with as_nobody() if self._nobodys else nullcontext():
                self._worker = asyncio.create_task(self._work())
        done = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((job, self._context(), done))
        await done

    async def _work(self) -> None:
        while True:
            job, context, done = await self._jobs.get()
            try:
                await asyncio.create_task(_run(job), context=context)
            except CallerError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()


async def _run(job: Job) -> None:
    await job()


@dataclass
class Shop:
    """A service whose handlers publish through a pool.

    Attributes:
        ends: lets the handler of order 1 end.
        subjects: in whose name each order was published.
        errors: what was raised where one was not.
    """

    broker: Broker
    trail: Trail
    issuer: Issuer
    queue: str
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    subjects: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    async def order(self, number: int, subject: str) -> None:
        """Order something, and wait until it was published, or was not."""
        token = self.issuer.token(subject)
        body = Order(id=number).model_dump_json().encode()
        await self.broker.publish(self.queue, body, token=token)
        async with asyncio.timeout(20):
            while number not in self.subjects.keys() | self.errors.keys():
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Let the handler of order 1 end, and wait for it."""
        self.ends.set()
        async with asyncio.timeout(20):
            while self.trail.kinds(self.queue).count("handled") < 1:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(broker: Broker, issuer: Issuer, trail: Trail, pool: Pool) -> AsyncIterator[Shop]:
    shop = Shop(broker, trail, issuer, broker.name("orders"))
    onward = broker.name("onward")
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")

    @bus.consumer(shop.queue)
    async def handle(order: Order) -> None:
        try:
            await pool.do(lambda: bus.publish(onward, order))
        except CallerError as error:
            shop.errors[order.id] = str(error)
        if order.id == 1:
            await shop.ends.wait()

    @bus.consumer(onward)
    async def published(order: Order, caller: Caller) -> None:
        shop.subjects[order.id] = caller.subject

    async with bus:
        try:
            yield shop
        finally:
            shop.ends.set()
            pool.stop()


def workers() -> None:
    """A job is done in the worker's context."""


async def test_a_pool_that_nobody_started(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Started as nobody, and doing each job in its asker's context, a pool publishes for each."""
    pool = Pool(nobodys=True, in_whose_context=copy_context)
    async with opened(broker, issuer, trail, pool) as shop:
        await shop.order(1, "ann")
        await shop.order(2, "bob")  # while ann's handler runs
        await shop.end()
        await shop.order(3, "bob")
    assert (shop.subjects, shop.errors) == ({1: "ann", 2: "bob", 3: "bob"}, {})


async def test_a_nobodys_pool_publishes_for_nobody(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Started as nobody, and left in its own context, a pool is told that it acts for nobody."""
    pool = Pool(nobodys=True, in_whose_context=workers)
    async with opened(broker, issuer, trail, pool) as shop:
        await shop.order(1, "ann")
        await shop.order(2, "bob")
    assert not shop.subjects
    assert all("no caller is in scope" in error for error in shop.errors.values())
    assert shop.errors.keys() == {1, 2}


async def test_a_pool_that_a_handler_started(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """What cannot be told: such a pool publishes as its starter until that handler ends, then not.

    Not for the starter's own later messages either.
    """
    pool = Pool(nobodys=False, in_whose_context=workers)
    async with opened(broker, issuer, trail, pool) as shop:
        await shop.order(1, "ann")
        await shop.order(2, "bob")
        await shop.end()
        await shop.order(3, "bob")
        await shop.order(4, "ann")
    assert shop.subjects == {1: "ann", 2: "ann"}
    assert shop.errors.keys() == {3, 4}
    assert all("handler has ended" in error for error in shop.errors.values())


async def test_the_context_of_who_asks_is_enough(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Whoever started the worker, a job in its asker's context is published in their name."""
    pool = Pool(nobodys=False, in_whose_context=copy_context)
    async with opened(broker, issuer, trail, pool) as shop:
        await shop.order(1, "ann")
        await shop.order(2, "bob")
        await shop.end()
        await shop.order(3, "bob")
    assert (shop.subjects, shop.errors) == ({1: "ann", 2: "bob", 3: "bob"}, {})


async def test_children_of_a_handler_are_its_callers(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A group, a gathering, a timeout and a shield publish in the name of who is handled."""
    queue, onward = broker.name("orders"), broker.name("onward")
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")
    subjects: list[str] = []

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bus.publish(onward, order))
        await asyncio.gather(bus.publish(onward, order), bus.publish(onward, order))
        await asyncio.wait_for(bus.publish(onward, order), 10)
        await asyncio.shield(bus.publish(onward, order))

    @bus.consumer(onward)
    async def published(caller: Caller) -> None:
        subjects.append(caller.subject)

    async with bus:
        for subject in ("ann", "bob"):
            await broker.publish(queue, token=issuer.token(subject))
        await trail.until("handled", count=12)
    assert sorted(subjects) == ["ann"] * 5 + ["bob"] * 5


async def test_a_connection_that_is_made_as_nobody(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What a handler connects as nobody calls back as nobody, while that handler still runs."""
    queue, inner = broker.name("orders"), await broker.declare("inner")
    guard = guard_for(issuer, trail)
    bus = Bus(broker.url, guard=guard, service="orders")
    called: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def unguarded(message: AbstractIncomingMessage) -> None:
        try:
            await bus.publish(queue, b"")
        except CallerError as error:
            called.set_result(str(error))
        await message.ack()

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        with as_nobody():
            connection = await aio_pika.connect(broker.url)
            channel = await connection.channel()
            await (await channel.get_queue(inner)).consume(unguarded)
            async with Bus(broker.url, guard=guard, service="second"):
                pass  # which a caller in scope would forbid
        await bus.publish(inner, order)
        await called
        await connection.close()

    async with bus:
        await broker.publish(queue, token=issuer.token("ann"))
        await trail.until("handled")
    assert "no caller is in scope" in called.result()
