"""Opaque tokens, sessions and live answers through a guard: the same callers, the same policies."""

import pytest

from busauth import Caller, ConfigurationError, Grace, Guard, StaticKeys, Verifier
from busauth.testing import Issuer, Kit, ManualClock
from busauth.tokens import ClientSecretBasic, Fetcher, Introspection, Session, Sessions
from tests.support import Order


class Store(dict[str, Session]):
    """Sessions by their ids."""

    async def find(self, session_id: str) -> Session | None:
        return self.get(session_id)


def introspection(issuer: Issuer, clock: ManualClock) -> Introspection:
    return Introspection(
        f"{issuer.url}/introspect",
        issuer=issuer.url,
        audience=issuer.audience,
        client=ClientSecretBasic(issuer.client.client_id, issuer.client.secret),
        fetcher=Fetcher(transport=issuer.transport()),
        clock=clock,
    )


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def guard(busauth_kit: Kit, store: Store) -> Guard:
    issuer, clock = busauth_kit.issuer, busauth_kit.clock
    keys = StaticKeys(issuer.jwks())
    own = Guard(
        Verifier(keys, issuer=issuer.url, audience=issuer.audience, leeway=0),
        Sessions(store, issuer="sessions", audience="shop", prefix="s.", clock=clock),
        introspection(issuer, clock),
        on_expired=Grace(minutes=10),
    )
    return own.replica(*own.verifiers, clock=clock, auditor=busauth_kit._decided)


async def test_each_kind_is_a_caller(busauth_kit: Kit, guard: Guard, store: Store) -> None:
    """A JWT, an opaque token and a session become callers; what is inactive does not."""
    bus, issuer = busauth_kit.bus(guard), busauth_kit.issuer
    seen: list[str] = []

    @bus.consumer("orders")
    async def handle(order: Order, caller: Caller) -> None:
        seen.append(caller.subject)

    store["s.1"] = Session(claims={"sub": "carol"}, ends_at=busauth_kit.clock.now() + 60)
    revoked = issuer.reference("eve")
    issuer.revoke(revoked)
    async with bus:
        for token in (issuer.token("ann"), issuer.reference("bob"), "s.1"):
            await busauth_kit.publish("orders", Order(id=1), token=token)
        inactive = await busauth_kit.publish("orders", Order(id=1), token=revoked)
        unknown = await busauth_kit.publish("orders", Order(id=1), token="s.2")
        await bus.idle()
    assert sorted(seen) == ["ann", "bob", "carol"]
    busauth_kit.assert_refused(inactive, "token.inactive")
    busauth_kit.assert_refused(unknown, "session.unknown")


async def test_a_session_that_ended_in_the_queue_is_late(
    busauth_kit: Kit, guard: Guard, store: Store
) -> None:
    """Grace counts for a session as it does for a token."""
    bus = busauth_kit.bus(guard)

    @bus.consumer("orders")
    async def handle(order: Order) -> None:
        del order

    await bus.declare()
    for number, lasts in enumerate((60.0, 600.0)):
        ends_at = busauth_kit.clock.now() + lasts
        store[f"s.{number}"] = Session(claims={"sub": "carol"}, ends_at=ends_at)
    early = await busauth_kit.publish("orders", Order(id=1), token="s.0")
    late = await busauth_kit.publish("orders", Order(id=1), token="s.1")
    await busauth_kit.clock.advance(minutes=12)
    async with bus:
        await bus.idle()
    busauth_kit.assert_refused(early, "token.expired")
    assert busauth_kit.assert_handled(late).late == 120


async def test_a_live_answer_for_those_who_say_so(busauth_kit: Kit, guard: Guard) -> None:
    """A JWT that its issuer has revoked is refused where the handler introspects, not elsewhere."""
    bus, issuer = busauth_kit.bus(guard), busauth_kit.issuer

    @bus.consumer("orders")
    async def handle(order: Order) -> None:
        del order

    @bus.consumer("payments", introspect=True)
    async def pay(order: Order) -> None:
        del order

    token, revoked = issuer.token(), issuer.token()
    issuer.revoke(revoked)
    async with bus:
        sent = [
            await busauth_kit.publish(queue, Order(id=1), token=each)
            for queue in ("orders", "payments")
            for each in (token, revoked)
        ]
        await bus.idle()
    for fine in sent[:3]:
        busauth_kit.assert_handled(fine)
    busauth_kit.assert_refused(sent[3], "token.inactive")


async def test_nobody_to_ask(busauth_kit: Kit) -> None:
    """`introspect=True` without anybody who could be asked is found at the decorator."""
    with pytest.raises(ConfigurationError, match="expected an Introspection among"):
        busauth_kit.guard()(queue="orders", introspect=True)(_handler)


async def _handler(order: Order) -> None:
    del order
