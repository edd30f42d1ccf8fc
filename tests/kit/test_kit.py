"""What a user of the kit can rely on, on the embedded broker and on RabbitMQ."""

import asyncio
from typing import Any, cast

import pytest

from busauth import (
    ANONYMOUS,
    Bus,
    Caller,
    ConfigurationError,
    DeadLetter,
    Event,
    EventKind,
    Guard,
    PublishError,
    StaticKeys,
    Verifier,
)
from busauth.integrations.threads import BusThread
from busauth.testing import Broker, Issuer, Kit, Sent, Step, Story
from tests.kit import shop
from tests.kit.shop import Order


@pytest.fixture(autouse=True)
def handled() -> list[tuple[int, str]]:
    shop.handled.clear()
    return shop.handled


async def test_a_service_of_the_users_own(busauth_kit: Kit, handled: list[tuple[int, str]]) -> None:
    """A bus that was declared for another broker and issuer runs on the kit as it is."""
    async with busauth_kit.using(shop.bus), shop.bus:
        sent = await busauth_kit.publish("orders.placed", Order(id=1), scope="orders:write")
        await shop.bus.idle()
    assert handled == [(1, "alice"), (1, "stock")]
    busauth_kit.assert_handled(sent)


async def test_expired_in_the_queue(busauth_kit: Kit, handled: list[tuple[int, str]]) -> None:
    """A token expires while nobody consumes, because the clock was moved."""
    async with busauth_kit.using(shop.bus):
        sent = await busauth_kit.publish("orders.placed", Order(id=1), scope="orders:write")
        await busauth_kit.clock.advance(minutes=20)
        async with shop.bus:
            await shop.bus.idle()
        (letter,) = await busauth_kit.dead_letters("orders.placed")
    assert handled == []
    assert (letter.code, letter.subject) == ("token.expired", "alice")
    busauth_kit.assert_refused(sent, "token.expired")


async def test_late_within_grace(busauth_kit: Kit, handled: list[tuple[int, str]]) -> None:
    """The bus keeps its own policies."""
    async with busauth_kit.using(shop.bus):
        sent = await busauth_kit.publish("orders.placed", Order(id=1), scope="orders:write")
        await busauth_kit.clock.advance(minutes=12)
        async with shop.bus:
            await shop.bus.idle()
    assert handled[0] == (1, "alice")
    assert any(event.late == 420 for event in busauth_kit.events)
    busauth_kit.assert_handled(sent)


@pytest.mark.busauth_embedded
async def test_retries_as_the_clock_moves(busauth_kit: Kit) -> None:
    """A failed message waits in the ladder until its time has come, then it is dead-lettered."""
    async with busauth_kit.using(shop.bus), shop.bus:
        sent = await busauth_kit.publish("orders.placed", Order(id=-1), scope="orders:write")
        await shop.bus.idle()
        busauth_kit.assert_outcome(sent, EventKind.RETRIED)
        await busauth_kit.clock.advance(minutes=4)
        await shop.bus.idle()
        busauth_kit.assert_refused(sent, "handler.failed")
        assert [event.kind for event in busauth_kit.events].count(EventKind.RETRIED) == 5


async def test_handlers_of_the_test(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """A bus of the kit takes the test's own handlers, and hears of their callers."""
    seen: list[str] = []

    @busauth_bus.consumer("greetings", roles={"guest"})
    async def greet(caller: Caller) -> None:
        seen.append(caller.subject)

    async with busauth_bus:
        bob = await busauth_kit.publish("greetings", b"", by="bob", roles=["guest"])
        eve = await busauth_kit.publish("greetings", b"", by="eve")
        nobody = await busauth_kit.publish("greetings", b"", by=None)
        await busauth_bus.idle()
    assert seen == ["bob"]
    busauth_kit.assert_handled(bob)
    assert busauth_kit.assert_refused(eve, "caller.role").subject == "eve"
    busauth_kit.assert_refused(nobody, "header.missing")


@pytest.mark.parametrize("kind", [kind for kind in EventKind if kind.is_outcome])
def test_every_end_of_an_attempt_is_an_outcome(kind: EventKind) -> None:
    """A story ends with it, whatever came before."""
    sent = Sent("m", "orders", "alice", 0.0)
    events = [Event(kind=each, queue="orders", at=0.0) for each in (EventKind.ACCEPTED, kind)]
    story = Story(sent, tuple(Step(each.at, each.queue, each.kind, event=each) for each in events))
    assert story.outcome is events[1]


def test_what_is_parked_or_put_back_is_not_untouched() -> None:
    """Whatever settles a message ends an attempt at it."""
    ends = {EventKind.PARKED, EventKind.DUPLICATE, EventKind.RETURNED, EventKind.HANDLED}
    assert all(kind.is_outcome for kind in ends)
    assert not EventKind.DEFERRED.is_outcome


async def test_a_failure_tells_the_story(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """An assertion that fails says what happened to the message, step by step."""

    @busauth_bus.consumer("orders", on_expired=DeadLetter())
    async def handle(order: Order) -> None:
        del order

    await busauth_bus.declare()
    sent = await busauth_kit.publish("orders", Order(id=1))
    busauth_kit.assert_untouched(sent)
    await busauth_kit.clock.advance(minutes=20)
    async with busauth_bus:
        await busauth_bus.idle()
    with pytest.raises(AssertionError) as caught:
        busauth_kit.assert_handled(sent)
    lines = str(caught.value).splitlines()
    assert lines[0] == "expected handled, found refused token.expired"
    assert lines[1] == f"message {sent.message_id} to orders, published by alice:"
    told = "\n".join(lines[2:])
    assert "+1200.0 s  orders" in told
    assert "token.expired: got 900 s past exp" in told
    assert "-> orders.dead" in told
    assert "Bearer" not in told


async def test_what_is_printed_has_a_name(busauth_kit: Kit) -> None:
    """A guard says whose tokens, a bus and a consumer which queues, and none of them an address."""
    assert repr(shop.bus) == "<Bus of 'orders', consumes orders.placed, stock.reserve>"
    assert repr(Bus("amqp://u:secret@h/", guard=shop.bus.guard, service="a")) == (
        "<Bus of 'a', consumes nothing>"
    )
    assert repr(busauth_kit.guard()) == f"<Guard of tokens by {busauth_kit.issuer.url}>"
    assert repr(busauth_kit) == f"<Kit with tokens by {busauth_kit.issuer.url}>"
    consumer = busauth_kit.guard()(queue="orders")(shop.take.handler)
    assert repr(consumer) == "<guarded consumer take of 'orders'>"


async def test_what_was_not_sent_is_told(busauth_kit: Kit) -> None:
    """Something else than what `publish` returned has no story."""
    for sent in ("a message's id", None):
        with pytest.raises(TypeError, match=r"expected what `await kit\.publish\(\.\.\.\)` ret"):
            busauth_kit.assert_handled(cast("Any", sent))


async def test_nobody_takes_it(busauth_kit: Kit) -> None:
    """Publishing to a queue that is not there says what to do."""
    with pytest.raises(PublishError, match=r"declare it first, as .*bus\.declare"):
        await busauth_kit.publish("nowhere", b"")


async def test_rotated_keys(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """A key is trusted as long as its issuer publishes it."""

    @busauth_bus.consumer("orders")
    async def handle(order: Order) -> None:
        del order

    await busauth_bus.declare()
    old = await busauth_kit.publish("orders", Order(id=1))
    busauth_kit.issuer.rotate(retire=True)
    new = await busauth_kit.publish("orders", Order(id=2))
    async with busauth_bus:
        await busauth_bus.idle()
    busauth_kit.assert_handled(new)
    busauth_kit.assert_refused(old, "token.key_unknown")


async def test_an_issuer_with_another_algorithm(busauth_kit: Kit) -> None:
    """A guard that cannot take what the kit's issuer signs is found before anything runs."""
    keys = StaticKeys(Issuer(algorithm="ES256").jwks())
    verifier = Verifier(keys, issuer="https://a.example", audience="shop", algorithms=["ES256"])
    guard = Guard(verifier)
    bus = Bus("amqp://nowhere.example/", guard=guard, service="orders")
    with pytest.raises(ConfigurationError, match=r"signs with RS256, the guard takes ES256"):
        async with busauth_kit.using(bus):
            pass


async def test_a_bus_that_runs_keeps_its_broker(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """Neither the broker nor the queues of a running bus change under its consumers."""
    async with busauth_bus:
        with pytest.raises(ConfigurationError, match="a bus that runs cannot change its broker"):
            async with busauth_kit.using(busauth_bus):
                pass
        with pytest.raises(ConfigurationError, match="declares its queues by itself"):
            await busauth_bus.declare()


@pytest.mark.parametrize("in_a_row", [1, 2])
@pytest.mark.parametrize("out", [shop.parcels, shop.out])
async def test_what_blocks_is_tested_as_it_is(busauth_kit: Kit, out: Bus, in_a_row: int) -> None:
    """A module's `BusThread` publishes to the kit's broker, in one test and in the next."""
    await busauth_kit.declare("labels")
    async with busauth_kit.using(shop.out), busauth_kit.using(shop.parcels), shop.parcels:
        shop.publisher = shop.publishers[out]
        for number in range(in_a_row):
            sent = await busauth_kit.publish("parcels", Order(id=number))
            await shop.parcels.idle()
            busauth_kit.assert_handled(sent)
    assert [each.by for each in busauth_kit.published("labels")] == ["alice"] * in_a_row
    assert out.loop is None


async def test_a_thread_ends_where_its_bus_is_overridden(busauth_kit: Kit) -> None:
    """One that runs on another broker is no hindrance, and is there again with the next call."""
    await busauth_kit.declare("labels")
    async with Broker() as other:
        bus = Bus(other.url, guard=shop.guard, service="labels")
        publisher = BusThread(bus)

        def publish() -> None:
            publisher.publish("labels", b"1", token=ANONYMOUS)

        for _ in range(2):
            with pytest.raises(PublishError, match="unroutable"):
                await asyncio.to_thread(publish)
            assert bus.loop is not None
            async with busauth_kit.using(bus):
                assert bus.loop is None
                await asyncio.to_thread(publish)
        await asyncio.to_thread(publisher.close)
    assert len(busauth_kit.published("labels")) == 2
