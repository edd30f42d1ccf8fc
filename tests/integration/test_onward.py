"""Whose token goes on with what a handler publishes: declared, narrower, or not at all."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import pytest
from aio_pika import Message

from busauth import (
    ANONYMOUS,
    Bus,
    BusOptions,
    Caller,
    ConfigurationError,
    Deferred,
    Forbidden,
    Guard,
    GuardOptions,
    NotGenuine,
    Publication,
    PublishError,
    StaticKeys,
    Untimely,
    Verifier,
)
from busauth._tokens.compact import split
from busauth.audit import EventKind
from busauth.delegation import (
    FORWARDED,
    Onward,
    OnwardToken,
    Subject,
    TokenExchange,
    Voucher,
)
from busauth.integrations.threads import BusThread
from busauth.letters import dead_letters
from busauth.messages import Route
from busauth.testing import Issuer, ManualClock
from busauth.tokens import ClientSecretBasic, Fetcher
from tests.onwards import Idp
from tests.parties import Party, Scene, security
from tests.support import LADDERS, Broker, Order, Trail, all_text, guard_for
from tests.unit.support import b64

OPTIONS = BusOptions(retry=LADDERS[1])
QUICK = GuardOptions(pause_first=0.05, pause_longest=0.1)
BOTH = "orders:write payments:take"


@pytest.fixture
def idp(issuer: Issuer) -> Idp:
    return Idp(issuer)


def guard_of(audience: str, issuer: Issuer, trail: Trail) -> Guard:
    """Return a guard of another service's, whose tokens are for it alone."""
    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience=audience)
    return Guard(verifier, auditor=trail)


class Gone(set[str]):
    """Revocations by name; counts how often it is asked."""

    asked = 0

    def revoked(self, caller: Caller, now: float) -> bool:
        self.asked += 1
        return caller.subject in self


async def test_each_hop_gets_a_token_of_its_own(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp
) -> None:
    """The next service gets what it needs, with who acts; a forwarded token goes as it is."""
    orders, payments, notices = (broker.name(name) for name in ("orders", "payments", "notices"))
    onward = Onward(idp, audience="payments", scopes={"payments:take"})
    routes: dict[str | Route, OnwardToken] = {payments: onward, Route("", notices): FORWARDED}
    guard = guard_for(issuer, trail)
    bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS, onward=routes)
    shop = guard_of("payments", issuer, trail)
    paying = Bus(broker.url, guard=shop, service="payments", options=OPTIONS)
    seen: dict[str, Caller] = {}

    @bus.consumer(orders)
    async def place(order: Order) -> None:
        await bus.publish(payments, order)
        await bus.publish(notices, order)

    @bus.consumer(notices)
    async def tell(order: Order, caller: Caller) -> None:
        seen["notices"] = caller

    @paying.consumer(payments, scopes={"payments:take"})
    async def pay(order: Order, caller: Caller) -> None:
        seen["payments"] = caller

    async with paying, bus:
        agent = {"sub": "agent-x"}
        await broker.publish(orders, token=issuer.token("ann", scope=BOTH, act=agent))
        await trail.until("handled", count=3)
    paid, told = seen["payments"], seen["notices"]
    assert (paid.subject, *paid.scopes, *paid.audience) == ("ann", "payments:take", "payments")
    assert [actor.subject for actor in paid.actors] == ["orders", "agent-x"]
    assert told.scopes == set(BOTH.split())
    assert [actor.subject for actor in told.actors] == ["agent-x"]
    (event,) = [each for each in trail.events if each.kind is EventKind.EXCHANGED]
    assert (event.queue, event.subject, event.actor) == (payments, "ann", "agent-x")
    assert event.detail == "Onward to payments, with payments:take"


async def test_a_bus_that_declares_sends_no_token_elsewhere(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp
) -> None:
    """An undeclared route gets nobody's message but nobody's own, and what says so itself."""
    queue, undeclared = await broker.declare("orders"), await broker.declare("others")
    onward = Onward(idp, audience="payments")
    guard, token = guard_for(issuer, trail), issuer.token("ann")
    bus = Bus(broker.url, guard=guard, service="orders", onward={queue: onward})
    async with bus:
        with pytest.raises(ConfigurationError, match=rf"onward=\{{'{undeclared}': Onward"):
            await bus.publish(undeclared, Order(id=1), token=token)
        with pytest.raises(ConfigurationError, match=r"Route\('events', 'a\.b'\)"):
            await bus.publish("a.b", Order(id=1), exchange="events", token=token)
        batch = [Publication(queue, Order(id=1), token=token), Publication(undeclared, "")]
        with pytest.raises(ConfigurationError, match="no caller's token goes there"):
            await bus.publish_many(batch)
        assert not idp.asked
        await bus.publish(undeclared, Order(id=2), token=ANONYMOUS)
        await bus.publish(undeclared, Order(id=3), token=token, onward=FORWARDED)
        await bus.publish(undeclared, Order(id=4), token=token, onward=onward)
    assert await broker.count(queue) == 0
    sent = [each.headers.get("authorization") for each in await broker.take(undeclared)]
    assert sent[:2] == [None, f"Bearer {token}"]
    assert sent[2] not in (None, f"Bearer {token}")


async def test_a_batch_asks_once_for_all_that_share_a_token(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp
) -> None:
    """One exchange for each caller and kind of route, all of them before the first is sent."""
    queue, other = await broker.declare("orders"), await broker.declare("others")
    routes = {queue: Onward(idp, audience="payments"), other: Onward(idp, audience="others")}
    guard, tokens = guard_for(issuer, trail), [issuer.token("ann"), issuer.token("bob")]
    batch = [
        Publication(name, Order(id=number), token=token)
        for number in range(20)
        for name in routes
        for token in tokens
    ]
    async with Bus(broker.url, guard=guard, service="orders", onward=routes) as bus:
        await bus.publish_many(batch)
        assert len(idp.asked) == 4
        idp.fault = Forbidden("exchange.refused", found="invalid_target")
        with pytest.raises(Forbidden, match=r"exchange\.refused"):
            await bus.publish_many(batch)
    await broker.settles_at(queue, 40)


async def test_what_was_handed_in_is_verified_first(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp
) -> None:
    """No token is had for one that this service would not take."""
    queue = await broker.declare("orders")
    guard = guard_for(issuer, trail)
    routes = {queue: Onward(idp, audience="payments")}
    async with Bus(broker.url, guard=guard, service="orders", onward=routes) as bus:
        with pytest.raises(NotGenuine, match=r"claims\.aud|token\.audience"):
            await bus.publish(queue, Order(id=1), token=issuer.token(aud="others"))
        with pytest.raises(Untimely):
            await bus.publish(queue, Order(id=1), token=issuer.token(exp=1))
        with pytest.raises(Forbidden, match=r"exchange\.depth"):
            await bus.publish(queue, Order(id=1), token=issuer.token(act=deep(5)))
        assert not idp.asked
        with pytest.raises(Forbidden, match=r"exchange\.depth: got 5"):
            await bus.publish(queue, Order(id=1), token=issuer.token(act=deep(4)))
        exchange = broker.channel.default_exchange
        onward = Onward(idp, audience="payments", max_depth=5)
        await guard.publish(exchange, Order(id=2), queue, token=issuer.token(), onward=onward)
    await broker.settles_at(queue, 1)


def deep(actors: int) -> dict[str, Any]:
    """Return a chain of so many."""
    return {"sub": "s"} if actors == 1 else {"sub": "s", "act": deep(actors - 1)}


async def test_an_exchange_takes_no_longer_than_the_publication(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """One that does not answer is given up with it: nothing was sent, and it is nobody's fault."""
    queue = await broker.declare("orders")

    class Mute:
        async def token_for(self, _subject: object) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    async with Bus(broker.url, guard=guard_for(issuer, trail), service="orders") as bus:
        with pytest.raises(Deferred, match="who gives the token that goes on is out of reach"):
            await bus.publish(queue, "", token=issuer.token(), onward=Mute(), timeout=0.05)
    assert await broker.count(queue) == 0


@pytest.mark.parametrize("is_grouped", [False, True], ids=["alone", "in a group"])
async def test_out_of_reach_is_no_handlers_fault(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp, *, is_grouped: bool
) -> None:
    """The consumer pauses, its message comes again with no attempt spent, and nothing is lost."""
    orders, payments = broker.name("orders"), await broker.declare("payments")
    guard = guard_for(issuer, trail, options=QUICK)
    routes = {payments: Onward(idp, audience="payments")}
    bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS, onward=routes)
    idp.fault = Deferred("the issuer is out of reach")

    @bus.consumer(orders)
    async def place(order: Order) -> None:
        if not is_grouped:
            await bus.publish(payments, order)
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.publish(payments, order))

    async with bus:
        await broker.publish(orders, token=issuer.token("ann"))
        (deferred, *_) = await trail.until("deferred")
        idp.fault = None
        (handled,) = await trail.until("handled")
    assert (deferred.detail, handled.attempt) == ("the issuer is out of reach", 1)
    assert not {"retried", "refused", "fault"} & set(trail.kinds())
    await broker.settles_at(payments, 1)


@pytest.mark.parametrize("code", ["exchange.refused", "token.revoked"])
async def test_a_refusal_ends_the_handler_without_another_attempt(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp, code: str
) -> None:
    """The dead letter says why no token went on; a revoked caller's is not even asked for."""
    orders, payments = broker.name("orders"), await broker.declare("payments")
    gone = Gone()
    guard = guard_for(issuer, trail, revocations=gone)
    routes = {payments: Onward(idp, audience="payments")}
    bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS, onward=routes)
    if code == "exchange.refused":
        idp.fault = Forbidden(code, found="invalid_scope")

    @bus.consumer(orders)
    async def place(order: Order) -> None:
        gone.update({"ann"} if code == "token.revoked" else ())
        await bus.publish(payments, order)

    async with bus:
        await broker.publish(orders, token=issuer.token("ann"))
        (refused,) = await trail.until("refused")
    assert refused.code == "handler.rejected"
    assert f"got {code}" in (refused.detail or "")
    assert len(idp.asked) == (code == "exchange.refused")
    assert "retried" not in trail.kinds()
    letters = await dead_letters(broker.url, f"{orders}.dead")
    assert [letter.code for letter in letters] == ["handler.rejected"]
    assert await broker.count(payments) == 0


async def test_a_token_that_has_ended_is_named_where_none_is_had_for_it(
    broker: Broker, issuer_in_time: Issuer, trail: Trail, clock: ManualClock
) -> None:
    """The server's no stays, and whoever reads it learns what to declare."""
    orders, payments = broker.name("orders"), await broker.declare("payments")
    idp = Idp(issuer_in_time, fault=Forbidden("exchange.refused", found="invalid_request"))
    guard = guard_for(issuer_in_time, trail, clock=clock)
    routes = {payments: Onward(idp, audience="payments")}
    bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS, onward=routes)

    @bus.consumer(orders)
    async def place(order: Order) -> None:
        await clock.advance(4000)
        await bus.publish(payments, order)

    async with bus:
        await broker.publish(orders, token=issuer_in_time.token("ann"))
        (refused,) = await trail.until("refused")
    assert "exchange.refused: got invalid_request, for a token 3700 s past exp" in str(
        refused.detail
    )
    assert refused.code == "handler.rejected"


async def test_what_is_given_back_is_not_taken_for_a_copy(
    broker: Broker, issuer_in_time: Issuer, trail: Trail, clock: ManualClock
) -> None:
    """A message that a replay memory knows comes again, and its proof goes on with what follows."""
    orders, payments = broker.name("orders"), await broker.declare("payments")
    shop = Party("shop")
    idp = Idp(issuer_in_time, fault=Deferred("the issuer is out of reach"))
    scene = Scene(broker, issuer_in_time, clock, trail)
    bus = scene.bus(security(shop.publisher(relays=True), signer=shop.signer), options=QUICK)
    onward = Onward(idp, audience="payments")

    @bus.consumer(orders)
    async def place(order: Order) -> None:
        await bus.publish(payments, order, onward=onward)

    async with bus:
        await bus.publish(orders, Order(id=1), token=issuer_in_time.token("ann"))
        await trail.until("deferred")
        await clock.advance(1)
        idp.fault = None
        await clock.advance(1)
        await trail.until("handled")
    assert not {"retried", "refused", "duplicate"} & set(trail.kinds())
    message = await broker.one(payments)
    claims = split(str(message.headers["busauth-proof"]), max_bytes=10_000).payload
    token = str(message.headers["authorization"]).removeprefix("Bearer ")
    assert claims["ath"] == b64(sha256(token.encode()).digest())
    assert message.headers["busauth-hop"] == 1


async def test_a_handler_that_blocks_is_told_likewise(
    broker: Broker, issuer: Issuer, trail: Trail, idp: Idp
) -> None:
    """In its thread it publishes for its caller, is given back, and arrives later where it says."""
    orders, payments = broker.name("orders"), await broker.declare("payments")
    guard = guard_for(issuer, trail, options=QUICK)
    bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS)
    publisher, onward = BusThread(bus), Onward(idp, audience="payments")
    idp.fault = Deferred("the issuer is out of reach")

    @bus.consumer(orders)
    def place(order: Order) -> None:
        publisher.publish(payments, order, onward=onward, delay=1)

    async with bus:
        await broker.publish(orders, token=issuer.token("ann"))
        await trail.until("deferred")
        idp.fault = None
        (handled,) = await trail.until("handled")
    assert handled.attempt == 1
    await broker.settles_at(payments, 1)


async def test_what_a_user_wrote_is_told_by_its_kind(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Its own text may show what it knows."""
    queue = await broker.declare("orders")

    @dataclass
    class Desk:
        secret: str

        async def token_for(self, subject: Subject) -> str:
            return subject.token

    async with Bus(broker.url, guard=guard_for(issuer, trail), service="orders") as bus:
        await bus.publish(queue, "", token=issuer.token(), onward=Desk("s3cr3t"))
    (event,) = [each for each in trail.events if each.kind is EventKind.EXCHANGED]
    assert event.detail == "Desk"


@pytest.mark.parametrize("given", [None, "", b"narrow"])
async def test_what_is_no_token_never_stands_for_the_callers(
    broker: Broker, issuer: Issuer, trail: Trail, given: Any
) -> None:
    """Whoever gives nothing has nothing sent, and hears of it."""
    queue = await broker.declare("orders")

    class Giving:
        async def token_for(self, _subject: Subject) -> str:
            return cast("str", given)

    routes = {queue: Giving()}
    token, guard = issuer.token(), guard_for(issuer, trail)
    async with Bus(broker.url, guard=guard, service="orders", onward=routes) as bus:
        with pytest.raises(ConfigurationError, match=r"Giving\.token_for.*a raw token"):
            await bus.publish(queue, "", token=token)
        with pytest.raises(ConfigurationError, match="nothing was sent"):
            await bus.publish_many([Publication(queue, "", token=token)])
    assert await broker.count(queue) == 0


async def test_a_copy_by_the_broker_is_no_way_around(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A message that names further queues goes nowhere, until its publication says as what."""
    queue, other = await broker.declare("orders"), await broker.declare("others")
    guard, token = guard_for(issuer, trail), issuer.token()
    async with Bus(broker.url, guard=guard, service="orders", onward={queue: FORWARDED}) as bus:
        for name in ("CC", "BCC"):
            message = Message(b"", headers={name: [other]})
            with pytest.raises(ConfigurationError, match=f"the header '{name}'"):
                await bus.publish(queue, message, token=token)
            with pytest.raises(ConfigurationError, match=f"the header '{name}'"):
                await bus.publish_many([Publication(queue, message, token=token)])
            await bus.publish(queue, message, token=ANONYMOUS)
            await bus.publish(
                queue, Message(b"", headers={name: [other]}), onward=FORWARDED, token=token
            )
    assert await broker.count(other) == 4


async def test_who_was_revoked_while_the_server_was_asked_sends_nothing(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What stood before the wait has fallen: the token that came is left behind."""
    queue, gone = await broker.declare("orders"), Gone()
    guard = guard_for(issuer, trail, revocations=gone)

    class Slow:
        async def token_for(self, subject: Subject) -> str:
            gone.add(subject.caller.subject)
            return subject.token

    async with Bus(broker.url, guard=guard, service="orders") as bus:
        with pytest.raises(Untimely, match=r"token\.revoked"):
            await bus.publish(queue, "", token=issuer.token("ann"), onward=Slow())
    assert await broker.count(queue) == 0


async def test_a_voucher_is_the_only_token_of_its_message(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """No access token waits beside it, and the proof speaks of it; an issuer gives it as such."""
    queue, shop = await broker.declare("reports"), Party("shop")
    client = issuer.register("orders")
    idp = TokenExchange(
        issuer.url,
        client=ClientSecretBasic("orders", client.secret),
        keys=StaticKeys(issuer.jwks()),
        endpoint=f"{issuer.url}/token",
        fetcher=Fetcher(transport=issuer.transport()),
    )
    guard = guard_for(issuer, trail, messages=security(signer=shop.signer))
    routes = {queue: Voucher(idp, audience="later", scopes="orders:write", hours=24)}
    token = issuer.token("ann", scope=BOTH)
    async with Bus(broker.url, guard=guard, service="orders", onward=routes) as bus:
        with pytest.raises(PublishError, match=r"voucher counts for 86\d+ s, .*is 90000"):
            await bus.publish(queue, Order(id=1), token=token, delay=25 * 3600)
        await bus.publish(queue, Order(id=1), token=token)
    message = await broker.one(queue)
    voucher = str(message.headers["authorization"]).removeprefix("Bearer ")
    read = split(voucher, max_bytes=10_000)
    assert (read.header["typ"], read.payload["aud"]) == ("voucher+jwt", "later")
    assert token not in all_text([message])
    proof = split(str(message.headers["busauth-proof"]), max_bytes=10_000).payload
    assert proof["ath"] == b64(sha256(voucher.encode()).digest())


async def test_any_other_error_of_these_kinds_fails_a_handler_as_ever(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What a handler raises by itself, or asks for in its own name, is tried again."""
    queue = broker.name("orders")
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders", options=OPTIONS)
    raised = [Deferred("its database is away"), Untimely("token.expired")]

    @bus.consumer(queue)
    async def place(order: Order) -> None:
        if raised:
            raise raised.pop()

    async with bus:
        await broker.publish(queue, token=issuer.token())
        (handled,) = await trail.until("handled")
    assert (handled.attempt, trail.kinds().count("retried")) == (3, 2)


async def test_a_bus_without_onward_asks_nobody(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Revocations are asked once for each message that is handled, and no token is had."""
    orders, payments = broker.name("orders"), await broker.declare("payments")
    gone = Gone()
    guard = guard_for(issuer, trail, revocations=gone)
    bus = Bus(broker.url, guard=guard, service="orders", options=OPTIONS)

    @bus.consumer(orders)
    async def place(order: Order) -> None:
        await bus.publish(payments, order)

    token = issuer.token("ann")
    async with bus:
        await broker.publish(orders, token=token)
        await trail.until("handled")
    assert gone.asked == 1
    assert "exchanged" not in trail.kinds()
    assert (await broker.one(payments)).headers["authorization"] == f"Bearer {token}"
