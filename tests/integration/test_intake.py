"""What ends a queue's deliveries (broker, network, pause, handler), and that they go on."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import cast

import aiormq
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.channel import Channel

from busauth import Bus, BusOptions, Caller, ConsumerOptions, Deferred, GuardOptions, RetryOptions
from busauth.testing import Issuer, ManualClock
from tests.proxy import proxied
from tests.support import Broker, Order, Trail, connected, guard_for, publish_raw

DELIVERY_MODE_FLAG = 0x1000
LONG = GuardOptions(pause_first=60, pause_longest=60)


class Outage:
    """Revocations that cannot be told, for as long as somebody says so."""

    def __init__(self) -> None:
        self.is_there: Callable[[], bool] = lambda: True

    def revoked(self, caller: Caller, now: float) -> bool:
        if self.is_there():
            raise Deferred("the revocations are down")
        return False


async def consumers_of(broker: Broker, queue: str) -> int:
    channel = await broker.channel.get_underlay_channel()
    return (await channel.queue_declare(queue, passive=True)).consumer_count or 0


async def until_consumers(broker: Broker, queue: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await consumers_of(broker, queue) != count:
            await asyncio.sleep(0.05)


async def test_the_first_delivery_is_like_the_others(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What aio-pika has no message for is judged by busauth, and not left unsettled for ever."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")

    @bus.consumer(queue)
    async def place(order: Order, caller: Caller) -> None:
        pass

    await bus.declare()
    try:
        await publish_raw(url, queue, DELIVERY_MODE_FLAG, b"\x07")
    except aiormq.exceptions.ChannelPreconditionFailed:
        return  # RabbitMQ before 4.0 refuses it by itself
    taken = bus._intakes[queue].consumer
    async with bus:
        async with asyncio.timeout(10):
            while not taken.taken:
                await asyncio.sleep(0.01)


async def test_a_queue_that_is_deleted_is_declared_and_consumed_again(
    broker: Broker, issuer: Issuer, trail: Trail, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker ends the consumer; the bus says so, and takes what is published from then on."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")

    @bus.consumer(queue)
    async def place(order: Order, caller: Caller) -> None:
        pass

    async with bus:
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled")
        await broker.channel.queue_delete(queue)
        async with asyncio.timeout(10):
            while queue not in caplog.text:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while not await _exists(url, queue):
                await asyncio.sleep(0.05)
        await until_consumers(broker, queue, 1)
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled", count=2)
    assert f"{queue}: the broker has ended its consumer" in caplog.text


async def _exists(url: str, queue: str) -> bool:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(queue, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    finally:
        await connection.close()
    return True


async def test_a_queue_that_an_operator_deleted_is_waited_for(
    broker: Broker, issuer: Issuer, trail: Trail, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the bus declares nothing, it says so and tries; its other queues are not held up."""
    gone, other = await broker.declare("gone"), await broker.declare("other")
    options = BusOptions(declare=False, retry=RetryOptions(limit=0))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    async def place(order: Order, caller: Caller) -> None:
        pass

    for queue in (gone, other):
        bus.consumer(queue)(place)
    async with bus:
        await broker.channel.queue_delete(gone)
        async with asyncio.timeout(10):
            while f"{gone} is not consumed, tried again" not in caplog.text:
                await asyncio.sleep(0.01)
        await broker.publish(other, token=issuer.token())
        await trail.until("handled")
        await broker.declare("gone")
        await until_consumers(broker, gone, 1)
        await broker.publish(gone, token=issuer.token())
        await trail.until("handled", count=2)


async def test_a_channel_that_the_broker_closed_is_opened_again(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A mistake that closes the consumer's channel costs no other queue anything."""
    broken, other = broker.name("broken"), broker.name("other")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")
    begun, release = asyncio.Event(), asyncio.Event()
    runs: Counter[str] = Counter()

    @bus.consumer(broken)
    async def once(message: AbstractIncomingMessage, order: Order) -> None:
        runs[broken] += 1
        if runs[broken] == 1:
            channel = cast("Channel", message.channel)
            await channel.basic_ack(4711)  # nobody's
            await asyncio.sleep(30)

    @bus.consumer(other)
    async def slow(order: Order, caller: Caller) -> None:
        runs[other] += 1
        begun.set()
        await release.wait()

    async with bus:
        await broker.publish(other, token=issuer.token())
        await begun.wait()
        await broker.publish(broken, token=issuer.token())
        await trail.until("handled")
        release.set()
        await trail.until("handled", count=2)
    assert runs == {broken: 2, other: 1}


async def test_a_hung_handler_does_not_hold_up_its_queue_after_a_cut(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Restored, a consumer takes what there is, although the first that comes again hangs."""
    queue = broker.name("orders")
    async with proxied(url) as (proxy, through):
        bus = Bus(
            through, guard=guard_for(issuer, trail), service="orders", options=BusOptions(drain=0.1)
        )
        begun = asyncio.Event()

        @bus.consumer(queue)
        async def place(order: Order, caller: Caller) -> None:
            if order.id == 0:
                begun.set()
                await asyncio.Event().wait()

        async with bus:
            token = issuer.token()
            await broker.publish(queue, b'{"id": 0}', token=token)
            await begun.wait()
            begun.clear()
            proxy.cut()
            await begun.wait()
            for number in range(1, 11):
                await broker.publish(queue, b'{"id": %d}' % number, token=token)
            await trail.until("handled", count=10)


@pytest.mark.long
async def test_a_paused_consumer_stays_paused_through_a_cut(
    broker: Broker, issuer_in_time: Issuer, trail: Trail, clock: ManualClock, url: str
) -> None:
    """While a consumer cannot decide, a restored connection brings it no deliveries."""
    queue = broker.name("orders")
    outage = Outage()
    guard = guard_for(issuer_in_time, trail, options=LONG, clock=clock, revocations=outage)
    async with proxied(url) as (proxy, through):
        bus = Bus(through, guard=guard, service="orders")

        @bus.consumer(queue)
        async def place(order: Order, caller: Caller) -> None:
            pass

        async with bus:
            await broker.publish(queue, token=issuer_in_time.token())
            await trail.until("deferred")
            proxy.cut()
            await until_consumers(broker, queue, 0)
            await broker.settles_at(queue, 1)
            await asyncio.sleep(2)  # longer than a connection takes to be restored
            assert bus._intakes[queue].consumer.taken == 1
            outage.is_there = lambda: False
            await clock.advance(120)
            await trail.until("handled")
            await until_consumers(broker, queue, 1)


async def test_a_pause_begun_while_another_ends_is_not_forgotten(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """However short the pauses, a consumer that is deferred again and again goes on consuming."""
    queue = broker.name("orders")
    outage, turns = Outage(), count()
    outage.is_there = lambda: next(turns) % 3 > 0
    options = GuardOptions(pause_first=0.0001, pause_longest=0.0002)
    ladder = BusOptions(retry=RetryOptions(limit=3, first=0.05))
    guard = guard_for(issuer, trail, options=options, revocations=outage)
    bus = Bus(url, guard=guard, service="orders", options=ladder)

    @bus.consumer(queue)
    async def place(order: Order, caller: Caller) -> None:
        pass

    async with bus:
        token = issuer.token()
        for number in range(20):
            await broker.publish(queue, b'{"id": %d}' % number, token=token)
        await trail.until("handled", count=20)
        await until_consumers(broker, queue, 1)


@pytest.mark.long
async def test_eight_consumers_stop_at_once_on_a_mute_network(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What does not answer is waited for once, and not once for each consumer."""
    queues = [broker.name(f"q{number}") for number in range(8)]
    async with proxied(url) as (proxy, through):
        options = BusOptions(drain=1)
        bus = Bus(through, guard=guard_for(issuer, trail), service="orders", options=options)

        async def place(order: Order, caller: Caller) -> None:
            pass

        for queue in queues:
            bus.consumer(queue)(place)
        async with bus:
            proxy.delay = 3600
            await asyncio.sleep(0.1)
            started = time.monotonic()
        assert time.monotonic() - started < 12


async def test_a_handler_that_misses_its_deadline_is_cancelled_and_tried_again(
    broker: Broker, issuer: Issuer, trail: Trail, clock: ManualClock, url: str
) -> None:
    """Deadlines are the guard's time; a message that misses them all is a dead letter."""
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=1, first=0.05))
    own = Issuer(issuer.url, clock=clock)
    bus = Bus(url, guard=guard_for(own, trail, clock=clock), service="orders", options=options)
    begun, ended = asyncio.Semaphore(0), Counter[str]()

    @bus.consumer(queue, deadline=60)
    async def hang(order: Order, caller: Caller) -> None:
        begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended["cancelled"] += 1
            raise

    async with bus:
        await broker.publish(queue, token=own.token())
        for _ in range(2):
            await begun.acquire()
            await clock.advance(59)
            assert begun.locked()
            await clock.advance(1)
        (refused,) = await trail.until("refused")
    assert refused.code == "handler.deadline"
    assert refused.detail is not None
    assert refused.detail.startswith("handler.deadline: got still running after 60 s")
    assert trail.kinds(queue) == ["accepted", "retried", "accepted", "refused"]
    assert ended == {"cancelled": 2}


async def test_the_operators_deadline_counts_above_the_decorators(
    broker: Broker, issuer: Issuer, trail: Trail, clock: ManualClock, url: str
) -> None:
    """A handler that ends in time is not disturbed; the operator says how long that is."""
    queue = broker.name("orders")
    own = Issuer(issuer.url, clock=clock)
    options = GuardOptions(deadline=1, consumers={queue: ConsumerOptions(deadline=100)})
    bus = Bus(url, guard=guard_for(own, trail, clock=clock, options=options), service="orders")
    begun, release = asyncio.Event(), asyncio.Event()

    @bus.consumer(queue, deadline=2)
    async def slow(order: Order, caller: Caller) -> None:
        begun.set()
        await release.wait()

    async with bus:
        await broker.publish(queue, token=own.token())
        await begun.wait()
        await clock.advance(99)
        release.set()
        await trail.until("handled")


async def test_a_handler_settles_its_message_as_it_has_come_back(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Taken back by the broker and delivered again, a message whose handler runs runs once."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")
    begun, release = asyncio.Event(), asyncio.Event()
    runs: Counter[int] = Counter()

    @bus.consumer(queue)
    async def slow(message: AbstractIncomingMessage, order: Order) -> None:
        runs[order.id] += 1
        if order.id == 0:
            begun.set()
            await release.wait()

    async with bus:
        await broker.publish(queue, b'{"id": 0}', token=issuer.token())
        await begun.wait()
        intake = bus._intakes[queue]
        line = intake._line
        assert line is not None
        for number in range(1, 4):
            intake.consumer.taken_back(line._tag)
            await line.channel.basic_recover(requeue=True)
            async with asyncio.timeout(10):
                while intake.consumer.taken <= number:
                    await asyncio.sleep(0.01)
        await broker.publish(queue, b'{"id": 1}', token=issuer.token())
        await trail.until("handled")
        release.set()
        await trail.until("handled", count=2)
        assert not line.channel.is_closed
    assert runs == {0: 1, 1: 1}
    await broker.settles_at(queue, 0)


async def test_another_message_that_looks_alike_is_handled_as_well(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """While a message is in hand, one like it is its own, redelivered or not."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")
    runs: list[int] = []
    begun, release = asyncio.Semaphore(0), asyncio.Event()

    @bus.consumer(queue)
    async def slow(order: Order, caller: Caller) -> None:
        runs.append(order.id)
        begun.release()
        await release.wait()

    await bus.declare()
    token = issuer.token()
    for _ in range(2):
        await broker.publish(queue, token=token, message_id="the same")
    source = await broker.channel.get_queue(queue)
    for message in [await source.get() for _ in range(2)]:
        await message.reject(requeue=True)  # both have been delivered before
    async with bus:
        for _ in range(2):
            await begun.acquire()
        release.set()
        await trail.until("handled", count=2)
    assert runs == [1, 1]
    await broker.settles_at(queue, 0)


@pytest.mark.rabbitmq
@pytest.mark.long
async def test_a_handler_past_the_consumer_timeout_runs_once(
    rabbitmq_url: str, issuer: Issuer, trail: Trail
) -> None:
    """Its message comes back again and again; the connection and the others are left alone."""
    async with connected(rabbitmq_url) as broker:
        transport = broker.connection.transport
        assert transport is not None
        version = str(transport.connection.server_properties["version"])
        if tuple(map(int, version.split(".")[:2])) < (4, 3):
            pytest.skip("not run: RabbitMQ ends a late consumer, not its channel, from 4.3 on")
        queue = await broker.declare("orders", **{"x-consumer-timeout": 1000})
        options = BusOptions(declare=False, retry=RetryOptions(limit=0))
        bus = Bus(rabbitmq_url, guard=guard_for(issuer, trail), service="orders", options=options)
        begun, release = asyncio.Event(), asyncio.Event()
        runs: Counter[int] = Counter()

        @bus.consumer(queue)
        async def slow(order: Order, caller: Caller) -> None:
            runs[order.id] += 1
            if order.id == 0:
                begun.set()
                await release.wait()

        async with bus:
            consuming = bus._connections._connections["consume"]
            assert consuming is not None
            before = consuming.transport
            await broker.publish(queue, b'{"id": 0}', token=issuer.token())
            await begun.wait()
            async with asyncio.timeout(60):
                while bus._intakes[queue].consumer.taken < 4:
                    await asyncio.sleep(0.05)
            await broker.publish(queue, b'{"id": 1}', token=issuer.token())
            await trail.until("handled")
            release.set()
            await trail.until("handled", count=2)
            assert consuming.transport is before
        assert runs == {0: 1, 1: 1}
        await broker.settles_at(queue, 0)
