"""A service on the bus: publishing, retrying, dead-lettering, starting and stopping."""

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field

from busauth import (
    ANONYMOUS,
    Binding,
    Bus,
    BusOptions,
    Caller,
    CallerError,
    ConfigurationError,
    ConsumerOptions,
    Deferred,
    Discard,
    Grace,
    GuardOptions,
    NotGenuine,
    PublishError,
    Reject,
    Restrict,
    RetryOptions,
    Untimely,
)
from busauth._amqp import headers
from busauth._amqp.topology import arguments_of
from busauth.expiry import Accept, LateToken
from busauth.letters import dead_letters
from busauth.testing import Issuer
from tests.support import LADDERS, Broker, Order, Trail, guard_for, publish_raw

QUICK = BusOptions(retry=RetryOptions(limit=3, first=0.05))


async def test_a_chain_carries_the_caller_along(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What a handler publishes is published for its caller, hop by hop, over an exchange too."""
    names = [broker.name(step) for step in ("one", "two", "three")]
    exchange = broker.name("events")
    bus = Bus(url, guard=guard_for(issuer, trail), service="chain")
    seen: list[tuple[str, str, int]] = []

    @bus.consumer(names[0], scopes={"orders:write"})
    async def one(order: Order, caller: Caller) -> None:
        seen.append(("one", caller.subject, order.id))
        await bus.publish(names[1], order)

    @bus.consumer(names[1])
    async def two(order: Order, caller: Caller) -> None:
        seen.append(("two", caller.subject, order.id))
        await bus.publish("order.done", order, exchange=exchange)

    @bus.consumer(names[2], bindings=[Binding(exchange, "order.*")])
    async def three(order: Order, caller: Caller) -> None:
        seen.append(("three", caller.subject, order.id))

    async with bus:
        await bus.publish(names[0], Order(id=7), token=issuer.token("ann", scope="orders:write"))
        await trail.until("handled", count=3)
    assert seen == [("one", "ann", 7), ("two", "ann", 7), ("three", "ann", 7)]
    async with await broker.connection.channel() as channel:
        await channel.exchange_delete(exchange)


class Remark(BaseModel):
    """A body whose field has another name on the wire."""

    note: str | None = Field(None, alias="remark")


class Total(BaseModel):
    """A body that takes nothing but its fields."""

    model_config = ConfigDict(extra="forbid")
    price: int

    @computed_field
    def doubled(self) -> int:
        return 2 * self.price


class Secret(BaseModel):
    """A body that pydantic does not write as it is."""

    word: SecretStr


async def test_what_is_published_comes_back_equal(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A handler has the model that was published; one that cannot be written is never sent."""
    remarks, totals, secrets = (broker.name(each) for each in ("remarks", "totals", "secrets"))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)
    seen: list[BaseModel] = []

    @bus.consumer(remarks)
    async def remarked(body: Remark, caller: Caller) -> None:
        seen.append(body)
        await bus.publish(totals, Total(price=2))

    @bus.consumer(totals)
    async def summed(body: Total, caller: Caller) -> None:
        seen.append(body)
        with pytest.raises(PublishError, match=r"Secret\.word"):
            await bus.publish(secrets, Secret(word=SecretStr("x")))

    @bus.consumer(secrets)
    async def told(body: Secret, caller: Caller) -> None:
        seen.append(body)

    async with bus:
        await bus.publish(remarks, Remark(remark="hello"), token=issuer.token())
        await trail.until("handled", count=2)
    assert seen == [Remark(remark="hello"), Total(price=2)]


async def test_a_failed_message_climbs_the_ladder_with_its_token(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A failing handler gets its message again, limit times, and then it is a dead letter."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)
    attempts: list[tuple[str, Any]] = []

    @bus.consumer(queue)
    async def fail(message: aio_pika.abc.AbstractIncomingMessage, caller: Caller) -> None:
        attempts.append((caller.subject, message.headers.get(headers.ATTEMPT)))
        assert message.headers["kept"] == "yes"
        raise LookupError("not today")

    async with bus:
        await broker.publish(queue, token=issuer.token("bob"), headers={"kept": "yes"})
        await trail.until("refused")
        rungs = {e.detail for e in trail.events if e.kind == "retried"}
    assert attempts == [("bob", None), ("bob", 1), ("bob", 2), ("bob", 3)]
    assert all(str(rung).startswith(f"{queue}.retry.") for rung in rungs)
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.REFUSAL] == "handler.failed"
    assert letter.headers[headers.DETAIL] == "handler.failed: got LookupError: not today"
    assert "authorization" not in letter.headers


async def test_a_retried_message_meets_the_expiry_policy_again(
    broker: Broker, trail: Trail, url: str
) -> None:
    """A token that expires between two attempts is judged late at the second."""
    own = Issuer(algorithm="ES256")
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=3, first=1.2))
    bus = Bus(url, guard=guard_for(own, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def fail(order: Order, caller: Caller) -> None:
        raise LookupError

    async with bus:
        await bus.publish(queue, Order(id=1), token=own.token(exp=time.time() + 1))
        (refused,) = await trail.until("refused")
    assert (refused.code, trail.kinds(queue).count("retried")) == ("token.expired", 1)


async def test_retries_survive_a_restart_of_the_service(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What waits for its next attempt waits in the broker."""
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=3, first=0.5))
    fail = True
    for _ in range(2):
        bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller, *, fail: bool = fail) -> None:
            if fail:
                raise LookupError

        async with bus:
            if fail:
                await bus.publish(queue, Order(id=1), token=issuer.token())
            await trail.until("retried" if fail else "handled")
        fail = False


async def test_reject_skips_the_ladder(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A handler that knows better sends its message to the dead letters at once, and says why."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        raise Reject("card declined")

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("refused")
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.DETAIL] == "handler.rejected: got card declined"
    assert "retried" not in trail.kinds()


@pytest.mark.parametrize("kind", [asyncio.CancelledError, LookupError])
async def test_each_failed_attempt_is_logged(
    kind: type[BaseException],
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever a handler raises is told at its first attempt, a cancellation of its own as well."""
    queue = broker.name("orders")
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders", options=QUICK)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        raise kind

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("retried")
    (line, *_) = [each for each in caplog.records if "a handler failed" in each.getMessage()]
    assert kind.__name__ in line.getMessage()
    assert line.exc_info is not None


GROUPS: dict[str, tuple[BaseException, str]] = {
    "one rejection": (ExceptionGroup("", [Reject("no")]), "handler.rejected: got no"),
    "a rejection among failures": (
        ExceptionGroup("", [LookupError("x"), ExceptionGroup("", [OSError(), Reject("no")])]),
        "handler.rejected: got no",
    ),
    "of base exceptions": (
        BaseExceptionGroup("", [asyncio.CancelledError(), Reject("no")]),
        "handler.rejected: got no",
    ),
    "of cancellations": (
        BaseExceptionGroup("", [asyncio.CancelledError()]),
        "handler.failed: got CancelledError, raised in it or by what it awaited: nobody cancelled "
        "the handler",
    ),
    "of a failure": (ExceptionGroup("", [LookupError("x")]), "handler.failed: got LookupError: x"),
    "of failures": (
        ExceptionGroup("", [LookupError("x"), OSError()]),
        "handler.failed: got LookupError: x, and 1 more",
    ),
}


@pytest.mark.parametrize(("group", "detail"), GROUPS.values(), ids=GROUPS)
async def test_what_a_group_holds_decides(
    group: BaseException, detail: str, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A group is looked into: a `Reject` in it rejects, all else fails by what was raised."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        raise group

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("refused")
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.DETAIL] == detail
    assert trail.kinds().count("retried") == (0 if "rejected" in detail else QUICK.retry.limit)


async def test_reject_in_a_task_group_skips_the_ladder(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A task of the handler's may reject the message, as its handler may."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=QUICK)

    async def charge() -> None:
        raise Reject("card declined")

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(charge())
            tasks.create_task(asyncio.Event().wait())

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("refused")
    assert "retried" not in trail.kinds()


async def test_something_awaited_that_was_cancelled_is_a_failure(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A cancellation that comes from inside the handler does not leave the message hanging."""
    queue = broker.name("orders")
    options = BusOptions(retry=RetryOptions(limit=0))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token())
        await trail.until("refused")
    await broker.settles_at(f"{queue}.dead", 1)


class Panic(BaseException):
    """What a native extension raises."""


class MuteError(Exception):
    """An error whose own words fail."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [Panic(), MuteError(), BaseExceptionGroup("several", [Panic()])])
async def test_whatever_a_handler_raises_the_message_is_settled(
    error: BaseException, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """An exception of any kind is a failure, and the next message is handled."""
    queue = broker.name("orders")
    options = BusOptions(prefetch=1, retry=RetryOptions(limit=0))
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        if order.id == 1:
            raise error

    async with bus:
        for number in (1, 2):
            await bus.publish(queue, Order(id=number), token=issuer.token())
        await trail.until("handled")
    letter = await broker.one(f"{queue}.dead")
    assert letter.headers[headers.REFUSAL] == "handler.failed"


async def test_a_policy_whose_wait_was_cancelled_does_not_hold_the_message(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A cancellation from inside a check refuses, as any error does."""
    queue = broker.name("orders")

    async def asks_a_closing_pool(late: LateToken) -> None:
        raise asyncio.CancelledError

    guard = guard_for(issuer, trail, on_expired=asks_a_closing_pool)
    bus = Bus(url, guard=guard, service="orders", options=BusOptions(prefetch=1))

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        pass

    async with bus:
        await broker.publish(queue, token=issuer.token(exp=int(time.time()) - 60))
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled")
    assert (await broker.one(f"{queue}.dead")).headers[headers.REFUSAL] == "check.failed"


async def test_a_policy_that_gives_no_answer_is_out_of_reach_at_the_edge(
    issuer: Issuer, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has as long as in a consumer, and whoever asked may ask again."""
    monkeypatch.setattr("busauth._decision._POLICY_SECONDS", 0.05)

    async def hangs(late: LateToken) -> Accept:
        await asyncio.Event().wait()
        return Accept()

    late = issuer.token(exp=int(time.time()) - 60)
    with pytest.raises(Deferred, match="no decision in"):
        await guard_for(issuer, trail).authenticate(f"Bearer {late}", on_expired=hangs)


async def test_a_policy_that_gives_no_answer_is_out_of_reach(
    broker: Broker, issuer: Issuer, trail: Trail, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that hangs defers its message after a while; it is asked again."""
    monkeypatch.setattr("busauth._decision._POLICY_SECONDS", 0.05)
    queue = broker.name("orders")
    asked = 0

    async def hangs_once(late: LateToken) -> Accept:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        return Accept()

    options = GuardOptions(pause_first=0.05)
    guard = guard_for(issuer, trail, on_expired=hangs_once, options=options)
    bus = Bus(url, guard=guard, service="orders")

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        pass

    async with bus:
        await broker.publish(queue, token=issuer.token(exp=int(time.time()) - 60))
        (deferred,) = await trail.until("deferred")
        await trail.until("handled")
    assert "no decision in" in str(deferred.detail)


async def test_a_body_beyond_the_limit_is_not_parsed(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A handler that takes a model takes it up to a size; a message is taken as it is."""
    typed, raw = broker.name("typed"), broker.name("raw")
    guard = guard_for(issuer, trail, options=GuardOptions(max_body_bytes=100))
    bus = Bus(url, guard=guard, service="orders")

    @bus.consumer(typed)
    async def model(order: Order) -> None:
        pass

    @bus.consumer(raw)
    async def message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        pass

    async with bus:
        for queue in (typed, raw):
            await broker.publish(queue, b'{"id": 1}'.ljust(101), token=issuer.token())
        await trail.until("handled")
        await trail.until("refused")
    assert (await broker.one(f"{typed}.dead")).headers[headers.REFUSAL] == "body.too_large"


@pytest.mark.long
async def test_an_unreadable_dead_letter_is_told(broker: Broker, url: str) -> None:
    """A letter without readable properties is one of the letters, with its body and a code."""
    queue = await broker.declare("orders")
    dead = f"{queue}.dead"
    await broker.publish(dead, b"one")
    await publish_raw(url, dead, 0x0040, b"\xff" * 8)  # a timestamp beyond any date
    await broker.publish(dead, b"three")
    await broker.settles_at(dead, 3)
    letters = await dead_letters(url, dead)
    assert {(letter.code, letter.body) for letter in letters} == {
        (None, b"one"),
        ("message.unreadable", b"{}"),
        (None, b"three"),
    }
    await broker.settles_at(dead, 3)


async def test_listing_dead_letters_neither_loses_nor_reorders_them(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Thirty looks at the dead letters, given back or cut off, leave them as they were."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")

    @bus.consumer(queue, scopes={"w"})
    async def handle(order: Order) -> None:
        pass

    async with bus:
        token = issuer.token("ann")
        for number in range(100):
            await bus.publish(queue, Order(id=number), token=token)
        await trail.until("refused", count=100)
    dead = f"{queue}.dead"
    await broker.settles_at(dead, 100)
    expected = [letter.body for letter in await dead_letters(url, dead)]
    assert len(expected) == 100
    for number in range(30):
        looked = await dead_letters(url, dead, limit=50 if number % 2 else 1000)
        assert [letter.body for letter in looked] == expected[: len(looked)]
        assert len(looked) == (50 if number % 2 else 100)
        await broker.settles_at(dead, 100)
    assert {(x.code, x.subject, x.queue) for x in looked} == {("caller.scope", "ann", queue)}


async def test_a_look_at_nothing(broker: Broker, url: str) -> None:
    """An empty queue has no letters, one that does not exist is an error."""
    queue = await broker.declare("orders")
    assert await dead_letters(url, f"{queue}.dead") == []
    with pytest.raises(ConfigurationError, match=r"nowhere' is not there .*check the name"):
        await dead_letters(url, broker.name("nowhere"))


async def test_rejected_messages_are_bounded(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A flood of forged messages keeps the newest, up to the limit."""
    queue = broker.name("orders")
    options = BusOptions(rejected_limit=5)
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=options)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        pass

    async with bus:
        for number in range(20):
            await bus.publish(queue, Order(id=number), token=ANONYMOUS)
        await trail.until("refused", count=20)
    await broker.settles_at(f"{queue}.rejected", 5)


async def test_policies_of_every_kind(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Restrict takes scopes, roles and the token away; Discard acknowledges and tells."""
    restricted, discarded = broker.name("restricted"), broker.name("discarded")
    guard = guard_for(issuer, trail, on_expired=Restrict({"read"}))
    bus = Bus(url, guard=guard, service="late", options=QUICK)
    seen: list[Caller] = []
    refusals: list[str] = []

    @bus.consumer(restricted, scopes={"read"})
    async def reads(order: Order, caller: Caller) -> None:
        seen.append(caller)
        for act in (caller.bearer, lambda: bus.publish(discarded, order)):
            try:
                result = act()
                if not isinstance(result, str):
                    await result
            except CallerError as error:
                refusals.append(str(error))

    @bus.consumer(discarded, on_expired=Discard())
    async def never(order: Order) -> None:
        raise AssertionError

    late = issuer.token(scope="read write", roles=["boss"], exp=int(time.time()) - 5)
    async with bus:
        await broker.publish(restricted, token=late)
        await broker.publish(discarded, token=late)
        await trail.until("handled")
        await trail.until("discarded")
    assert seen[0].scopes == {"read"}
    assert not seen[0].roles
    assert seen[0].late is not None
    assert seen[0].late.restricted
    assert len(refusals) == 2
    assert all("less authority" in refusal for refusal in refusals)
    for name in (discarded, f"{discarded}.dead"):
        await broker.settles_at(name, 0)


async def test_the_operators_word_counts_above_the_decorators(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What the guard's options say about a queue replaces what its decorator says."""
    queue = broker.name("orders")
    options = GuardOptions(consumers={queue: ConsumerOptions(on_expired=Grace(hours=1))})
    bus = Bus(url, guard=guard_for(issuer, trail, options=options), service="orders")

    @bus.consumer(queue, on_expired=Discard())
    async def handle(order: Order) -> None:
        pass

    async with bus:
        await broker.publish(queue, token=issuer.token(exp=int(time.time()) - 60))
        await trail.until("handled")


@pytest.mark.parametrize(
    ("token", "error"),
    [("not a token", NotGenuine), ("a.b.c", NotGenuine), ("Bearer a.b.c", NotGenuine)],
)
async def test_the_edge_refuses_malformed_tokens(
    token: str, error: type[Exception], broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A token that could only be refused later is refused before it is published."""
    async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
        with pytest.raises(error):
            await bus.publish("anywhere", b"", token=token)


async def test_the_edge_refuses_expired_tokens_and_nobody(
    issuer: Issuer, trail: Trail, url: str
) -> None:
    """An expired token, and no identity that was not said out loud, are not published."""
    async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
        with pytest.raises(Untimely) as expired:
            await bus.publish("anywhere", b"", token=issuer.token(exp=int(time.time()) - 1))
        with pytest.raises(CallerError, match="ANONYMOUS"):
            await bus.publish("anywhere", b"")
    assert expired.value.code == "token.expired"


async def test_what_cannot_be_sent_is_refused_before_it_is(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Headers beyond a frame, of no AMQP type, or of busauth's are refused; the bus goes on."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="edge")

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        pass

    def message(**given: Any) -> aio_pika.Message:
        return aio_pika.Message(b'{"id": 1}', headers=given)

    async with bus:
        token = issuer.token()
        for bad, why in [
            (message(big="x" * 140_000), "131072"),
            (message(odd=object()), "cannot be encoded"),
            (message(authorization="Bearer x"), "busauth's"),
            (message(**{"Busauth-Attempt": 3}), "busauth's"),
        ]:
            with pytest.raises(PublishError, match=why):
                await bus.publish(queue, bad, token=token)
        with pytest.raises(PublishError, match="unroutable"):
            await bus.publish(broker.name("nowhere"), b"", token=token)
        with pytest.raises(PublishError, match="NOT_FOUND"):
            await bus.publish("key", b"", exchange=broker.name("no-exchange"), token=token)
        with pytest.raises(ConfigurationError, match="body"):
            await bus.publish(queue, 3, token=token)  # type: ignore[arg-type]  # on purpose
        await bus.publish(queue, message(fits="x" * 1000), token=token)
        await trail.until("handled")


async def test_a_full_queue_rejects_and_the_publisher_is_told(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A negative confirmation is an error, not a success."""
    queue = broker.name("full")
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await broker.channel.declare_queue(queue, durable=True, arguments=limits)
    async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
        results = await asyncio.gather(
            *(bus.publish(queue, b"", token=ANONYMOUS) for _ in range(20)), return_exceptions=True
        )
    refused = [str(error) for error in results if isinstance(error, PublishError)]
    assert refused
    assert all("refused by the broker" in reason for reason in refused)


async def test_run_ends_on_a_signal_after_its_handlers(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """SIGTERM stops deliveries at once, and the service when its handlers have finished."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders", options=BusOptions(prefetch=1))
    started, go_on = asyncio.Event(), asyncio.Event()
    handled: Counter[int] = Counter()

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        started.set()
        await go_on.wait()
        handled[order.id] += 1

    running = asyncio.create_task(bus.run())
    await until(lambda: exists(broker, queue))
    for number in range(2):
        await broker.publish(queue, b'{"id": %d}' % number, token=issuer.token())
    await started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await broker.settles_at(queue, 1)
    assert not running.done()
    go_on.set()
    await asyncio.wait_for(running, 10)
    assert handled == {0: 1}
    await broker.settles_at(queue, 1)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask the broker until it says so."""
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.02)


async def exists(broker: Broker, queue: str) -> bool:
    channel = await broker.connection.channel()
    try:
        underlay = await channel.get_underlay_channel()
        await underlay.queue_declare(queue, passive=True)
    except aio_pika.exceptions.ChannelClosed:
        return False
    else:
        await channel.close()
        return True


async def test_a_queue_with_other_arguments_is_told_at_the_start(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """The error names the queue, the difference and what to do; declare=False takes it as it is."""
    queue = broker.name("orders")
    await broker.channel.declare_queue(queue, durable=True)
    guard = guard_for(issuer, trail)

    async def handle(order: Order) -> None:
        pass

    strict = Bus(url, guard=guard, service="orders")
    strict.consumer(queue)(handle)
    with pytest.raises(ConfigurationError, match=r"other arguments.*declare=False"):
        await strict.__aenter__()
    taking = Bus(url, guard=guard, service="orders", options=BusOptions(declare=False))
    taking.consumer(queue)(handle)
    async with taking:
        await broker.publish(queue, token=issuer.token())
        await trail.until("handled")


async def test_one_consumer_a_queue_before_the_start(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """A second consumer for a queue, or one that comes too late, is told."""
    queue = broker.name("orders")
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")

    async def handle(order: Order) -> None:
        pass

    bus.consumer(queue)(handle)
    with pytest.raises(ConfigurationError, match="one consumer"):
        bus.consumer(queue)(handle)
    async with bus:
        with pytest.raises(ConfigurationError, match="before the bus starts"):
            bus.consumer(broker.name("late"))(handle)
    with pytest.raises(PublishError, match="not connected"):
        await bus.publish(queue, b"", token=ANONYMOUS)


def test_queues_around_a_queue() -> None:
    """Dead letters have a delivery limit that is never reached, delays have one TTL each."""
    found = arguments_of("q", BusOptions())
    assert found["q.dead"] == {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
    assert found["q.rejected"]["x-max-length"] == 10_000
    assert found["q"]["x-delivery-limit"] == 20
    assert found["q"]["x-dead-letter-strategy"] == "at-least-once"
    delays = {name: each["x-message-ttl"] for name, each in found.items() if ".retry." in name}
    assert delays == {f"q.retry.{1000 * 2**n}": 1000 * 2**n for n in range(6)}
    assert arguments_of("q", BusOptions(retry=RetryOptions(limit=0))).keys() == {
        "q", "q.dead", "q.rejected",
    }  # fmt: skip


async def test_a_token_of_the_wrong_type_is_not_taken_for_none(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """In a handler, token=somebody must not publish on behalf of somebody else."""
    queue = broker.name("orders")
    guard = guard_for(issuer, trail)
    bus = Bus(url, guard=guard, service="orders")
    bob = await guard.authenticate(f"Bearer {issuer.token('bob')}")
    told: list[str] = []

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None:
        for token in (bob, bob.bearer().encode(), 0, False):
            with pytest.raises(TypeError, match="expected a raw token") as error:
                await bus.publish(queue, order, token=token)  # type: ignore[arg-type]  # on purpose
            told.append(str(error.value))

    async with bus:
        await bus.publish(queue, Order(id=1), token=issuer.token("alice"))
        await trail.until("handled")
        with pytest.raises(NotGenuine, match=r"header\.scheme"):
            await bus.publish(queue, Order(id=1), token=f"Bearer {issuer.token()}")
    assert len(told) == 4


@pytest.mark.parametrize("url", ["localhost", "http://localhost/", "", "amqp://"])
def test_a_url_that_leads_nowhere_is_told_at_once(url: str, issuer: Issuer, trail: Trail) -> None:
    """A bus does not try for ever what can never connect."""
    with pytest.raises(ConfigurationError, match="amqp://host/"):
        Bus(url, guard=guard_for(issuer, trail), service="orders")


async def test_no_broker_at_the_start_is_told(issuer: Issuer, trail: Trail) -> None:
    """The error names the service and where the broker was expected, not the password."""
    bus = Bus("amqp://u:secret@127.0.0.1:9/", guard=guard_for(issuer, trail), service="orders")
    with pytest.raises(ConnectionError, match=r"orders: no broker at 127\.0\.0\.1:9") as error:
        await bus.run()
    assert "secret" not in str(error.value)


def test_a_decorator_without_its_queue_is_told(url: str, issuer: Issuer, trail: Trail) -> None:
    """A handler is not lost for want of parentheses."""
    bus = Bus(url, guard=guard_for(issuer, trail), service="orders")

    async def handle(order: Order) -> None:
        pass

    with pytest.raises(TypeError, match="got the handler itself"):
        bus.consumer(handle)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan")])
def test_a_deadline_is_a_span_of_time(deadline: float, issuer: Issuer, trail: Trail) -> None:
    """One that no handler could keep, or that none could miss, is an error where it is said."""
    bus = Bus("amqp://localhost/", guard=guard_for(issuer, trail), service="test")
    with pytest.raises(ConfigurationError, match="expected seconds above 0"):

        @bus.consumer("orders", deadline=deadline)
        async def place(caller: Caller) -> None: ...


async def test_a_clean_end_says_nothing(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """A bus that begins and ends has nothing to warn of."""
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="test")

    @bus.consumer(broker.name("orders"))
    async def place(caller: Caller) -> None: ...

    with caplog.at_level("INFO", "busauth"):
        async with bus:
            pass
    told = [record for record in caplog.records if record.name == "busauth"]
    assert [record.getMessage() for record in told if record.levelno >= logging.WARNING] == []


async def test_handlers_that_will_never_run_are_told(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """More handlers than the broker sends messages for do not run at once."""
    guard = guard_for(issuer, trail, options=GuardOptions(concurrency=200))
    options = BusOptions(retry=LADDERS[1], prefetch=10)
    bus = Bus(broker.url, guard=guard, service="test", options=options)

    @bus.consumer(broker.name("orders"))
    async def place() -> None:
        """Do nothing."""

    async with bus:
        pass
    assert "prefetch=10 is below concurrency=200" in caplog.text
    assert "no more than 10 handlers run at once" in caplog.text


async def test_a_misspelt_consumer_in_the_options_is_told(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """What is said of a queue that nobody consumes is not in force; others' are no mistake."""
    caplog.set_level("INFO", "busauth")
    name = broker.name("orders.placed")
    said = ConsumerOptions(concurrency=1)
    options = GuardOptions(consumers={name.replace("placed", "plced"): said, "mail": said})
    guard = guard_for(issuer, trail, options=options)
    bus = Bus(broker.url, guard=guard, service="test", options=BusOptions(retry=LADDERS[1]))

    @bus.consumer(name)
    async def place() -> None:
        """Do nothing."""

    async with bus:
        pass
    told = {each.levelname: each.getMessage() for each in caplog.records if "nobody" in each.msg}
    assert f"nothing that is said there counts; was {name} meant?" in told["WARNING"]
    assert told["INFO"].startswith("nobody consumes mail here")
