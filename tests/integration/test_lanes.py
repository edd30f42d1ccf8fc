"""Channels for publications: what shares one, for how long, and what keeps its order."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractConnection

from busauth import ANONYMOUS, Bus, NotAllPublished, Publication, PublishError
from busauth._amqp.publishing.lanes import MOST, Lanes
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.proxy import Proxy, proxied
from tests.support import Broker, Trail, guard_for

NAMES = [f"x{number}" for number in range(3 * MOST)]
MUCH = b"x" * 12_000_000
"""More than lies between two sockets."""


class Edge:
    """A service that only publishes, through a proxy to an embedded broker with many exchanges."""

    def __init__(self, bus: Bus, proxy: Proxy, channel: AbstractChannel) -> None:
        self.bus, self.proxy, self.channel = bus, proxy, channel

    async def publish(self, exchange: str, body: bytes = b"", seconds: float = 10) -> None:
        await self.bus.publish("q", body, exchange=exchange, token=ANONYMOUS, timeout=seconds)

    async def burst(self, names: list[str]) -> None:
        await asyncio.gather(*map(self.publish, names))

    @property
    def connection(self) -> AbstractConnection:
        (connection,) = self.bus.guard.core._own._lanes
        return connection

    @property
    def lanes(self) -> Lanes:
        return self.bus.guard.core._own._lanes[self.connection]


@pytest.fixture
async def edge(issuer: Issuer, trail: Trail) -> AsyncIterator[Edge]:
    async with (
        EmbeddedBroker() as broker,
        proxied(broker.url) as (proxy, through),
        await aio_pika.connect(broker.url) as connection,
        Bus(through, guard=guard_for(issuer, trail), service="edge") as bus,
    ):
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        for name in NAMES:
            await queue.bind(await channel.declare_exchange(name, "fanout"))
        yield Edge(bus, proxy, channel)


async def test_a_burst_is_spread_and_leaves_nothing_shared(edge: Edge) -> None:
    """Exchanges beyond the lanes share the least busy ones, and only while they are busy."""
    burst = asyncio.create_task(edge.burst(NAMES))
    await asyncio.sleep(0.01)
    assert max(len(lane.uses) for lane in edge.lanes._lanes) <= len(NAMES) // MOST
    await burst
    assert {len(lane.uses) for lane in edge.lanes._lanes} == {1}
    assert len(edge.lanes._uses) == len(edge.lanes._lanes) == MOST
    results = await asyncio.gather(
        edge.publish(NAMES[-1]), edge.publish("none"), edge.publish(NAMES[-2]),
        return_exceptions=True,
    )  # fmt: skip
    assert [results[0], results[2]] == [None, None]
    assert isinstance(results[1], PublishError)


async def test_publications_that_are_given_up_leave_no_frames(edge: Edge) -> None:
    """However many give up, the queue of frames keeps its room; and an end is told at once."""
    await edge.publish("x0")
    edge.proxy.hold()
    half = asyncio.create_task(edge.publish("x0", MUCH))
    await asyncio.sleep(0.1)
    for _ in range(12):
        with pytest.raises(PublishError, match="took nothing"):
            await edge.publish("x0", seconds=0.01)
    queue = edge.connection.write_queue
    assert queue.qsize() <= 2
    waits = asyncio.create_task(edge.publish("x0"))
    await asyncio.sleep(0.01)
    edge.proxy.release()
    edge.proxy.cut()
    with pytest.raises(PublishError, match="closed: it was not sent"):
        async with asyncio.timeout(2):
            await waits
    with pytest.raises(PublishError, match="unknown"):
        await half


async def test_a_batch_that_cannot_begin_says_so_of_each(edge: Edge) -> None:
    """A broker out of reach is told as of all its publications, by their places."""
    edge.proxy.refuses = True
    edge.proxy.cut()
    async with asyncio.timeout(10):
        while edge.bus.ready:
            await asyncio.sleep(0.01)
    batch = [Publication("q", b"", token=ANONYMOUS, timeout=0.05)] * 2
    with pytest.raises(NotAllPublished) as told:
        await edge.bus.publish_many(batch)
    assert list(told.value.errors) == [0, 1]


async def test_who_waits_for_a_message_id_keeps_its_place(
    broker: Broker, url: str, issuer: Issuer, trail: Trail
) -> None:
    """What goes to one exchange arrives in order, also where ids are the same."""
    queue = await broker.declare("q")
    batch = [
        Publication(queue, aio_pika.Message(b"%d" % n, message_id="same" if n < 2 else f"{n}"),
                    token=ANONYMOUS)
        for n in range(6)
    ]  # fmt: skip
    async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
        await bus.publish_many(batch)
    assert [each.body for each in await broker.take(queue)] == [b"%d" % n for n in range(6)]


async def test_who_waits_for_a_message_id_holds_up_no_other_exchange(edge: Edge) -> None:
    """Not even one that shares its lane."""
    await edge.burst(NAMES[:MOST])
    message = aio_pika.Message(b"", message_id="same")
    edge.proxy.delay = 0.2
    tasks = [
        asyncio.create_task(edge.bus.publish("q", message, exchange=name, token=ANONYMOUS))
        for name in NAMES[:MOST]
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    shares = asyncio.create_task(edge.publish(NAMES[MOST]))
    await asyncio.wait({shares, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    await shares
    assert not all(task.done() for task in tasks)
    await asyncio.gather(*tasks)
