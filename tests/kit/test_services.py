"""What a kit tells of a service's publications, and who acts in a bare handler."""

import asyncio
from typing import Any

import pytest
from pamqp.commands import Basic

from busauth import (
    ANONYMOUS,
    Binding,
    Bus,
    Caller,
    CallerError,
    ConfigurationError,
    Guard,
    StaticKeys,
    Verifier,
)
from busauth._amqp.publishing.copies import Outgoing
from busauth.delegation import Onward, TokenExchange
from busauth.revocation import RevocationFeed, Revocations, Transmitter, Transmitters
from busauth.testing import Broker, Issuer, Kit
from busauth.testing.published import published
from busauth.tokens import TRANSACTION, ClientSecretBasic, Fetcher, keycloak
from tests.kit import shop
from tests.kit.shop import Order

TEMPLATE = "https://login.example/{tenantid}/v2.0"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
FURTHER = "9188040d-6c67-4c5b-b112-36a304b66dad"


class Listed:
    """A store of a user's own."""

    def __init__(self, *subjects: str) -> None:
        self.subjects = subjects

    def revoked(self, caller: Caller, now: float) -> bool:
        del now
        return caller.subject in self.subjects


def asking(revocations: Revocations) -> Bus:
    """Return a bus as a user has it, whose guard asks."""
    issuer = Issuer("https://idp.example")
    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience="shop")
    bus = Bus("amqp://nowhere/", guard=Guard(verifier, revocations=revocations), service="orders")

    @bus.consumer("orders.placed")
    async def handle(order: Order) -> None:
        del order

    return bus


# --- publications ---------------------------------------------------------------------------------


async def test_what_a_service_has_published(busauth_kit: Kit) -> None:
    """In order: body, whose it is, and headers; by queue, by exchange, or all of it."""
    await busauth_kit.declare("mail.send", "events.log", bindings=[Binding("events", "mail.*")])
    async with busauth_kit.using(shop.bus), shop.bus:
        sent = await busauth_kit.publish("orders.placed", Order(id=7), scope="orders:write")
        await shop.bus.idle()
        await shop.bus.publish("mail.send", b"hello", token=ANONYMOUS)
        bob = busauth_kit.issuer.token("bob")
        await shop.bus.publish("mail.sent", Order(id=8), exchange="events", token=bob)
    (reserved,) = busauth_kit.published("stock.reserve")
    assert (reserved.by, reserved.read(Order), reserved.exchange) == ("alice", Order(id=7), "")
    assert reserved.headers == {"busauth-hop": 1, "busauth-parent": sent.message_id}
    (mail,) = busauth_kit.published("mail.send")
    assert (mail.by, mail.body, mail.headers) == (None, b"hello", {})
    (event,) = busauth_kit.published(exchange="events")
    assert (event.by, event.read(dict), event.routing_key) == ("bob", {"id": 8}, "mail.sent")
    assert busauth_kit.published() == [reserved, mail, event]
    assert all(bob not in repr(each) for each in busauth_kit.published())


def test_no_header_of_a_publication_has_a_token() -> None:
    """In a list, a table or bytes neither: what is shown is what a test prints."""
    issuer = Issuer()
    token = issuer.token("alice")
    headers: dict[str, Any] = {
        "kept": [token, {"as": bytearray(token.encode())}],
        "other": f"not {token}",
        "n": 1,
    }
    outgoing = Outgoing(b"", Basic.Properties(headers=headers), token=token)
    told = published(outgoing, "", "orders", issuer=issuer, header="authorization", at=0.0)
    hidden = bytearray(b"[token]")
    assert told.headers == {"kept": ("[token]", {"as": hidden}), "other": "not [token]", "n": 1}


async def test_a_service_of_transaction_tokens_under_test(busauth_kit: Kit) -> None:
    """What the kit mints for it are transaction tokens, in their header, and others are refused."""
    verifier = Verifier(
        StaticKeys(Issuer().jwks()),
        issuer="https://txn.example",
        audience="shop.example",
        profile=TRANSACTION,
    )
    bus, seen = Bus("amqp://nowhere/", guard=Guard(verifier), service="orders"), list[str]()

    @bus.consumer("orders.placed", scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        assert caller.transaction is not None
        seen.append(caller.transaction.tctx["cart"])
        await bus.publish("stock.reserve", b"")

    await busauth_kit.declare("stock.reserve")
    async with busauth_kit.using(bus), bus:
        await busauth_kit.publish("orders.placed", b"", scope="orders:write", tctx={"cart": "c-7"})
        await busauth_kit.publish("orders.placed", b"", token=busauth_kit.issuer.token("bob"))
        await bus.idle()
        assert busauth_kit.caller(tctx={"cart": "c-8"}).transaction is not None
        (letter,) = await busauth_kit.dead_letters("orders.placed")
    (reserved,) = busauth_kit.published("stock.reserve")
    assert (seen, reserved.by, letter.code) == (["c-7"], "alice", "token.type")
    assert "txn-token" not in reserved.headers


async def test_what_no_queue_took_was_not_published(busauth_kit: Kit, busauth_bus: Bus) -> None:
    """It is told once the broker has confirmed it."""
    async with busauth_bus:
        with pytest.raises(Exception, match="nowhere"):
            await busauth_bus.publish("nowhere", b"", token=ANONYMOUS)
    assert busauth_kit.published() == []


def test_whose_an_opaque_token_is() -> None:
    """The kit's issuer knows whose reference it is; a stranger's is somebody's."""
    issuer = Issuer()

    def by(token: str) -> str | None:
        outgoing = Outgoing(b"", Basic.Properties(headers={"x-auth": token}), token=token)
        told = published(outgoing, "", "orders", issuer=issuer, header="X-Auth", at=0.0)
        assert told.headers == {}
        return told.by

    assert by(issuer.reference("ann")) == "ann"
    assert by("a-session-id") == "somebody with an opaque token"


async def test_what_a_test_declares_is_gone_after_it(busauth_kit: Kit) -> None:
    """Queues and exchanges that a RabbitMQ had before are refused, or stay."""
    if isinstance(busauth_kit.broker, Broker):
        await busauth_kit.declare("twice")
        await busauth_kit.declare("twice")
        return
    async with Kit(busauth_kit.broker, type(busauth_kit.clock)()) as first:
        await first.declare("of-the-first", bindings=[Binding("of-the-first")])
        with pytest.raises(ConfigurationError, match="exists already on this RabbitMQ"):
            await busauth_kit.declare("of-the-first")
    await busauth_kit.declare("of-the-first", bindings=[Binding("of-the-first", kind="fanout")])


async def test_a_queue_is_declared_by_one(busauth_kit: Kit) -> None:
    """What a bus consumes it declares by itself, in its own way."""
    async with busauth_kit.using(shop.bus):
        with pytest.raises(ConfigurationError, match=r"'stock\.reserve' is consumed by a bus"):
            await busauth_kit.declare("stock.reserve")
    await busauth_kit.declare("greetings")
    bus = busauth_kit.bus()

    @bus.consumer("greetings")
    async def greet() -> None: ...

    with pytest.raises(ConfigurationError, match="'greetings' is consumed by a bus"):
        await bus.declare()


# --- callers --------------------------------------------------------------------------------------


async def test_a_bare_handler_acts_for_its_caller(busauth_kit: Kit) -> None:
    """What it publishes, or a task that it awaits, is in the caller's name; then nobody is."""
    async with busauth_kit.using(shop.bus), shop.bus:
        with busauth_kit.acting_as("bob", scope="orders:write") as bob:
            await shop.reserve.handler(Order(id=1), bob)
            await asyncio.create_task(shop.bus.publish("stock.reserve", Order(id=2)))
            assert bob.scopes == {"orders:write"}
        with pytest.raises(CallerError, match="no caller is in scope"):
            await shop.bus.publish("stock.reserve", Order(id=3))
    assert [each.by for each in busauth_kit.published("stock.reserve")][:2] == ["bob", "bob"]
    with pytest.raises(CallerError, match="handler has ended"):
        bob.bearer()


def test_a_caller_without_a_loop(busauth_clock: object, busauth_issuer: Issuer) -> None:
    """A caller is made, and acts, in a synchronous test; what was given outlives the block."""
    del busauth_clock
    kit = Kit(Broker(), busauth_issuer.clock, busauth_issuer)  # type: ignore[arg-type]
    ann = kit.caller("ann", roles=["admin"], client_id="app")
    assert (ann.subject, set(ann.roles), ann.client) == ("ann", {"admin"}, "app")
    with kit.acting_as(ann):
        assert kit.guard().core.outbox.prepare(b"", None).token == ann.bearer()
    assert ann.bearer()
    with pytest.raises(TypeError, match="got a caller and scope: expected a subject with claims"):
        kit.acting_as(ann, scope="a").__enter__()


async def test_a_caller_is_read_as_the_bus_would(busauth_kit: Kit) -> None:
    """Roles and scopes are where the profile of the bus's issuer keeps them."""
    keys = StaticKeys(busauth_kit.issuer.jwks())
    verifier = Verifier(keys, issuer="https://kc.example", audience="shop", profile=keycloak())
    bus = Bus("amqp://nowhere/", guard=Guard(verifier), service="orders")
    async with busauth_kit.using(bus):
        caller = busauth_kit.caller("ann", typ="Bearer", realm_access={"roles": ["admin"]})
    assert (caller.issuer, set(caller.roles)) == ("https://kc.example", {"admin"})


@pytest.mark.parametrize(
    ("own", "tenants", "taken"),
    [
        (None, [FURTHER, TENANT], TENANT),
        (FURTHER, [TENANT, FURTHER], FURTHER),
        (FURTHER, "any", FURTHER),
        (None, "any", "00000000-0000-0000-0000-000000000000"),
    ],
)
async def test_an_issuer_of_many_tenants(
    busauth_kit: Kit, own: str | None, tenants: str | list[str], taken: str
) -> None:
    """The kit signs in one tenant's name, the test's own if it has one; a template is no name."""
    verifier = Verifier(
        StaticKeys(busauth_kit.issuer.jwks()),
        issuer=TEMPLATE,
        audience="shop",
        profile="entra",
        tenants=tenants,
    )
    if own:
        busauth_kit.issuer.url = TEMPLATE.replace("{tenantid}", own)
    async with busauth_kit.using(Bus("amqp://nowhere/", guard=Guard(verifier), service="orders")):
        caller = busauth_kit.caller("ann", tid=taken)
    assert caller.issuer == busauth_kit.issuer.url == TEMPLATE.replace("{tenantid}", taken)


# --- revocation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["store", "feed"])
async def test_revoked_in_one_line(busauth_kit: Kit, kind: str) -> None:
    """Whatever the guard asks, the kit's word counts next to it; a later token counts again."""
    keys = StaticKeys(Issuer().jwks())
    feed = RevocationFeed(
        "amqp://nowhere/", Transmitters([Transmitter("idp", keys)], audience="shop")
    )
    bus = asking(feed if kind == "feed" else Listed("eve"))
    async with busauth_kit.using(bus):
        alice = await busauth_kit.publish("orders.placed", Order(id=1))
        eve = await busauth_kit.publish("orders.placed", Order(id=2), by="eve")
        busauth_kit.revoke("alice")
        await busauth_kit.clock.advance(seconds=1)
        again = await busauth_kit.publish("orders.placed", Order(id=3))
        async with bus:
            await bus.idle()
    busauth_kit.assert_refused(alice, "token.revoked")
    busauth_kit.assert_handled(again)
    if kind == "store":
        busauth_kit.assert_refused(eve, "token.revoked")
    else:
        busauth_kit.assert_handled(eve)


async def test_one_token_is_revoked(busauth_kit: Kit) -> None:
    """What is named narrows it down; a guard of the kit's asks the kit."""
    guard = busauth_kit.guard()
    lost, kept = busauth_kit.caller(), busauth_kit.caller()
    busauth_kit.revoke(token_id=lost.token_id)
    assert (await guard.authenticate(f"Bearer {kept.bearer()}")).subject == "alice"
    with pytest.raises(Exception, match="revoked"):
        await guard.authenticate(f"Bearer {lost.bearer()}")
    with pytest.raises(ConfigurationError, match=r"whose tokens\? expected kit\.revoke\('alice'\)"):
        busauth_kit.revoke()


PLAINEST = (
    r"expected Guard\(revocations=\.\.\.\) on th.* `def revoked\(self, caller, now\) -> bool` \(a "
    r"small class .*; or kit\.bus\(kit\.guard\(\)\)"
)


async def test_a_guard_that_asks_nobody(busauth_kit: Kit) -> None:
    """Revoking what nobody asks for is an error that says what to configure, and where."""
    async with busauth_kit.using(shop.bus):
        with pytest.raises(ConfigurationError, match=PLAINEST):
            busauth_kit.revoke("alice")
    async with busauth_kit.using(asking(Listed())):
        busauth_kit.revoke("alice")
    with pytest.raises(ConfigurationError, match="no guard in use asks"):
        busauth_kit.revoke("alice")


async def test_a_service_keeps_where_its_callers_tokens_go(busauth_kit: Kit) -> None:
    """Its own exchanger is asked for the handler's caller: the kit's issuer, where that is said."""
    issuer = busauth_kit.issuer
    idp = TokenExchange(
        issuer.url,
        client=ClientSecretBasic("orders", issuer.register("orders").secret),
        keys=StaticKeys(issuer.jwks()),
        endpoint=f"{issuer.url}/token",
        fetcher=Fetcher(transport=issuer.transport()),
        clock=busauth_kit.clock,
    )
    onward = {"stock": Onward(idp, audience="stock", scopes="stock:take")}
    guard = Guard(issuer=issuer.url, audience=issuer.audience)
    bus = Bus("amqp://nowhere.example/", guard=guard, service="orders", onward=onward)

    @bus.consumer("orders")
    async def place(order: Order) -> None:
        await bus.publish("stock", order)

    async with busauth_kit.using(bus), bus:
        await busauth_kit.declare("stock")
        sent = await busauth_kit.publish("orders", Order(id=1), scope="orders:write stock:take")
        await bus.idle()
        busauth_kit.assert_handled(sent)
    (stocked,) = busauth_kit.published("stock")
    assert stocked.by == "alice"
    assert [event.detail for event in busauth_kit.events if event.kind == "exchanged"] == [
        "Onward to stock, with stock:take"
    ]
