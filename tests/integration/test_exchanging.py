"""Work that waits longer than its token lives: real exchanges, real brokers, virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Caller, GuardOptions, Publication
from busauth.delegation import (
    Exchange,
    ExchangeRequest,
    Onward,
    Subject,
    TokenExchange,
    Voucher,
)
from busauth.integrations.httpx import CallerAuth
from busauth.messages import MessageSecurity
from busauth.testing.issuer import IssuerTransport
from busauth.tokens import ClientSecretBasic, Fetcher
from tests.exchanging import VOUCHERS, Exchanging, voucher
from tests.parties import Scene, security
from tests.security.stage import ORDERS, WEB
from tests.support import LADDERS

QUICK = GuardOptions(pause_first=0.05, pause_longest=0.2)
MESSAGES, CALLERS = 5_000, 50
VOUCHER = "urn:busauth:params:oauth:token-type:voucher"


def server_of(scene: Scene) -> tuple[IssuerTransport, TokenExchange]:
    """Return the issuer's exchange, as the consuming service asks it."""
    transport, client = scene.issuer.transport(), scene.issuer.register("orders")
    idp = TokenExchange(
        scene.issuer.url,
        client=ClientSecretBasic("orders", client.secret),
        fetcher=Fetcher(transport=transport),
        clock=scene.clock,
    )
    return transport, idp


def proven() -> MessageSecurity:
    return security(WEB.publisher(), ORDERS.publisher(relays=True), signer=ORDERS.signer)


async def resumed(scene: Scene, kind: str, count: int = 1) -> None:
    """Return once so many were told, while the time of a pause passes."""
    async with asyncio.timeout(20):
        while scene.trail.kinds().count(kind) < count:
            await scene.clock.advance(1)
            await asyncio.sleep(0.01)


async def test_a_message_waits_for_twenty_hours_on_its_voucher(scene: Scene) -> None:
    """It is handled by a fresh token of its caller's, which is what goes on, and that is told."""
    _, idp = server_of(scene)
    scene.issuer.receivers[VOUCHERS] = "orders"
    policy = Exchange(idp, vouchers=VOUCHERS)
    bus = scene.bus(proven(), on_expired=policy)
    queue, other = scene.broker.name("orders"), scene.broker.name("other")
    callers: list[Caller] = []

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        callers.append(caller)
        await bus.publish(other, b"next")

    await bus.declare()
    await scene.broker.channel.declare_queue(other)
    live = scene.issuer.token("ann", scope="orders:write orders:read")
    guard = bus.guard
    subject = Subject(await guard.authenticate(f"Bearer {live}"), live)
    later = ExchangeRequest.of(VOUCHERS, scopes={"orders:write"}, token_type=VOUCHER)
    token = (await idp.exchange(subject, later)).token
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(queue, b"one", token=token)
    await scene.clock.advance(hours=20)
    async with bus:
        await scene.trail.until("handled")
    (caller,) = callers
    assert caller.late is not None
    assert (caller.subject, caller.scopes) == ("ann", frozenset({"orders:write"}))
    (sent,) = await taken(scene, other)
    fresh = str(sent.headers["authorization"]).removeprefix("Bearer ")
    assert (await guard.authenticate(f"Bearer {fresh}")).subject == "ann"
    events = [each for each in scene.trail.events if each.queue == queue][1:]
    assert [each.kind for each in events] == ["exchanged", "accepted-late", "handled"]
    assert [each.policy for each in events] == ["Exchange"] * 3
    assert events[0].detail == f"a token for {scene.issuer.audience}, by Exchange"
    assert token not in repr(scene.trail.events)
    assert fresh not in repr(scene.trail.events)


async def test_a_dead_server_pauses_the_consumer(scene: Scene) -> None:
    """Nothing is dead-lettered for it, and all is handled once it is back."""
    transport, idp = server_of(scene)
    policy = Exchange(idp, vouchers=VOUCHERS)
    bus = scene.bus(proven(), on_expired=policy, options=QUICK)
    queue = scene.broker.name("orders")

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    async with scene.publishing(WEB) as publishing:
        for subject in ("ann", "bob", "eve"):
            await publishing.publish(queue, b"one", token=voucher(scene.issuer, subject))
    await scene.clock.advance(hours=2)
    transport.down = True
    async with bus:
        await scene.trail.until("deferred")
        transport.down = False
        await resumed(scene, "handled", 3)
    kinds = scene.trail.kinds(queue)
    assert "resumed" in kinds
    assert "refused" not in kinds


async def test_what_is_due_tomorrow_comes_by_its_voucher(scene: Scene) -> None:
    """Its handler has a fresh token, and what it sends on has a narrower one."""
    _, idp = server_of(scene)
    scene.issuer.receivers[VOUCHERS] = "orders"
    queue, other = scene.broker.name("orders"), scene.broker.name("other")
    bus = scene.bus(proven(), on_expired=Exchange(idp, vouchers=VOUCHERS))
    onward = Onward(idp, audience="payments", scopes="orders:read")

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        await bus.publish(other, b"next", onward=onward)

    await bus.declare()
    await scene.broker.channel.declare_queue(other)
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(
            queue,
            b"one",
            token=scene.issuer.token("ann", scope="orders:write orders:read"),
            onward=Voucher(idp, audience=VOUCHERS),
            delay=1,  # by the broker's clock; a day of it is waited for in the delays' own tests
        )
    await scene.clock.advance(hours=20)
    async with bus:
        (handled,) = await scene.trail.until("handled")
    (sent,) = await taken(scene, other)
    claims = scene.issuer.read(str(sent.headers["authorization"]).removeprefix("Bearer "))
    assert handled.subject == "ann"
    assert claims is not None
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("ann", "payments", "orders:read")


Ask = Callable[[Caller, TokenExchange], Awaitable[object]]
ASKING = pytest.mark.parametrize(
    "ask",
    [
        lambda caller, _: caller.fresh(),
        lambda caller, idp: idp.token_for(caller, audience="payments"),
    ],
    ids=["fresh", "token_for"],
)


@ASKING
async def test_a_dead_server_is_no_fault_of_a_handler_that_asks_it(scene: Scene, ask: Ask) -> None:
    """The message is given back, with no attempt spent, and handled once the server is there."""
    transport, idp = server_of(scene)
    bus, queue = long_work(scene, idp, ask)
    async with bus:
        transport.down = True
        await begun(scene, bus, queue)
        await scene.trail.until("deferred")
        transport.down = False
        async with asyncio.timeout(20):
            while "handled" not in scene.trail.kinds(queue):
                await scene.clock.advance(0.05)
                await asyncio.sleep(0.01)
    assert not {"retried", "refused"} & set(scene.trail.kinds(queue))


@ASKING
async def test_a_servers_no_ends_the_handler_that_asked_it(scene: Scene, ask: Ask) -> None:
    """Its work is not authorised any more: no other attempt is made."""
    _, idp = server_of(scene)
    bus, queue = long_work(scene, idp, ask)
    scene.issuer.revoke_subject("ann")
    async with bus:
        await begun(scene, bus, queue)
        (refused,) = await scene.trail.until("refused")
    assert (refused.code, refused.attempt) == ("handler.rejected", 1)
    assert "exchange.refused" in (refused.detail or "")


def long_work(scene: Scene, idp: TokenExchange, ask: Ask) -> tuple[Any, str]:
    """Return a consumer whose handler takes almost as long as its token lives, and its queue."""
    policy = Exchange(idp, vouchers=VOUCHERS)
    bus, queue = scene.bus(proven(), on_expired=policy, options=QUICK), scene.broker.name("orders")

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        await scene.clock.advance(max(0.0, caller.expires_at - scene.clock.now() - 9))
        await ask(caller, idp)

    return bus, queue


async def begun(scene: Scene, bus: Any, queue: str) -> None:
    token = scene.issuer.token("ann", scope="orders:write")
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(queue, b"one", token=token)


async def test_what_a_handler_has_by_itself_is_told(scene: Scene) -> None:
    """For whom, and in whose name: asked for outright, or for a request over HTTP."""
    _, idp = server_of(scene)
    bus, queue = scene.bus(proven()), scene.broker.name("orders")
    auth = CallerAuth(["https://stock.example"], onward=Onward(idp, audience="stock"))
    stock = httpx.MockTransport(lambda request: httpx.Response(200))

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        await idp.token_for(caller, audience="payments")
        async with httpx.AsyncClient(auth=auth, transport=stock) as client:
            await client.get("https://stock.example/cups")

    async with bus:
        await begun(scene, bus, queue)
        await scene.trail.until("handled")
    told = [each for each in scene.trail.events if each.kind == "exchanged"]
    assert [each.detail for each in told] == [
        "a token for payments",
        "Onward to stock, over HTTP",
    ]
    assert {(each.queue, each.subject) for each in told} == {(queue, "ann")}


@pytest.mark.long
@pytest.mark.reference
async def test_a_storm_waits_out_a_dead_server(scene: Scene) -> None:
    """5,000 messages of 50 callers: none is lost or refused, and each caller costs one request."""
    transport, idp = server_of(scene)
    bus = scene.bus(proven(), on_expired=Exchange(idp, vouchers=VOUCHERS), options=QUICK)
    queue = scene.broker.name("orders")
    handled: set[bytes] = set()

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(message: AbstractIncomingMessage) -> None:
        handled.add(message.body)

    await bus.declare()
    vouchers = [voucher(scene.issuer, f"user{number}") for number in range(CALLERS)]
    async with scene.publishing(WEB) as publishing:
        await publishing.publish_many(
            Publication(queue, str(number).encode(), token=vouchers[number % CALLERS])
            for number in range(MESSAGES)
        )
    await scene.clock.advance(hours=2)
    transport.down = True
    async with bus:
        await scene.trail.until("deferred")
        transport.received.clear()
        transport.down = False
        async with asyncio.timeout(60):
            while len(handled) < MESSAGES:
                await scene.clock.advance(0.1)
                await asyncio.sleep(0.01)
    asked = [each for each in transport.received if b"token-exchange" in each.body]
    genuine = [each for each in asked if b"voucher" in each.body]
    assert len(genuine) <= CALLERS
    assert not {"refused", "retried"} & set(scene.trail.kinds(queue))


async def test_a_retry_carries_the_voucher(scene: Scene) -> None:
    """The copy is the voucher's, under its seal, and the next attempt has a token anew."""
    idp = Exchanging(scene.issuer)
    bus = scene.bus(proven(), on_expired=Exchange(idp, vouchers=VOUCHERS), retry=LADDERS[1])
    queue = scene.broker.name("orders")
    attempts: list[str] = []

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
        attempts.append(caller.bearer())
        if len(attempts) == 1:
            raise LookupError

    await bus.declare()
    token = voucher(scene.issuer)
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(queue, b"one", token=token)
    async with bus:
        await scene.trail.until("retried")
        await scene.clock.advance(1)
        await scene.trail.until("handled")
    assert len(set(attempts)) == 2
    assert [each.token for each, _ in idp.asked] == [token] * 2
    assert "seal-broken" not in scene.trail.kinds(queue)


async def taken(scene: Scene, queue: str) -> list[Any]:
    await scene.broker.settles_at(queue, 1)
    return list(await scene.broker.take(queue))
