"""Consumers and the revocation feed: who is revoked is not handled, and others are not held up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import uuid4

import aiormq
import pytest
from aiormq.channel import Channel
from pamqp.commands import Basic

from busauth import Bus, BusOptions, Caller, GuardOptions, StaticKeys
from busauth.revocation import (
    EventSigner,
    FeedOptions,
    FeedPublisher,
    OnStale,
    RevocationFeed,
    StreamOptions,
    Target,
    Transmitter,
    Transmitters,
    keep_beating,
)
from busauth.testing import Issuer
from tests.support import Broker, Trail, guard_for
from tests.unit.revoking import FEED, OPS, signer
from tests.unit.support import Signer

QUICK = GuardOptions(pause_first=0.05, pause_longest=0.2)
FOR_ALICE = [2000, pytest.param(10_000, marks=pytest.mark.thorough)]
FOR_OTHERS = 500


@pytest.fixture
async def publisher(url: str) -> AsyncIterator[FeedPublisher]:
    """A publisher of a stream that is deleted after the test."""
    name = f"t{uuid4().hex[:10]}.revocations"
    async with FeedPublisher(url, options=StreamOptions(name=name)) as publisher:
        yield publisher
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_delete(name)
    await connection.close()


def feed_of(
    url: str,
    publisher: FeedPublisher,
    issuer: Issuer,
    *,
    stale_after: float = 30,
    on_stale: OnStale = OnStale.PAUSE,
) -> RevocationFeed:
    keys = StaticKeys([Signer("ES256", "ops").jwk()])
    trusted = Transmitter(OPS, keys, issuers=issuer.url, heartbeats=True)
    options = FeedOptions(
        stream=publisher.stream, stale_after=stale_after, on_stale=on_stale, reconnect=0.1
    )
    return RevocationFeed(url, Transmitters([trusted], audience=FEED), options=options)


@asynccontextmanager
async def beating(publisher: FeedPublisher, by: EventSigner) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_beating(publisher, by, every=0.1))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def revocation(issuer: Issuer, subject: str = "alice") -> str:
    return signer().revocation(Target(issuer=issuer.url, subject=subject), now=time.time())


async def fill(url: str, queue: str, bearers: list[str]) -> None:
    """Publish many messages, and return once all are in the queue."""
    connection = await aiormq.connect(url)
    channel = cast("Channel", await connection.channel(publisher_confirms=False))
    for bearer in bearers:
        properties = Basic.Properties(headers={"authorization": f"Bearer {bearer}"})
        await channel.basic_publish(b"{}", routing_key=queue, properties=properties, wait=False)
    while ((await channel.queue_declare(queue, passive=True)).message_count or 0) < len(bearers):
        await asyncio.sleep(0.05)
    await connection.close()


async def test_a_revoked_caller_is_refused(
    broker: Broker, publisher: FeedPublisher, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A message that waits while its caller is revoked becomes a dead letter, with the reason."""
    queue = broker.name("orders")
    feed = feed_of(url, publisher, issuer)
    bus = Bus(url, guard=guard_for(issuer, trail, revocations=feed, options=QUICK), service="s")
    seen: list[str] = []

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        seen.append(caller.subject)

    await bus.declare()
    for subject in ("alice", "bob"):
        await broker.publish(queue, token=issuer.token(subject))
    await publisher.publish(revocation(issuer))
    async with beating(publisher, signer()), feed, bus:
        await trail.until("handled")
        (refused,) = await trail.until("refused")
        assert (refused.code, refused.subject, seen) == ("token.revoked", "alice", ["bob"])
        await broker.publish(queue, token=issuer.token("alice", iat=time.time() + 1.5))
        await trail.until("refused", count=2)


async def test_nothing_is_handled_before_the_feed_has_caught_up(
    broker: Broker, publisher: FeedPublisher, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A consumer pauses until a heartbeat was read, gives back what it holds, and then goes on."""
    queue = broker.name("orders")
    feed = feed_of(url, publisher, issuer)
    bus = Bus(url, guard=guard_for(issuer, trail, revocations=feed, options=QUICK), service="s")

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        pass

    await publisher.publish(signer().heartbeat(time.time() - 10))
    async with feed, bus:
        await broker.publish(queue, token=issuer.token("bob"))
        (event,) = (await trail.until("deferred"))[:1]
        assert "the revocation feed" in (event.detail or "")
        await broker.settles_at(queue, 1)
        assert "handled" not in trail.kinds()
        async with beating(publisher, signer()):
            await trail.until("handled")


@pytest.mark.parametrize("policy", list(OnStale))
async def test_heartbeats_that_end(
    broker: Broker,
    publisher: FeedPublisher,
    issuer: Issuer,
    trail: Trail,
    url: str,
    policy: OnStale,
) -> None:
    """Consumers of a stale feed pause until it is back, or go on, as the operator has said."""
    queue = broker.name("orders")
    feed = feed_of(url, publisher, issuer, stale_after=0.5, on_stale=policy)
    bus = Bus(url, guard=guard_for(issuer, trail, revocations=feed, options=QUICK), service="s")

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        pass

    async with feed, bus:
        async with beating(publisher, signer()):
            await broker.publish(queue, token=issuer.token("bob"))
            await trail.until("handled")
        async with asyncio.timeout(10):
            while feed.doubt() is None:
                await asyncio.sleep(0.01)
        await broker.publish(queue, token=issuer.token("bob"))
        if policy is OnStale.PAUSE:
            await trail.until("deferred")
            await broker.settles_at(queue, 1)
            assert trail.kinds().count("handled") == 1
            async with beating(publisher, signer()):
                await trail.until("handled", count=2)
        else:
            await trail.until("handled", count=2)


@pytest.mark.long
@pytest.mark.reference
@pytest.mark.parametrize("for_alice", FOR_ALICE)
async def test_thousands_of_messages_of_a_caller_who_is_revoked(
    broker: Broker, publisher: FeedPublisher, issuer: Issuer, trail: Trail, url: str, for_alice: int
) -> None:
    """None is handled later than a second after the event was confirmed; others' all are."""
    queue = broker.name("orders")
    feed = feed_of(url, publisher, issuer)
    bus = Bus(
        url,
        guard=guard_for(issuer, trail, revocations=feed, options=QUICK),
        service="orders",
        options=BusOptions(prefetch=200),
    )
    handled: list[tuple[str, float]] = []
    begun = asyncio.Event()

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        handled.append((caller.subject, time.monotonic()))
        if len(handled) > 300:
            begun.set()

    await bus.declare()
    alice, others = (issuer.token(name, lifetime=3600) for name in ("alice", "bob"))
    share = for_alice // FOR_OTHERS
    await fill(url, queue, ([alice] * share + [others]) * FOR_OTHERS)
    async with beating(publisher, signer()), feed:
        await feed.ready()
        async with bus:
            await begun.wait()
            await publisher.publish(revocation(issuer))
            confirmed = time.monotonic()
            async with asyncio.timeout(110):
                await bus.idle()
    of_alice = [at for subject, at in handled if subject == "alice"]
    assert sum(subject == "bob" for subject, _ in handled) == FOR_OTHERS
    assert max(of_alice) - confirmed < 1
    refused = [event for event in trail.events if event.kind == "refused"]
    assert {(event.subject, event.code) for event in refused} == {("alice", "token.revoked")}
    assert len(of_alice) + len(refused) == for_alice
    assert len(refused) > for_alice / 2
    assert "deferred" not in trail.kinds()
