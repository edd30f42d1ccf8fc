"""Publications that are given up while the broker does not read, or does not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aio_pika import Message

from busauth import Bus, GuardOptions, Publication, PublishError
from busauth.testing import Issuer
from tests.proxy import Proxy, proxied
from tests.support import Broker, Trail, guard_for

BRIEF = GuardOptions(publish_timeout=0.5)
UNKNOWN, UNSENT = "is unknown", "it was not sent"
LARGE = b"x" * 4_000_000
"""More than a few of these no socket takes."""


@asynccontextmanager
async def edge(url: str, issuer: Issuer, trail: Trail) -> AsyncIterator[tuple[Proxy, Bus]]:
    """A service that publishes through a proxy."""
    async with proxied(url) as (proxy, through):
        bus = Bus(through, guard=guard_for(issuer, trail, options=BRIEF), service="edge")
        async with bus:
            yield proxy, bus
            proxy.release()


async def given_up(bus: Bus, queue: str, body: bytes | Message, token: str) -> str:
    with pytest.raises(PublishError) as caught:
        await bus.publish(queue, body, token=token)
    return str(caught.value)


async def test_a_broker_that_does_not_read(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What is in the socket is unknown; what waits for the socket is withdrawn, one or a batch."""
    queue, token = await broker.declare("orders"), issuer.token()
    async with edge(url, issuer, trail) as (proxy, bus):
        await bus.publish(queue, b"first", token=token)
        proxy.hold()
        fates = [
            await given_up(bus, queue, b"%02d" % number + LARGE, token) for number in range(10)
        ]
        batch = [Publication(queue, b"batch", token=token) for _ in range(20)]
        with pytest.raises(PublishError, match=UNSENT):
            await bus.publish_many(batch)
        cancelled = asyncio.create_task(bus.publish(queue, b"cancelled", token=token))
        await asyncio.sleep(0)
        cancelled.cancel()
        unknown = {number for number, fate in enumerate(fates) if UNKNOWN in fate}
        assert all(UNSENT in fate for number, fate in enumerate(fates) if number not in unknown)
        assert unknown == set(range(len(unknown)))
        assert len(unknown) < len(fates)
        proxy.release()
        await _published_at_last(bus, queue, token)
    bodies = [message.body[:5] for message in await broker.take(queue)]
    expected = [b"%02dxxx" % number for number in sorted(unknown)]
    assert bodies == [b"first", *expected, b"last"]


async def _published_at_last(bus: Bus, queue: str, token: str) -> None:
    for _ in range(20):
        try:
            await bus.publish(queue, b"last", token=token)
        except PublishError as error:
            assert UNSENT in str(error)  # noqa: PT017 -- it may be early yet
        else:
            return
    pytest.fail("nothing can be published any more")


async def test_one_id_is_in_flight_once(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Nothing is written with the id of what was given up, until the broker has answered for it."""
    queue, token = await broker.declare("orders"), issuer.token()
    async with edge(url, issuer, trail) as (proxy, bus):
        await bus.publish(queue, b"first", token=token)
        proxy.hold()
        assert UNKNOWN in await given_up(bus, queue, Message(b"one", message_id="m-1"), token)
        assert UNSENT in await given_up(bus, queue, Message(b"two", message_id="m-1"), token)
        assert UNKNOWN in await given_up(bus, queue, Message(b"three", message_id="m-2"), token)
        proxy.release()
        await bus.publish(queue, Message(b"four", message_id="m-1"), token=token)
    bodies = [message.body for message in await broker.take(queue)]
    assert bodies == [b"first", b"one", b"three", b"four"]


async def test_a_connection_that_is_cut(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What was written on it is unknown."""
    queue, token = await broker.declare("orders"), issuer.token()
    async with edge(url, issuer, trail) as (proxy, bus):
        await bus.publish(queue, b"first", token=token)
        proxy.hold()
        publishing = asyncio.create_task(given_up(bus, queue, b"second", token))
        await asyncio.sleep(0.1)
        proxy.cut()
        assert UNKNOWN in await publishing


async def test_an_exchange_that_does_not_exist(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """The broker's own word for what is wrong is told; the lane goes on with another channel."""
    queue, token = await broker.declare("orders"), issuer.token()
    async with edge(url, issuer, trail) as (_, bus):
        with pytest.raises(PublishError, match="NOT_FOUND"):
            await bus.publish("key", b"lost", exchange=f"{queue}.none", token=token)
        await bus.publish(queue, b"", token=token)
    assert [message.body for message in await broker.take(queue)] == [b""]


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 262_128, 1_000_000])
async def test_bodies_of_any_size(
    size: int, broker: Broker, url: str, issuer: Issuer, trail: Trail
) -> None:
    """A body arrives as it is, in one frame or in several."""
    queue, body = await broker.declare("orders"), bytes(range(256)) * (size // 256 + 1)
    async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
        await bus.publish(queue, body[:size], token=issuer.token())
    assert (await broker.one(queue)).body == body[:size]
