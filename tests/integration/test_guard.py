"""A guard on plain aio-pika consumers, and at the edge."""

import asyncio
from functools import partial
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import (
    ANONYMOUS,
    JWKS,
    Bus,
    BusOptions,
    Caller,
    ConfigurationError,
    Deferred,
    Forbidden,
    Grace,
    Guard,
    NotGenuine,
    OnError,
    StaticKeys,
    Untimely,
    Verifier,
)
from busauth.expiry import LateToken, Verdict
from busauth.testing import Issuer, ManualClock
from tests.support import LADDERS, Broker, Order, Trail, consuming, guard_for


async def test_a_decorated_function_is_an_aio_pika_callback(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """It consumes, publishes on behalf of its caller, and acknowledges."""
    guard = guard_for(issuer, trail)
    first, second = await broker.declare("first"), await broker.declare("second")
    seen: list[str] = []

    @guard(queue=first, scopes="orders:write")
    async def relay(message: AbstractIncomingMessage, caller: Caller, order: Order) -> None:
        """Relays."""
        exchange = broker.channel.default_exchange
        await guard.publish(exchange, aio_pika.Message(message.body), second)

    @guard(queue=second)
    async def end(order: Order, caller: Caller) -> None:
        seen.append(f"{caller.subject} {order.id}")

    async with consuming(broker, first, relay), consuming(broker, second, end):
        await broker.publish(first, token=issuer.token("ann", scope="orders:write"))
        await trail.until("handled", count=2)
    assert seen == ["ann 1"]
    assert (relay.__name__, relay.__doc__) == ("relay", "Relays.")
    await broker.settles_at(first, 0)


class Shelf:
    """A handler with what it needs."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def __call__(self, order: Order, caller: Caller) -> None:
        self._seen.append(f"shelf {caller.subject} {order.id}")


async def test_partials_and_objects_are_handlers(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What they have bound stays, and the rest is injected, on a plain consumer and on a bus."""
    seen: list[str] = []

    async def count(place: str, order: Order, caller: Caller, *, seen: list[str]) -> None:
        seen.append(f"{place} {caller.subject} {order.id}")

    guard = guard_for(issuer, trail)
    plain, own = await broker.declare("plain"), broker.name("own")
    bound = guard(queue=plain)(partial(count, "cellar", seen=seen))
    bus = Bus(broker.url, guard=guard, service="test", options=BusOptions(retry=LADDERS[1]))
    kept = bus.consumer(own)(Shelf(seen))
    async with consuming(broker, plain, bound), bus:
        for queue in (plain, own):
            await broker.publish(queue, token=issuer.token("ann"))
        await trail.until("handled", count=2)
    assert sorted(seen) == ["cellar ann 1", "shelf ann 1"]
    assert (bound.__name__, kept.__name__) == ("count", "Shelf")
    assert kept.__doc__ == "A handler with what it needs."


async def test_a_guarded_handler_is_not_called_directly(issuer: Issuer, trail: Trail) -> None:
    """Calling it is an error that names the bare function, which tests may call."""
    guard = guard_for(issuer, trail)

    @guard(queue="orders")
    async def place(order: Order) -> None:
        order.id += 1

    order = Order(id=1)
    with pytest.raises(TypeError, match=r"place.handler"):
        await place(order)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match=r"place.handler"):
        await place(order, None)  # type: ignore[arg-type]  # on purpose
    await place.handler(order)
    assert order.id == 2


async def test_consuming_without_acknowledgements_is_refused(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """With no_ack nothing could be given back, so no handler runs."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    seen: list[Caller] = []

    @guard(queue=queue)
    async def handle(caller: Caller) -> None:
        seen.append(caller)

    channel = await broker.connection.channel()
    source = await channel.get_queue(queue)
    await source.consume(handle, no_ack=True)
    await broker.publish(queue, token=issuer.token())
    async with asyncio.timeout(10):
        while "no_ack" not in caplog.text:
            await asyncio.sleep(0.01)
    await channel.close()
    assert not seen


async def test_what_a_handler_settled_is_left_alone(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A message that its handler settled is recorded, not settled twice."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")

    @guard(queue=queue)
    async def handle(message: AbstractIncomingMessage) -> None:
        await message.ack()
        if message.body == b"fail":
            raise LookupError

    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=issuer.token())
        await broker.publish(queue, b"fail", token=issuer.token())
        events = await trail.until("settled-by-handler", count=2)
    assert [event.code for event in events] == [None, "handler.failed"]
    await broker.settles_at(f"{queue}.dead", 0)


@pytest.mark.parametrize("on_error", list(OnError))
async def test_on_error(on_error: OnError, broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """A handler that raises dead-letters, or gives back, as declared."""
    guard = guard_for(issuer, trail)
    queue = await broker.declare("orders")
    failures = 0

    @guard(queue=queue, on_error=on_error)
    async def handle(order: Order) -> None:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise LookupError

    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=issuer.token())
        dead = on_error is OnError.DEAD_LETTER
        await trail.until("refused" if dead else "handled")
        if not dead:  # the copy may be handled before its original is acknowledged
            await trail.until("retried")
    await broker.settles_at(f"{queue}.dead", 1 if dead else 0)
    assert failures == (1 if dead else 2)


async def test_an_auditor_that_fails_changes_no_decision(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged, the message handled."""

    def broken(event: object) -> None:
        raise RuntimeError("audit store is full")

    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience="shop")
    guard = Guard(verifier, auditor=broken)
    queue = await broker.declare("orders")
    done = asyncio.Event()

    @guard(queue=queue)
    async def handle(caller: Caller) -> None:
        done.set()

    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=issuer.token())
        await asyncio.wait_for(done.wait(), 10)
    assert "audit store is full" in caplog.text


async def test_the_default_auditor_logs_refusals(
    broker: Broker, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an auditor a refusal is a warning that tells queue, subject and code."""
    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience="shop")
    guard = Guard(verifier)
    queue = await broker.declare("orders")

    @guard(queue=queue, scopes={"w"})
    async def handle(caller: Caller) -> None:
        pass

    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=issuer.token("ann"))
        await broker.settles_at(f"{queue}.dead", 1)
    assert f"refused queue={queue}" in caplog.text
    assert "subject=ann code=caller.scope" in caplog.text


async def test_the_edge_verifies_a_request(clock: ManualClock, trail: Trail) -> None:
    """An Authorization value becomes a caller, or a refusal with its status; never late."""
    own = Issuer(algorithm="ES256", clock=clock)
    guard = guard_for(own, trail, clock=clock, on_expired=Grace(hours=1))
    token = own.token("ann", scope="a b", roles=["customer"])
    caller = await guard.authenticate(f"Bearer {token}", scopes="a", roles={"customer"})
    assert (caller.subject, caller.bearer()) == ("ann", token)
    with pytest.raises(Forbidden) as forbidden:
        await guard.authenticate(f"bearer {token}", scopes={"admin"})
    with pytest.raises(NotGenuine) as missing:
        await guard.authenticate(None)
    await clock.advance(own.lifetime)
    with pytest.raises(Untimely) as late:
        await guard.authenticate(f"Bearer {token}")
    found = [(error.value.status, error.value.code) for error in (forbidden, missing, late)]
    assert found == [(403, "caller.scope"), (401, "header.missing"), (401, "token.expired")]


async def test_a_mistake_in_a_policy_at_the_edge_is_logged(
    clock: ManualClock, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal says whose it was, and the log has the traceback, as at a queue."""
    own = Issuer(algorithm="ES256", clock=clock)
    guard, token = guard_for(own, trail, clock=clock), own.token("ann")
    await clock.advance(own.lifetime)

    async def lenient(late: LateToken) -> Verdict:
        raise AttributeError("no claims")

    with pytest.raises(Untimely, match="got AttributeError in lenient, expected a verdict"):
        await guard.authenticate(f"Bearer {token}", on_expired=lenient)
    (line,) = [line for line in caplog.records if line.exc_info]
    assert "at the edge: token.expired: got AttributeError in lenient" in line.getMessage()
    assert "no claims" in caplog.text


async def test_the_edge_cannot_tell_without_keys() -> None:
    """With the issuer out of reach a request is neither accepted nor refused."""
    issuer = Issuer("http://127.0.0.1:9", algorithm="ES256")
    guard = Guard(issuer=issuer.url, audience="shop")
    with pytest.raises(Deferred, match="out of reach"):
        await guard.authenticate(f"Bearer {issuer.token()}")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"issuer": "https://a.test"},
        {"audience": "shop"},
        {"issuer": "http://a.test", "audience": "shop"},
        {"issuer": "https://a.test", "audience": "shop", "on_expired": []},
        {"issuer": "https://a.test", "audience": "shop", "on_expired": Grace(hours=25)},
    ],
    ids=str,
)
def test_a_guard_that_cannot_work_is_told_at_once(arguments: dict[str, Any]) -> None:
    """Arguments that do not go together are an error when the guard is made."""
    with pytest.raises(ConfigurationError):
        Guard(**arguments)


def test_verifiers_or_an_issuer_not_both(issuer: Issuer) -> None:
    """A guard takes one way of saying whom it trusts."""
    verifier = Verifier(JWKS("https://a.test/jwks"), issuer="https://a.test", audience="shop")
    with pytest.raises(ConfigurationError, match="not both"):
        Guard(verifier, issuer="https://b.test", audience="shop")


async def test_publishing_to_something_that_is_no_exchange(issuer: Issuer, trail: Trail) -> None:
    """The error says what was expected."""
    guard = guard_for(issuer, trail)
    with pytest.raises(TypeError, match="exchange"):
        await guard.publish("orders", aio_pika.Message(b""), "key", token=ANONYMOUS)  # type: ignore[arg-type]  # on purpose


def test_revocations_that_would_have_to_be_awaited_are_refused(issuer: Issuer) -> None:
    """An asynchronous answer would be taken for a yes, for every message."""

    class Asks:
        async def revoked(self, caller: Caller, now: float) -> bool:
            return False

    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience="shop")
    with pytest.raises(ConfigurationError, match="not async"):
        Guard(verifier, revocations=Asks())  # type: ignore[arg-type]  # on purpose


async def test_revocations_that_are_empty_are_asked_all_the_same(
    clock: ManualClock, trail: Trail
) -> None:
    """A collection that counts as false for now is still the one that knows."""

    class Known(set[str]):
        def revoked(self, caller: Caller, now: float) -> bool:
            return caller.subject in self

    own, known = Issuer(algorithm="ES256", clock=clock), Known()
    guard = guard_for(own, trail, clock=clock, revocations=known)
    await guard.authenticate(f"Bearer {own.token('eve')}")
    known.add("eve")
    with pytest.raises(Untimely, match=r"token\.revoked"):
        await guard.authenticate(f"Bearer {own.token('eve')}")


async def test_revocations_out_of_reach_defer(clock: ManualClock, trail: Trail) -> None:
    """A connection that fails while asking is nobody's fault."""

    class Broken:
        def revoked(self, caller: Caller, now: float) -> bool:
            raise ConnectionError

    own = Issuer(algorithm="ES256", clock=clock)
    guard = guard_for(own, trail, clock=clock, revocations=Broken())
    with pytest.raises(Deferred, match="out of reach"):
        await guard.authenticate(f"Bearer {own.token()}")


def test_positional_strings_are_no_verifiers() -> None:
    """The error says how a guard is made."""
    with pytest.raises(ConfigurationError, match=r"issuer=\.\.\., audience=\.\.\."):
        Guard("https://idp.example", "shop")  # type: ignore[arg-type]  # on purpose
