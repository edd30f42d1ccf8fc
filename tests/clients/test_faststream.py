"""FastStream: subscribers, publishers, routers and requests."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import pytest
from faststream import AckPolicy
from faststream.exceptions import NackMessage, RejectMessage
from faststream.rabbit import (
    Channel,
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
    RabbitRouter,
)
from pydantic import BaseModel

from tests.clients.serving import Server

SECONDS = 20


class Order(BaseModel):
    id: int


def broker_at(url: str, **options: Any) -> RabbitBroker:
    return RabbitBroker(url, log_level=logging.DEBUG, reconnect_interval=0.1, **options)


@asynccontextmanager
async def running(broker: RabbitBroker) -> AsyncIterator[None]:
    try:
        await broker.start()
        yield
    finally:
        await broker.stop()


async def next_of(inbox: "asyncio.Queue[Any]") -> Any:
    return await asyncio.wait_for(inbox.get(), SECONDS)


@pytest.mark.parametrize(
    ("attribute", "error"),
    [
        ("wrong_password", aiormq.exceptions.ProbableAuthenticationError),
        ("wrong_vhost", aiormq.exceptions.InvalidFrameError),
    ],
)
async def test_refused(server: Server, attribute: str, error: type[Exception]) -> None:
    """A wrong password and a wrong virtual host are refused at the start."""
    broker = broker_at(getattr(server, attribute))
    with pytest.raises(error):
        await broker.start()
    await broker.stop()


async def test_chain(server: Server) -> None:
    """A subscriber gets typed bodies, and what it returns is published on."""
    broker, inbox = broker_at(server.url), asyncio.Queue[Order]()
    first, second = server.name("first"), server.name("second")

    @broker.subscriber(first)
    @broker.publisher(second)
    async def relay(order: Order) -> Order:
        return Order(id=order.id + 1)

    @broker.subscriber(second)
    async def end(order: Order) -> None:
        inbox.put_nowait(order)

    async with running(broker):
        for number in range(20):
            await broker.publish(Order(id=number), first)
        found = {(await next_of(inbox)).id for _ in range(20)}
    assert found == set(range(1, 21))


async def test_router(server: Server) -> None:
    """A router's subscribers share an exchange and take what their keys fit."""
    broker, router = broker_at(server.url), RabbitRouter()
    exchange = RabbitExchange(server.name("x"), type=ExchangeType.TOPIC, durable=True)
    inbox = asyncio.Queue[tuple[str, int]]()

    @router.subscriber(RabbitQueue(server.name("eu"), routing_key="*.eu"), exchange)
    async def europe(order: Order) -> None:
        inbox.put_nowait(("eu", order.id))

    @router.subscriber(RabbitQueue(server.name("all"), routing_key="#"), exchange)
    async def everywhere(order: Order) -> None:
        inbox.put_nowait(("all", order.id))

    broker.include_router(router)
    async with running(broker):
        await broker.publish(Order(id=1), exchange=exchange, routing_key="orders.eu")
        await broker.publish(Order(id=2), exchange=exchange, routing_key="orders.us")
        found = {await next_of(inbox) for _ in range(3)}
    assert found == {("eu", 1), ("all", 1), ("all", 2)}


async def test_request(server: Server) -> None:
    """Requests at the same time get their own answers, without a queue for them."""
    broker, queue = broker_at(server.url), server.name()

    @broker.subscriber(queue)
    async def double(order: Order) -> int:
        return order.id * 2

    async with running(broker):
        requests = [broker.request(Order(id=number), queue, timeout=SECONDS) for number in range(9)]
        answers = await asyncio.gather(*requests)
        assert [await answer.decode() for answer in answers] == [n * 2 for n in range(9)]


async def test_unroutable(server: Server) -> None:
    """An unroutable publication is told to those who ask for it."""
    broker = broker_at(server.url, default_channel=Channel(on_return_raises=True))
    async with running(broker):
        with pytest.raises(aiormq.exceptions.PublishError, match="NO_ROUTE"):
            await broker.publish("x", server.name("nowhere"))


async def test_prefetch(server: Server) -> None:
    """As many handlers run as the channel's prefetch allows, and no more."""
    broker, queue = broker_at(server.url), server.name()
    started, done, gate = asyncio.Queue[int](), asyncio.Queue[int](), asyncio.Semaphore(0)

    @broker.subscriber(queue, channel=Channel(prefetch_count=2))
    async def handle(order: Order) -> None:
        started.put_nowait(order.id)
        await gate.acquire()
        done.put_nowait(order.id)

    async with running(broker):
        for number in range(4):
            await broker.publish(Order(id=number), queue)
        assert {await next_of(started), await next_of(started)} == {0, 1}
        assert started.empty()
        for _ in range(2):
            gate.release()
            await next_of(done)
            await next_of(started)
            assert started.empty()
        gate.release()
        gate.release()
        assert {await next_of(done), await next_of(done)} == {2, 3}


async def test_settling(server: Server) -> None:
    """A nacked message comes again, a rejected one is dead-lettered with x-death."""
    broker, letters = broker_at(server.url), asyncio.Queue[Any]()
    queue, dead = server.name(), server.name("dead")
    target: Any = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    attempts: list[bool] = []

    @broker.subscriber(RabbitQueue(queue, durable=True, arguments=target))
    async def handle(order: Order, message: RabbitMessage) -> None:
        attempts.append(bool(message.raw_message.redelivered))
        raise NackMessage if len(attempts) == 1 else RejectMessage

    @broker.subscriber(dead)
    async def bury(message: RabbitMessage) -> None:
        letters.put_nowait(message.headers["x-death"])

    async with running(broker):
        await broker.publish(Order(id=1), queue)
        (death,) = await next_of(letters)
    assert attempts == [False, True]
    assert (death["reason"], death["queue"], death["count"]) == ("rejected", queue, 1)


async def test_ttl(server: Server) -> None:
    """A message that expires in a queue without a subscriber is dead-lettered."""
    broker, letters = broker_at(server.url), asyncio.Queue[Any]()
    queue, dead = server.name(), server.name("dead")
    target: Any = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}

    @broker.subscriber(dead)
    async def bury(message: RabbitMessage) -> None:
        letters.put_nowait(message.headers["x-death"])

    async with running(broker):
        await broker.declare_queue(RabbitQueue(queue, durable=True, arguments=target))
        await broker.publish("x", queue, expiration=0.02)
        (death,) = await next_of(letters)
    assert death["reason"] == "expired"


async def test_large_body(server: Server) -> None:
    """A body of many frames arrives whole."""
    broker, inbox = broker_at(server.url), asyncio.Queue[bytes]()
    queue, large = server.name(), bytes(range(256)) * 8_000

    @broker.subscriber(queue)
    async def handle(body: bytes) -> None:
        inbox.put_nowait(body)

    async with running(broker):
        await broker.publish(large, queue)
        assert await next_of(inbox) == large


async def test_stop(server: Server) -> None:
    """A stopped subscriber takes nothing more; a new one takes what came meanwhile."""
    queue, inbox = server.name(), asyncio.Queue[str]()
    publisher = broker_at(server.url)
    async with running(publisher):
        for number in range(2):
            broker = broker_at(server.url)

            @broker.subscriber(queue)
            async def handle(body: str) -> None:
                inbox.put_nowait(body)

            async with running(broker):
                if not number:
                    await publisher.publish("1", queue)
                assert await next_of(inbox) == str(number + 1)
            await publisher.publish("2", queue)
            assert inbox.empty()


async def test_cut(server: Server) -> None:
    """A broker that was cut connects again by itself, and what was out comes again."""
    queue, inbox = server.name(), asyncio.Queue[tuple[str, bool]]()
    async with server.cuttable() as (url, cut):
        broker = broker_at(url)

        @broker.subscriber(queue, ack_policy=AckPolicy.MANUAL)
        async def handle(body: str, message: RabbitMessage) -> None:
            again = bool(message.raw_message.redelivered)
            inbox.put_nowait((body, again))
            if again:
                await message.ack()

        async with running(broker):
            await broker.publish("x", queue)
            assert await next_of(inbox) == ("x", False)
            cut()
            assert await next_of(inbox) == ("x", True)


async def test_quorum_and_stream(server: Server) -> None:
    """Queues of the other types are declared and consumed, a stream from its beginning."""
    broker, inbox = broker_at(server.url), asyncio.Queue[str]()
    quorum = RabbitQueue(server.name("quorum"), queue_type=QueueType.QUORUM, durable=True)
    stream = RabbitQueue(server.name("stream"), queue_type=QueueType.STREAM, durable=True)

    async with running(broker):
        await broker.declare_queue(stream)
        await broker.publish("1", stream)
        consuming = broker_at(server.url)

        @consuming.subscriber(quorum)
        @consuming.subscriber(
            stream, channel=Channel(prefetch_count=1), consume_args={"x-stream-offset": "first"}
        )
        async def handle(body: str) -> None:
            inbox.put_nowait(body)

        async with running(consuming):
            assert await next_of(inbox) == "1"
            await broker.publish("2", quorum)
            assert await next_of(inbox) == "2"
