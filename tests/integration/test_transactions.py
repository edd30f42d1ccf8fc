"""A transaction from its edge through two services: on the bus, in letters, and back from there."""

import pytest

from busauth import Caller, NotGenuine, Publication
from busauth.delegation import Subject, TransactionTokens
from busauth.letters import Letters, Redrive, look
from busauth.testing import IssuerServer
from busauth.tokens import ClientSecretBasic, Decryption, TokenEncryption
from tests.parties import Scene
from tests.support import guard_for
from tests.transacting import EDGE, ORDERS, bus_of, proving
from tests.unit.encrypting import private_jwk

CART = {"cart": 7, "lines": [{"sku": "tea"}]}
SEEN = {"req_ip": "192.0.2.7", "session": "s-1"}
KEY = private_jwk("p256", "letters-1")


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_transaction_is_the_same_in_every_service(scene: Scene, is_named: bool) -> None:
    """Each reads its context from the token that came, bare and unmodified; nobody is asked."""
    orders, payments = scene.broker.name("orders"), scene.broker.name("payments")
    bus, seen = bus_of(scene, proving(ORDERS)), list[tuple[str, Caller, str]]()
    failed = list[str]()

    @bus.consumer(orders, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        seen.append(("orders", caller, caller.bearer()))
        await bus.publish(payments, b"{}")

    @bus.consumer(payments, scopes={"orders:write"})
    async def pay(caller: Caller) -> None:
        if not failed:  # a retry is a copy: it has the token as it came
            failed.append("once")
            raise LookupError
        seen.append(("payments", caller, caller.bearer()))

    raw = scene.issuer.transaction_token(
        "alice",
        iss=scene.issuer.url if is_named else None,
        scope="orders:write",
        tctx=CART,
        rctx=SEEN,
        txn="t-1",
    )
    async with bus, bus_of(scene, proving(EDGE)) as edge:
        await edge.publish(orders, b"{}", token=raw)
        handled = await scene.trail.until("handled", count=2)
    assert [where for where, *_ in seen] == ["orders", "payments"]
    for _, caller, token in seen:
        transaction = caller.transaction
        assert transaction is not None
        assert transaction.tctx["lines"][0]["sku"] == "tea"
        assert (transaction.rctx["session"], transaction.txn) == ("s-1", "t-1")
        assert (caller.subject, caller.issuer) == ("alice", scene.issuer.url)
        assert token == raw
    assert [event.transaction for event in handled] == ["t-1", "t-1"]


async def test_from_the_edge_to_two_services(scene: Scene) -> None:
    """One request to the service of the trust domain, at the edge; behind it nobody is asked."""
    scene.issuer.trust_domain = "shop.example"
    orders, payments = scene.broker.name("orders"), scene.broker.name("payments")
    with IssuerServer(scene.issuer) as server:
        gateway = scene.issuer.register("gateway")
        tokens = TransactionTokens(
            server.issuer.url,
            trust_domain="shop.example",
            client=ClientSecretBasic("gateway", gateway.secret),
            clock=scene.clock,
        )
        bus, seen = bus_of(scene, proving(ORDERS)), list[tuple[int, str, frozenset[str]]]()

        def note(caller: Caller) -> None:
            assert caller.transaction is not None
            said = caller.transaction
            seen.append((said.tctx["cart"], said.rctx["session"], caller.scopes))

        @bus.consumer(orders, scopes={"orders:write"})
        async def place(caller: Caller) -> None:
            note(caller)
            await bus.publish(payments, b"{}")

        @bus.consumer(payments, scopes={"orders:write"})
        async def pay(caller: Caller) -> None:
            note(caller)

        device = scene.issuer.token("alice", scope="orders:write profile:read")
        edge = guard_for(scene.issuer, scene.trail, clock=scene.clock)
        async with bus, bus_of(scene, proving(EDGE)) as publishing:
            caller = await edge.authenticate(f"Bearer {device}")
            given = await tokens.token_for(
                caller, scopes="orders:write", context=SEEN, details=CART
            )
            asked = len(server.received)
            await publishing.publish(orders, b"{}", token=given.token)
            await scene.trail.until("handled", count=2)
        assert seen == [(7, "s-1", frozenset({"orders:write"}))] * 2
        assert len(server.received) == asked
    told = [event.transaction for event in scene.trail.events if event.kind == "handled"]
    assert given.caller.transaction is not None
    assert told == [given.caller.transaction.txn] * 2


async def test_what_is_had_for_a_transaction_token_is_one_as_well(scene: Scene) -> None:
    """A token of another kind is not sent where transaction tokens travel, whoever gives it."""

    class Giving:
        async def token_for(self, _subject: Subject) -> str:
            return scene.issuer.token("alice")

    queue, raw = await scene.broker.declare("orders"), scene.issuer.transaction_token("alice")
    async with bus_of(scene, proving(EDGE)) as edge:
        with pytest.raises(NotGenuine, match=r"token\.type.*a transaction token to go on"):
            await edge.publish(queue, b"{}", token=raw, onward=Giving())
        with pytest.raises(NotGenuine, match=r"token\.type"):
            await edge.publish_many([Publication(queue, b"{}", token=raw, onward=Giving())])
    assert await scene.broker.count(queue) == 0


async def test_a_letter_names_its_transaction_and_goes_back_with_its_token(scene: Scene) -> None:
    """It keeps the token encrypted, and a redrive brings it back to the header that it came in."""
    queue = scene.broker.name("orders")
    bus = bus_of(scene, proving(ORDERS), letters=Letters(keep_token=KEY))
    raw, handled = scene.issuer.transaction_token("alice", txn="t-7"), list[str]()

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        if not scene.codes():
            raise LookupError
        handled.append(caller.bearer())

    async with bus, bus_of(scene, proving(EDGE)) as edge:
        await edge.publish(queue, b"{}", token=raw)
        refused = await scene.trail.until("refused")
        (letter,) = (await look(scene.broker.url, f"{queue}.dead")).letters
        assert (letter.transaction, letter.subject, letter.kept) == ("t-7", "alice", True)
        assert raw not in str(dict(letter.headers))
        await scene.clock.advance(1)
        told = await Redrive(scene.broker.url, guard=bus.guard, queue=queue).run()
        assert told.sent == 1, told
        await scene.trail.until("handled")
    assert handled == [raw]
    assert refused[0].transaction == "t-7"


async def test_a_transaction_token_travels_encrypted(scene: Scene) -> None:
    """In its own header, and the proof speaks of the token inside."""
    queue, seen = scene.broker.name("orders"), list[str]()
    bus = bus_of(scene, proving(ORDERS, decryption=Decryption([KEY])))

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        seen.append(caller.bearer())

    raw = scene.issuer.transaction_token("alice")
    async with bus, bus_of(scene, proving(EDGE, encryption=TokenEncryption({"shop": KEY}))) as edge:
        await edge.publish(queue, b"{}", token=raw)
        await scene.trail.until("handled")
    assert seen == [raw]
