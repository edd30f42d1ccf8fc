"""Wrong calls that take a broker to be made, each with its sentence."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import pytest

from busauth import (
    ANONYMOUS,
    Bus,
    BusOptions,
    Caller,
    CallerError,
    ConfigurationError,
    GuardedConsumer,
    PublishError,
)
from busauth.letters import dead_letters
from busauth.testing import Issuer
from tests.support import LADDERS, Broker, Order, Trail, guard_for

Call = Callable[["Desk"], Awaitable[object]]


class Desk:
    """A bus that runs, with one consumer, and somebody's own connection beside it."""

    def __init__(self, broker: Broker, issuer: Issuer, trail: Trail) -> None:
        self.broker, self.issuer = broker, issuer
        self.guard = guard_for(issuer, trail)
        self.queue = broker.name("orders")
        self.bus = self.another()

        @self.bus.consumer(self.queue)
        async def place(order: Order, caller: Caller) -> None:
            """Do nothing."""

        self.place: GuardedConsumer = place

    def another(self) -> Bus:
        options = BusOptions(retry=LADDERS[1])
        return Bus(self.broker.url, guard=self.guard, service="shop", options=options)


async def bare(desk: Desk) -> None:
    await desk.place.handler(Order(id=1))


async def guarded(desk: Desk) -> None:
    await desk.place(Order(id=1))  # type: ignore[arg-type]  # that is the point


async def late_consumer(desk: Desk) -> None:
    desk.bus.consumer("more")(desk.place.handler)


async def no_exchange(desk: Desk) -> None:
    exchange: Any = "shop"
    await desk.guard.publish(exchange, aio_pika.Message(b""), "orders", token=ANONYMOUS)


async def other_arguments(desk: Desk) -> None:
    name = desk.broker.name("other")
    await desk.broker.channel.declare_queue(name, durable=True)
    bus = desk.another()
    bus.consumer(name)(desk.place.handler)
    await bus.declare()


WRONG: list[tuple[Call, type[Exception], str, str]] = [
    (guarded, TypeError, "place is guarded and takes deliveries", "use place.handler(...)"),
    (bare, TypeError, "missing 1 required positional argument", "caller"),
    (late_consumer, ConfigurationError, "shop: the bus runs already", "before the bus starts"),
    (no_exchange, TypeError, "expected an exchange of aio-pika's", "got str"),
    (other_arguments, ConfigurationError, "exists with other arguments", "Delete it once it is"),
    (lambda desk: desk.bus.declare(), ConfigurationError, "a bus that runs", "by itself"),
    (lambda desk: desk.bus.publish("orders", Order(id=1)), CallerError, "no caller", "token"),
    (
        lambda desk: desk.bus.publish(f"{desk.queue}.nowhere", Order(id=1), token=ANONYMOUS),
        PublishError,
        "unroutable",
        ".nowhere",
    ),
    (
        lambda desk: desk.another().publish("orders", Order(id=1), token=ANONYMOUS),
        PublishError,
        "the bus is not connected",
        "use `async with bus` or `bus.run()`",
    ),
    (lambda desk: desk.bus.release("other", "x"), ConfigurationError, "'other'", "expected one of"),
    (
        lambda desk: desk.bus.release(desk.queue, desk.issuer.token("ann")),
        ConfigurationError,
        "a release signs a proof",
        "expected Guard(messages=",
    ),
    (
        lambda desk: dead_letters(desk.broker.url, f"{desk.queue}.deed"),
        ConfigurationError,
        ".deed' is not there",
        "such as orders.dead",
    ),
]


async def test_a_wrong_call_is_told_in_a_sentence(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """What was found, and what to do, whatever is called; the bus goes on."""
    desk = Desk(broker, issuer, trail)
    async with desk.bus, asyncio.timeout(60):
        for call, kind, found, to_do in WRONG:
            with pytest.raises(kind) as caught:
                await call(desk)
            told = str(caught.value)
            assert [part for part in (found, to_do) if part not in told] == [], told
        await broker.publish(desk.queue, token=issuer.token("ann"))
        await trail.until("handled")
