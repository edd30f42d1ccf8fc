"""What the fast path must not change: who is called, what is acknowledged, what is told."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper, wraps
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import MessageProcessError
from aio_pika.tools import ensure_awaitable

from busauth import Bus, Caller, GuardedConsumer, NotAllPublished, Publication, Untimely
from busauth.testing import Issuer
from tests.support import Broker, Order, Trail, guard_for

MANY = 30
"""No more than RabbitMQ sends on at once: of a channel's single acknowledgements for a quorum queue
it keeps those beyond 32 in flight to itself, and forgets them where the channel is closed then."""

Note = Callable[[bytes], None]
Wrapper = Callable[[GuardedConsumer, Note], Callable[[AbstractIncomingMessage], Awaitable[Any]]]


class Metered:
    """An object that is called, says what it wraps, and is equal to it, as proxies are."""

    def __init__(self, wrapped: GuardedConsumer, note: Note) -> None:
        update_wrapper(self, wrapped)
        self.wrapped, self.note = wrapped, note

    def __eq__(self, other: object) -> bool:
        return self is other or self.wrapped is other

    def __hash__(self) -> int:
        return hash(self.wrapped)

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        self.note(message.body)
        await self.wrapped(message)

    async def method(self, message: AbstractIncomingMessage) -> None:
        await self(message)


def bare_wrapper(handle: GuardedConsumer, note: Note) -> Any:
    async def around(message: AbstractIncomingMessage) -> None:
        note(message.body)
        await handle(message)

    return around


def sync_wrapper(handle: GuardedConsumer, note: Note) -> Any:
    @wraps(handle)
    def around(message: AbstractIncomingMessage) -> Awaitable[None]:
        note(message.body)
        return handle(message)

    return around


async def noting(handle: GuardedConsumer, note: Note, message: AbstractIncomingMessage) -> None:
    note(message.body)
    await handle(message)


WRAPPERS: dict[str, Wrapper] = {
    "bare": bare_wrapper,
    "wraps": lambda handle, note: wraps(handle)(bare_wrapper(handle, note)),
    "twice": lambda handle, note: wraps(handle)(wraps(handle)(bare_wrapper(handle, note))),
    "sync": sync_wrapper,
    "partial": lambda handle, note: partial(noting, handle, note),
    "partial-wraps": lambda handle, note: update_wrapper(partial(noting, handle, note), handle),
    "object": Metered,
    "method": lambda handle, note: Metered(handle, note).method,
    "awaitable": lambda handle, note: ensure_awaitable(Metered(handle, note)),
}


async def opened(broker: Broker, queue: str, prefetch: int = 100) -> AbstractQueue:
    channel = await broker.connection.channel()
    await channel.set_qos(prefetch_count=prefetch)
    return await channel.get_queue(queue)


async def fill(broker: Broker, issuer: Issuer, *queues: str) -> None:
    token = issuer.token()
    for number in range(MANY):
        for queue in queues:
            await broker.publish(queue, Order(id=number).model_dump_json().encode(), token=token)


@pytest.mark.parametrize("prefetch", [1, 3, 100])
async def test_each_message_once(
    prefetch: int, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Whatever the prefetch, each message is handled once, in order, and acknowledged."""
    guard, name = guard_for(issuer, trail), await broker.declare("orders")
    seen: list[int] = []

    @guard(queue=name)
    async def handle(order: Order) -> None:
        seen.append(order.id)

    await fill(broker, issuer, name)
    source = await opened(broker, name, prefetch)
    tag = await source.consume(handle)
    await trail.until("handled", count=MANY)
    await source.cancel(tag)
    assert seen == list(range(MANY))
    await source.channel.close()
    await broker.settles_at(name, 0)


@pytest.mark.filterwarnings("ignore:You probably registering:DeprecationWarning")
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
async def test_a_callback_around_the_guard_stays(
    wrap: Wrapper, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Who wraps a guarded consumer is called for each message, not for the first alone."""
    guard, name = guard_for(issuer, trail), await broker.declare("orders")
    around: list[bytes] = []

    @guard(queue=name)
    async def handle(caller: Caller) -> None:
        del caller

    await fill(broker, issuer, name)
    source = await opened(broker, name)
    await source.consume(wrap(handle, around.append))
    await trail.until("handled", count=MANY)
    assert len(around) == MANY


async def test_one_consumer_bare_and_wrapped(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Registered twice, once with something around it, a consumer loses that on neither queue."""
    guard, bare = guard_for(issuer, trail), await broker.declare("bare")
    wrapped, around = await broker.declare("wrapped"), list[bytes]()

    @guard(queue=bare)
    async def handle(caller: Caller) -> None:
        del caller

    await fill(broker, issuer, bare, wrapped)
    source = await opened(broker, bare)
    await source.consume(handle)
    await (await source.channel.get_queue(wrapped)).consume(
        WRAPPERS["wraps"](handle, around.append)
    )
    await trail.until("handled", count=2 * MANY)
    assert len(around) == MANY


async def test_a_wrapper_below_the_decorator_of_a_bus(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What wraps the handler itself is called for each message, and the parameters stay known."""
    name, around = broker.name("orders"), list[int]()
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")

    def counted(handler: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @wraps(handler)
        async def counting(*given: Any, **named: Any) -> None:
            around.append(len(named))
            await handler(*given, **named)

        return counting

    @bus.consumer(name)
    @counted
    async def handle(order: Order, caller: Caller) -> None:
        del order, caller

    await bus.declare()
    await fill(broker, issuer, name)
    async with bus:
        await trail.until("handled", count=MANY)
    assert around == [2] * MANY


async def test_settling_again_is_told(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """A message that busauth has settled says so to whoever kept it, and the channel lives."""
    guard, name = guard_for(issuer, trail), await broker.declare("orders")
    kept: list[AbstractIncomingMessage] = []

    @guard(queue=name)
    async def handle(message: AbstractIncomingMessage) -> None:
        kept.append(message)

    await fill(broker, issuer, name)
    source = await opened(broker, name)
    await source.consume(handle)
    await trail.until("handled", count=MANY)
    for message in (kept[0], kept[-1]):
        with pytest.raises(MessageProcessError):
            await message.ack()
    assert not source.channel.is_closed


async def test_handlers_that_settle_themselves(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Between messages that busauth acknowledges, a handler's own settlement is left alone."""
    guard, name = guard_for(issuer, trail), await broker.declare("orders")

    @guard(queue=name)
    async def handle(message: AbstractIncomingMessage, order: Order) -> None:
        if order.id % 3 == 0:
            await message.ack()
        if order.id % 3 == 1:
            await message.reject(requeue=False)

    await fill(broker, issuer, name)
    source = await opened(broker, name)
    await source.consume(handle)
    await trail.until("settled-by-handler", count=MANY - MANY // 3)
    await trail.until("handled", count=MANY // 3)
    assert not source.channel.is_closed
    await source.channel.close()
    await broker.settles_at(name, 0)


async def test_what_others_hold_on_the_channel_stays_theirs(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Two guards and a basic.get on one channel: nobody's message is acknowledged by another."""
    first, second = guard_for(issuer, trail), guard_for(issuer, trail)
    names = [await broker.declare(name) for name in ("one", "two", "plain")]
    source = await opened(broker, names[0])
    channel = source.channel

    await fill(broker, issuer, *names)
    plain = await channel.get_queue(names[2])
    held = [await plain.get() for _ in range(3)]
    for guard, name in zip((first, second), names, strict=False):
        await (await channel.get_queue(name)).consume(guard(queue=name)(slow))
        held += [await plain.get() for _ in range(3)]
    await trail.until("handled", count=2 * MANY)
    assert not channel.is_closed
    for message in held:
        await message.ack()
    await channel.close()
    await broker.settles_at(names[0], 0)
    await broker.settles_at(names[1], 0)
    await broker.settles_at(names[2], MANY - len(held))


async def test_a_bus_that_stops_has_told_the_broker(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Stopped the moment that the last handler has returned, a bus gets no message again."""
    name = broker.name("orders")
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")
    last = asyncio.Event()

    @bus.consumer(name)
    async def handle(order: Order) -> None:
        if order.id == MANY - 1:
            last.set()

    await bus.declare()
    for _ in range(5):
        last.clear()
        await fill(broker, issuer, name)
        async with bus:
            await last.wait()
    await broker.settles_at(name, 0)
    assert trail.kinds(name).count("handled") == 5 * MANY
    assert trail.kinds(name).count("accepted") == 5 * MANY


@pytest.mark.long
async def test_a_batch_is_published_in_order(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Each message arrives once, in the order given, with its identity."""
    name = await broker.declare("orders")
    async with Bus(broker.url, guard=guard_for(issuer, trail), service="edge") as bus:
        token = issuer.token("ann")
        await bus.publish_many(Publication(name, Order(id=n), token=token) for n in range(2500))
    source = await broker.channel.get_queue(name)
    async with source.iterator(no_ack=True) as arriving:  # one by one they would take far longer
        messages = [await anext(arriving) for _ in range(2500)]
    assert [Order.model_validate_json(each.body).id for each in messages] == list(range(2500))
    await broker.settles_at(name, 0)
    assert {each.headers["authorization"] for each in messages} == {f"Bearer {token}"}


async def test_a_batch_tells_which_were_not_published(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """The broker's answer is told for each message; the others are published."""
    name, full = await broker.declare("orders"), broker.name("full")
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await broker.channel.declare_queue(full, arguments=limits)
    async with Bus(broker.url, guard=guard_for(issuer, trail), service="edge") as bus:
        send = partial(Publication, body=b"", token=issuer.token())
        with pytest.raises(NotAllPublished) as caught:
            await bus.publish_many(map(send, (name, "nowhere", full, full, name)))
    errors = caught.value.errors
    assert list(errors) == [1, 3]
    assert "unroutable" in str(errors[1])
    assert "refused by the broker" in str(errors[3])
    told = str(caught.value)
    assert told.startswith("2 messages were not published; at place 1: ")
    assert re.search(r"'nowhere': returned as.*; at place 3: .*refused by the broker", told)
    await broker.settles_at(name, 2)


async def test_a_batch_is_prepared_before_it_is_sent(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """One token that has expired keeps back the whole batch."""
    name = await broker.declare("orders")
    tokens = (issuer.token(), issuer.token(exp=1))
    async with Bus(broker.url, guard=guard_for(issuer, trail), service="edge") as bus:
        with pytest.raises(Untimely):
            await bus.publish_many(Publication(name, b"", token=token) for token in tokens)
        await bus.publish_many([])
    await broker.settles_at(name, 0)


async def test_a_batch_of_a_handler_is_its_callers(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """The caller's token rides along with each; nothing shows in a repr."""
    name, onward = broker.name("orders"), await broker.declare("onward")
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="orders")

    @bus.consumer(name)
    async def fan_out(order: Order) -> None:
        await bus.publish_many(Publication(onward, order) for _ in range(3))

    token = issuer.token("ann")
    async with bus:
        await broker.publish(name, token=token)
        await trail.until("handled")
    messages = await broker.take(onward)
    assert [each.headers["authorization"] for each in messages] == [f"Bearer {token}"] * 3
    assert token not in repr(Publication(name, b"", token=token))


async def slow(order: Order) -> None:
    del order
    await asyncio.sleep(0)
