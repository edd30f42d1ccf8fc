"""Buses that send other tokens on, as they are, on a kit: its issuer gives those."""

import asyncio
from typing import Any

import pytest

from busauth import JWKS, Bus, Caller, ConfigurationError, Guard, Verifier
from busauth.caller import Lease
from busauth.delegation import Exchange, Onward, TokenExchange, TransactionTokens, Voucher
from busauth.integrations.httpx import CallerAuth
from busauth.messages import MessageSecurity, Proofs, ProofSigner
from busauth.testing import Kit
from busauth.testing.tasks import _WatchedLease
from busauth.tokens import TRANSACTION, ClientSecretBasic
from tests.kit.shop import Order
from tests.parties import Party

IDP, HOURS = "https://idp.example", 3600.0


def guard_of(audience: str, **more: object) -> Guard:
    """Return a service's guard as it is in production."""
    return Guard(issuer=IDP, audience=audience, **more)  # type: ignore[arg-type]


def idp_for(service: str) -> TokenExchange:
    """Return a service's own exchange, which no test could reach."""
    return TokenExchange(IDP, client=ClientSecretBasic(service, "unknown"), acts=True)


class Paid(list[tuple[str, list[str], list[str]]]):
    """What payments held, of whom."""

    def bus(self) -> Bus:
        """Return the service."""
        bus = Bus("amqp://nowhere/", guard=guard_of("payments"), service="payments")

        @bus.consumer("payments.due", scopes={"payments:take"}, actors={"orders"})
        async def take(order: Order, caller: Caller) -> None:
            del order
            actors = [actor.subject or "" for actor in caller.actors]
            self.append((caller.subject, sorted(caller.scopes), actors))

        return bus


def ordering(idp: TokenExchange) -> Bus:
    """Return a service that has payments paid."""
    onward = {"payments.due": Onward(idp, audience="payments", scopes={"payments:take"})}
    bus = Bus("amqp://nowhere/", guard=guard_of("shop"), service="orders", onward=onward)

    @bus.consumer("orders.placed", scopes={"orders:write"})
    async def place(order: Order) -> None:
        await bus.publish("payments.due", order)

    return bus


BOTH = "orders:write payments:take"


async def test_a_chain_narrows_what_it_holds(busauth_kit: Kit) -> None:
    """Two services' buses as they are: the second gets its own token, with who acts."""
    kit, paid, idp = busauth_kit, Paid(), idp_for("orders")
    orders, payments = ordering(idp), paid.bus()
    async with kit.answering(idp), kit.using(payments), kit.using(orders), payments, orders:
        sent = await kit.publish("orders.placed", Order(id=1), scope=BOTH)
        await orders.idle()
        await payments.idle()
        kit.assert_handled(sent)
    assert paid == [("alice", ["payments:take"], ["orders"])]


async def test_what_a_caller_cannot_hand_on(busauth_kit: Kit) -> None:
    """A server's no is told with what it was asked for, where a scope is missing."""
    kit, idp = busauth_kit, idp_for("orders")
    orders = ordering(idp)
    async with kit.answering(idp), kit.using(orders), orders:
        sent = await kit.publish("orders.placed", Order(id=1), scope="orders:write")
        await orders.idle()
        kit.assert_refused(sent, "handler.rejected")
    (told,) = [step.why for step in kit.story(sent).steps if step.what == "refused"]
    assert "got invalid_scope, expected a token for payments with payments:take" in told


def test_who_is_asked_says_not_what_for() -> None:
    """An exchange in place of an `Onward` is found as a bus or a client is made."""
    said: Any = {"b": idp_for("a")}
    with pytest.raises(ConfigurationError, match=r"onward: got <TokenExchange .* Onward\("):
        Bus("amqp://nowhere/", guard=guard_of("a"), service="a", onward=said)
    with pytest.raises(ConfigurationError, match=r"CallerAuth.* got <TokenExchange"):
        CallerAuth(hosts=["https://b.example"], onward=said["b"])


async def test_the_issuer_down_and_back(busauth_kit: Kit) -> None:
    """What `answering` hands out takes the issuer away, for whoever asks it for tokens."""
    kit, paid, idp = busauth_kit, Paid(), idp_for("orders")
    orders, payments = ordering(idp), paid.bus()
    async with kit.using(payments), kit.using(orders), kit.answering(idp) as asked, payments:
        asked.down = True
        sent = await kit.publish("orders.placed", Order(id=1), scope=BOTH)
        async with orders:
            while not any(step.what == "deferred" for step in kit.story(sent).steps):
                await asyncio.sleep(0)
            asked.down = False
            await kit.clock.advance(minutes=1)
            await orders.idle()
            await payments.idle()
    (why,) = {step.why for step in kit.story(sent).steps if step.what == "deferred"}
    assert why.startswith(f"the token endpoint of {IDP}: ")
    assert len(paid) == 1


async def test_an_exchange_that_takes_no_late_tokens(busauth_kit: Kit) -> None:
    """A late token's refusal says what an `Exchange` lacks that could have it exchanged."""
    kit, idp = busauth_kit, idp_for("orders")
    bus = Bus("amqp://nowhere/", guard=guard_of("shop", on_expired=Exchange(idp)), service="a")

    @bus.consumer("orders.placed")
    async def place(order: Order) -> None:
        raise AssertionError(order)

    async with kit.answering(idp) as asked, kit.using(bus):
        sent = await kit.publish("orders.placed", Order(id=1))
        await kit.clock.advance(hours=1)
        async with bus:
            await bus.idle()
    assert "late=True" in (kit.assert_refused(sent, "token.expired").detail or "")
    assert asked.received == []


def asking_for_reports(idp: TokenExchange, signer: ProofSigner) -> Bus:
    """Return a service whose messages wait for the night, on vouchers."""
    voucher = Voucher(idp, audience="reports-vouchers", hours=24)
    return Bus(
        "amqp://nowhere/",
        guard=guard_of("shop", messages=MessageSecurity(signer=signer)),
        service="orders",
        onward={"reports.due": voucher},
    )


async def test_work_that_waits_on_a_voucher(busauth_kit: Kit) -> None:
    """Twenty hours pass in the queue, and ten minutes in the handler: both have a fresh token."""
    kit, asking, writing = busauth_kit, idp_for("orders"), idp_for("reports")
    party, had = Party("orders"), list[tuple[str, str]]()
    proofs = Proofs([party.publisher()], max_age=24 * HOURS)
    admits = Exchange(writing, vouchers="reports-vouchers")
    guard = guard_of("reports", on_expired=admits, messages=MessageSecurity(proofs=proofs))
    orders = asking_for_reports(asking, party.signer)
    reports = Bus("amqp://nowhere/", guard=guard, service="reports")

    @reports.consumer("reports.due", scopes={"reports:write"})
    async def write(caller: Caller) -> None:
        first = caller.bearer()
        await kit.clock.advance(minutes=10)  # longer than its token lives
        had.append((first, await caller.fresh()))

    async with kit.answering(asking, writing), kit.using(reports), kit.using(orders), orders:
        await kit.clock.advance(hours=1)  # ahead of the machine's clock
        with kit.acting_as("alice", scope="reports:write", aud="shop"):
            await orders.publish("reports.due", Order(id=1))
        await kit.clock.advance(hours=20)
        async with reports:
            await reports.idle()
    ((first, second),) = had
    assert first != second
    assert kit.issuer.introspect(second)["aud"] == "reports"


def test_a_voucher_that_nobody_would_take(caplog: pytest.LogCaptureFixture) -> None:
    """A bus that sends vouchers and signs nothing is told so as it is made."""
    voucher = Voucher(idp_for("orders"), audience="reports-vouchers")
    signs = MessageSecurity(signer=Party("orders").signer)
    for guard in (guard_of("shop", messages=signs), guard_of("shop")):
        assert caplog.messages == []
        Bus("amqp://nowhere/", guard=guard, service="orders", onward={"reports.due": voucher})
    assert "reports.due gets vouchers, and no proof" in caplog.text


async def test_an_edge_has_a_transaction_begun(busauth_kit: Kit) -> None:
    """What an edge has of the kit's issuer goes on from handler to handler as what it is."""
    kit, met = busauth_kit, list[str]()
    client = ClientSecretBasic("gateway", "unknown")
    service = TransactionTokens(IDP, trust_domain="shop.example", client=client)
    inner = Verifier(JWKS(f"{IDP}/jwks"), issuer=IDP, audience="shop.example", profile=TRANSACTION)
    bus = Bus("amqp://nowhere/", guard=Guard(inner), service="orders")

    @bus.consumer("orders.placed", scopes={"orders:write"})
    async def place(order: Order) -> None:
        await bus.publish("stock.due", order)

    @bus.consumer("stock.due")
    async def reserve(caller: Caller) -> None:
        assert caller.transaction is not None
        met.append(caller.transaction.tctx["cart"])

    kit.issuer.trust_domain = "shop.example"
    async with kit.answering(service):
        caller = await kit.guard().authenticate(
            f"Bearer {kit.issuer.token('alice', scope='orders:write')}"
        )
        given = await service.token_for(caller, scopes="orders:write", details={"cart": "c1"})
        async with kit.using(bus), bus:
            await bus.publish("orders.placed", Order(id=1), token=given.token)
            await bus.idle()
    assert met == ["c1"]


async def test_one_kit_has_one_issuer(busauth_kit: Kit) -> None:
    """Whoever asks another issuer is told so, and what to do."""
    other = TokenExchange("https://other.example", client=ClientSecretBasic("orders", "unknown"))
    with pytest.raises(
        ConfigurationError, match=r"other\.example.* expected it to ask https://idp"
    ):
        async with busauth_kit.answering(idp_for("orders"), other):
            raise AssertionError
    assert other.client_id == "orders"


def test_a_watched_lease_is_the_handlers_own() -> None:
    """Whatever a lease can say or do, the one that a kit looks at says and does likewise."""
    said = {name for name in vars(Lease) if not name.startswith("_")} - {*Lease.__slots__}
    assert said <= vars(_WatchedLease).keys()
