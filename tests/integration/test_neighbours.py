"""One bad publication, and those beside it: on other exchanges, on the same one, and copies."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from busauth import (
    ANONYMOUS,
    Bus,
    BusOptions,
    Caller,
    GuardOptions,
    NotAllPublished,
    Publication,
    PublishError,
    RetryOptions,
)
from busauth._amqp.publishing import lanes
from busauth._amqp.publishing.lanes import Lane
from busauth.testing import Issuer
from tests.support import Broker, Order, Trail, consuming, guard_for

QUICK = GuardOptions(publish_timeout=10)
UNKNOWN = "is unknown"
NO_RETRIES = BusOptions(retry=RetryOptions(limit=0))


@pytest.fixture
async def queue(broker: Broker) -> str:
    return await broker.declare("orders")


@asynccontextmanager
async def edge(url: str, issuer: Issuer, trail: Trail) -> AsyncIterator[Bus]:
    async with Bus(url, guard=guard_for(issuer, trail, options=QUICK), service="edge") as bus:
        yield bus


@asynccontextmanager
async def exchanges(broker: Broker, *kinds: str) -> AsyncIterator[list[str]]:
    """Declare exchanges that take everything to nowhere but what is bound, and delete them."""
    names = [f"t{uuid4().hex[:10]}" for _ in kinds]
    for name, kind in zip(names, kinds, strict=True):
        await broker.channel.declare_exchange(name, kind, durable=True)
    try:
        yield names
    finally:
        async with await broker.connection.channel() as channel:
            for name in names:
                await channel.exchange_delete(name)


def bad(number: int = 0, **properties: Any) -> aio_pika.Message:
    return aio_pika.Message(b"bad %d" % number, **properties)


async def told(sends: Iterable[Any]) -> list[str]:
    """Send all at once, and return what each was told; nothing for those that were published."""
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert all(each is None or isinstance(each, PublishError) for each in results), results
    return [str(each or "") for each in results]


@pytest.mark.parametrize("missing", [1, 2])
async def test_exchanges_that_do_not_exist(
    missing: int, url: str, broker: Broker, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """All good publications beside them are published, once; the guilty hear the broker's words."""
    async with edge(url, issuer, trail) as bus:
        good = [bus.publish(queue, b"%d" % number, token=ANONYMOUS) for number in range(40)]
        wrong = [
            bus.publish(queue, b"bad", exchange=f"{queue}.none{number}", token=ANONYMOUS)
            for number in range(missing)
        ]
        fates = await told([*good[:20], *wrong, *good[20:]])
    assert [fate for fate in fates[:20] + fates[20 + missing :] if fate] == []
    for number, fate in enumerate(fates[20 : 20 + missing]):
        assert re.search(rf"NOT_FOUND.*none{number}'", fate)
        assert UNKNOWN not in fate
    bodies = Counter(message.body for message in await broker.take(queue))
    assert bodies == Counter(b"%d" % number for number in range(40))


async def test_an_exchange_that_one_may_not_write_to(
    url: str, broker: Broker, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """Access that is refused is told to whom it was refused, and to nobody else."""
    internal = f"t{uuid4().hex[:10]}"
    await broker.channel.declare_exchange(internal, "fanout", durable=True, internal=True)
    async with edge(url, issuer, trail) as bus:
        sends = [bus.publish(queue, b"good", token=ANONYMOUS) for _ in range(20)]
        sends.insert(10, bus.publish("", b"bad", exchange=internal, token=ANONYMOUS))
        fates = await told(sends)
    await broker.channel.exchange_delete(internal)
    assert [number for number, fate in enumerate(fates) if fate] == [10]
    assert "ACCESS_REFUSED" in fates[10]
    assert "it was not published; expected an exchange that is not internal" in fates[10]
    assert UNKNOWN not in fates[10]


async def test_several_to_an_exchange_that_does_not_exist(
    url: str, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """Each of them hears that it was not published, and what to do: none can be there."""
    async with edge(url, issuer, trail) as bus:
        missing = f"{queue}.none"
        sends = [bus.publish("k", b"", exchange=missing, token=ANONYMOUS) for _ in range(5)]
        fates = await told(sends)
    assert [fate for fate in fates if UNKNOWN in fate or "declare it first" not in fate] == []
    assert [fate for fate in fates if f"no exchange '{missing}'" not in fate] == []


async def test_in_a_batch(
    url: str, broker: Broker, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """A batch says which one failed, and its others arrive in their order."""
    batch = [Publication(queue, b"%d" % number, token=ANONYMOUS) for number in range(40)]
    batch.insert(7, Publication(queue, b"bad", exchange=f"{queue}.none", token=ANONYMOUS))
    async with edge(url, issuer, trail) as bus:
        with pytest.raises(NotAllPublished, match="NOT_FOUND") as caught:
            await bus.publish_many(batch)
    assert list(caught.value.errors) == [7]
    assert [message.body for message in await broker.take(queue)] == [
        b"%d" % number for number in range(40)
    ]


REFUSED = [
    pytest.param({"user_id": "somebody"}, "user_id.*somebody", id="user-id"),
    pytest.param({"expiration": -5}, "expiration.*-5", id="expiration"),
]


@pytest.mark.parametrize(("properties", "words"), REFUSED)
async def test_a_message_that_the_broker_refuses(
    properties: dict[str, Any],
    words: str,
    url: str,
    broker: Broker,
    queue: str,
    issuer: Issuer,
    trail: Trail,
) -> None:
    """On the same exchange, a neighbour is published or told that this is unknown, never lied to.

    Whom it is about hears the broker's words; what it was told for, no neighbour hears.
    """
    async with edge(url, issuer, trail) as bus:
        sends = [bus.publish(queue, b"%d" % number, token=ANONYMOUS) for number in range(40)]
        sends.insert(20, bus.publish(queue, bad(**properties), token=ANONYMOUS))
        fates = await told(sends)
        guilty = fates.pop(20)
        assert re.search(words, guilty)
        assert all(UNKNOWN in fate and not re.search(words, fate) for fate in fates if fate)
        await bus.publish(queue, b"after", token=ANONYMOUS)
    arrived = Counter(message.body for message in await broker.take(queue))
    assert max(arrived.values()) == 1
    published = {b"%d" % number for number, fate in enumerate(fates) if not fate}
    assert published | {b"after"} <= arrived.keys()
    assert b"bad 0" not in arrived


async def test_another_users_name_has_a_channel_of_its_own(
    url: str, broker: Broker, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """What names another user than the connection's is refused by most brokers, and alone then."""
    async with edge(url, issuer, trail) as bus:
        sends = [bus.publish(queue, b"%d" % number, token=ANONYMOUS) for number in range(10)]
        sends.insert(5, bus.publish(queue, bad(user_id="somebody"), token=ANONYMOUS))
        fates = await told(sends)
    assert [number for number, fate in enumerate(fates) if fate] == [5]
    assert UNKNOWN not in fates[5]


async def test_an_exchange_that_is_deleted_meanwhile(
    url: str, broker: Broker, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """What is told as published is there, and nothing else is certain but that it may be."""
    async with exchanges(broker, "fanout") as (exchange,), edge(url, issuer, trail) as bus:
        source = await broker.channel.get_queue(queue)
        await source.bind(exchange)
        sends = [
            bus.publish("", b"%d" % number, exchange=exchange, token=ANONYMOUS)
            for number in range(200)
        ]
        beside = [bus.publish(queue, b"beside", token=ANONYMOUS) for _ in range(20)]
        deleting = broker.channel.exchange_delete(exchange)
        fates, others, _ = await asyncio.gather(told(sends), told(beside), deleting)
    assert others == [""] * 20
    arrived = Counter(message.body for message in await broker.take(queue))
    for number, fate in enumerate(fates):
        if not fate:
            assert arrived[b"%d" % number] == 1
        elif UNKNOWN not in fate:
            assert arrived[b"%d" % number] == 0


async def test_copies_beside_bad_publications(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Whatever its handlers publish, a consumer's dead letters go out, and it never pauses."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=NO_RETRIES)

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None:
        for exchange in (f"{queue}.none", f"{queue}.none{order.id}"):
            with pytest.raises(PublishError, match="NOT_FOUND"):
                await bus.publish("key", b"bad", exchange=exchange)
        raise ValueError

    async with bus:
        token = issuer.token()
        await bus.publish_many(
            Publication(queue, Order(id=number), token=token) for number in range(40)
        )
        await trail.until("refused", count=40)
        await broker.settles_at(f"{queue}.dead", 40)
    assert {"deferred", "fault"}.isdisjoint(trail.kinds())


async def test_copies_of_a_plain_consumer_beside_bad_publications(
    broker: Broker, queue: str, issuer: Issuer, trail: Trail
) -> None:
    """On the connection of the delivery too, a bad publication closes its own channel alone."""
    guard = guard_for(issuer, trail, options=QUICK)
    channel = await broker.connection.channel()
    nowhere = await channel.get_exchange(f"{queue}.none", ensure=False)

    @guard(queue=queue)
    async def handle(order: Order, caller: Caller) -> None:
        with pytest.raises(PublishError, match="NOT_FOUND"):
            await guard.publish(nowhere, aio_pika.Message(b"bad"), "key")
        raise ValueError

    async with consuming(broker, queue, handle):
        token = issuer.token()
        for number in range(40):
            await broker.publish(queue, b'{"id": %d}' % number, token=token)
        await trail.until("refused", count=40)
        await broker.settles_at(f"{queue}.dead", 40)
    assert {"deferred", "fault"}.isdisjoint(trail.kinds())


async def test_more_exchanges_than_channels(
    url: str,
    broker: Broker,
    queue: str,
    issuer: Issuer,
    trail: Trail,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Channels are bounded: an exchange with nothing on its way lends its own, and all go out."""
    opened: list[Lane] = []
    before = Lane.__init__

    def counted(self: Lane, *given: Any) -> None:
        opened.append(self)
        before(self, *given)

    monkeypatch.setattr(Lane, "__init__", counted)
    async with (
        exchanges(broker, *["fanout"] * (lanes.MOST + 5)) as names,
        edge(url, issuer, trail) as bus,
    ):
        source = await broker.channel.get_queue(queue)
        for name in names:
            await source.bind(name)
        for _ in range(2):
            fates = await told(
                bus.publish("", b"", exchange=name, token=ANONYMOUS) for name in names
            )
            assert set(fates) == {""}
        for name in names:
            await bus.publish("", b"", exchange=name, token=ANONYMOUS)
    assert len(opened) == lanes.MOST
    assert len(await broker.take(queue)) == 3 * len(names)
