"""Callers of parked messages are asked to come back, beside everything that becomes of messages."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields, replace

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, Caller, CallerError, ConfigurationError, Park
from busauth._amqp.settling.asking import AT_ONCE, MOST, Asking
from busauth.audit import EventLog, told_safely
from busauth.caller import current_lease
from busauth.delegation import Actor
from busauth.expiry import LateToken, ParkedFor, Policies, Verdict, pure
from busauth.settings import Settings
from tests.parties import Party, Scene, security

WEB, ORDERS = Party("web"), Party("orders")
PARKED = ParkedFor(
    issuer="https://idp.example", subject="ann", queue="q", message_id="m", expired_at=0.0
)

Hook = Callable[[ParkedFor], Awaitable[None]]


async def nothing(_: ParkedFor) -> None: ...


def parking(scene: Scene, policies: Policies, *, queue: str) -> Bus:
    """Return a service that parks what is late, in this queue."""
    messages = security(WEB.publisher(), ORDERS.publisher(relays=True), signer=ORDERS.signer)
    bus = scene.bus(messages, on_expired=policies)

    @bus.consumer(queue)
    async def place(caller: Caller, message: AbstractIncomingMessage) -> None: ...

    return bus


async def late(scene: Scene, bus: Bus, queue: str, *tokens: str) -> None:
    """Have a message published under each token, and let them all expire."""
    await bus.declare()
    async with scene.publishing(WEB) as publishing:
        for token in tokens:
            await publishing.publish(queue, b"{}", token=token)
    await scene.clock.advance(600)


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_a_caller_is_asked_once_their_message_waits(scene: Scene) -> None:
    """The hook is told whose it is, as nobody, when the copy is there; and no token."""
    queue, asked = scene.broker.name("orders"), list[ParkedFor]()
    told = asyncio.Event()

    async def ask(parked: ParkedFor) -> None:
        with pytest.raises(CallerError):
            current_lease()
        await scene.broker.settles_at(f"{queue}.parked", 2)
        asked.append(parked)
        if len(asked) == 2:
            told.set()

    bus = parking(scene, Park(ask=ask), queue=queue)
    acted = scene.issuer.token("ann", act={"sub": "agent-x"})
    await late(scene, bus, queue, acted, scene.issuer.token("bob"))
    expired_at = scene.clock.now() - 600 + 300
    async with bus:
        parked = await scene.trail.until("parked", count=2)
        await told.wait()
    ids = {event.subject: event.message_id for event in parked}
    known = replace(PARKED, issuer=scene.issuer.url, queue=queue, expired_at=expired_at)
    assert sorted(asked, key=lambda each: each.subject) == [
        replace(known, subject="ann", message_id=ids["ann"], actor=Actor("agent-x")),
        replace(known, subject="bob", message_id=ids["bob"]),
    ]
    assert acted not in repr(asked)


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_a_hook_changes_no_messages_fate(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It raises, hangs and will not be cancelled: all is parked, told, and the service stops."""
    queue, begun, over = scene.broker.name("orders"), list[str](), asyncio.Event()

    async def ask(parked: ParkedFor) -> None:
        begun.append(parked.subject)
        if parked.subject == "ann":
            raise LookupError("no address")
        with suppress(asyncio.CancelledError):
            await over.wait()
        over.set()

    bus = parking(scene, Park(ask=ask), queue=queue)
    tokens = [scene.issuer.token(name) for name in ("ann", "bob", "cyd")]
    await late(scene, bus, queue, *tokens)
    async with bus:
        await scene.trail.until("parked", count=3)
        await bus.idle()
        while len(begun) < 3:
            await asyncio.sleep(0)
    await scene.broker.settles_at(f"{queue}.parked", 3)
    assert over.is_set()
    assert "asking a caller to come back failed" in caplog.text
    assert "LookupError" in caplog.text
    assert "2 callers of parked messages were not asked" in caplog.text
    assert not any(token in caplog.text for token in tokens)


async def test_who_only_looks_asks_nobody(scene: Scene) -> None:
    """Foresight says that it would be parked, by policies that it may run, and calls no hook."""
    asked = list[ParkedFor]()

    async def ask(parked: ParkedFor) -> None:
        asked.append(parked)

    @pure
    async def own(late: LateToken) -> Verdict | None:
        return Park(ask=ask)

    for policies in (Park(ask=ask), own):
        queue = scene.broker.name("orders")
        bus = parking(scene, policies, queue=queue)
        await late(scene, bus, queue, scene.issuer.token("ann"))
        foreseen = await bus.foresee(queue, await scene.broker.one(queue))
        assert foreseen.end == "parked"
        await asyncio.sleep(0)
    assert asked == []


async def test_few_are_asked_at_once_and_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """So many run, so many wait, each has its time; the others are left out, and that is said."""
    lines = told_safely(EventLog())
    asking, running, seen = Asking("q", lines, seconds=0.01), set[int](), list[int]()

    async def ask(_: ParkedFor) -> None:
        me = id(asyncio.current_task())
        running.add(me)
        seen.append(len(running))
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(me)

    for _ in range(AT_ONCE + 4):
        asking.soon(ask, PARKED)
    while len(seen) < AT_ONCE + 4:
        await asyncio.sleep(0.01)
    assert max(seen) == AT_ONCE
    await asking.close()
    assert "TimeoutError" in caplog.text
    caplog.clear()
    for _ in range(MOST + 3):
        asking.soon(nothing, PARKED)
    assert caplog.text.count("others are not asked") == 3
    await asking.close()
    assert f"{MOST} callers of parked messages were not asked" in caplog.text


async def test_a_hook_that_cancels_itself_ends_nobody_elses() -> None:
    """Those who wait behind it are asked."""
    asking, seen = Asking("q", told_safely(EventLog())), list[int]()
    over = asyncio.Event()

    async def ask(_: ParkedFor) -> None:
        seen.append(len(seen))
        if len(seen) == AT_ONCE + 4:
            over.set()
        if (task := asyncio.current_task()) is not None:
            task.cancel()
        await asyncio.sleep(0)

    for _ in range(AT_ONCE + 4):
        asking.soon(ask, PARKED)
    async with asyncio.timeout(10):
        await over.wait()
    await asking.close()


def test_a_hook_is_no_part_of_the_policy() -> None:
    """Two are equal and print alike; a table has no function; a plain one is refused."""
    assert (Park(ask=nothing), hash(Park(ask=nothing))) == (Park(), hash(Park()))
    assert repr(Park(ask=nothing)) == repr(Park())
    assert "ask" not in Park(ask=nothing).model_dump()
    table = {"policy": "park", "ask": "a.module:function"}
    with pytest.raises(ValueError, match="ask: there is no such key"):
        Settings.model_validate({"issuer": "https://a", "audience": "b", "on_expired": table})
    with pytest.raises(ConfigurationError, match="expected an `async def` that takes a ParkedFor"):
        Park(ask=lambda parked: None)  # type: ignore[arg-type,return-value]  # that is the point
    assert not any("token" in each.name for each in fields(ParkedFor))
