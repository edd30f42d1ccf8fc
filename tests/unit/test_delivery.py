"""Whose callback a delivery goes past, and whose it never does."""

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aio_pika.queue import consumer
from aio_pika.tools import ensure_awaitable
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp.delivery import Delivery, handed_directly

TAG = "ctag"


class Guarded:
    """Stands for a guarded consumer: an object that is called."""

    async def __call__(self, message: object) -> Any:
        """Take a message."""

    async def take(self, message: object) -> None:
        """Take a message."""


async def direct(delivered: DeliveredMessage) -> None:
    """Stands for the fast way."""


def entry(callback: Callable[..., Any], **changes: Any) -> partial[Any]:
    """Return what aio-pika registers with aiormq for a callback."""
    return partial(consumer, ensure_awaitable(callback), **{"no_ack": False, **changes})


def goes_directly(registered: object, current: object) -> bool:
    """Return whether the entry is replaced."""
    channel = SimpleNamespace(consumers={TAG: current})
    handed_directly(cast("Channel", channel), TAG, registered, direct)
    return channel.consumers[TAG] is direct


def test_a_callback_that_nobody_wraps_is_gone_past() -> None:
    """What aio-pika puts around a callback is left out, be it an object or a method."""
    guarded = Guarded()
    take = guarded.take
    assert goes_directly(guarded, entry(guarded))
    assert goes_directly(take, entry(take))


guarded = Guarded()


async def around(message: object) -> None:
    """Stands for a metric."""


async def other(callback: object, message: object, *, no_ack: bool) -> None:
    """Stands for another library's entry."""


class Alike:
    """Equal to everything, as some mocks and proxies are."""

    __wrapped__ = guarded

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as ever, with an `__eq__`

    async def __call__(self, message: object) -> None:
        """Take a message."""


class Subclass(partial[Any]):
    """A partial of somebody's own."""


def said_to_wrap() -> Callable[[object], Awaitable[None]]:
    """Return what aio-pika made awaitable for another, wrapped once more."""
    return wraps(ensure_awaitable(guarded))(around)


@pytest.mark.parametrize(
    "current",
    [
        None,
        around,
        entry(around),
        entry(wraps(guarded)(around)),
        entry(said_to_wrap()),
        entry(partial(guarded)),
        entry(Alike()),
        entry(guarded.take),
        entry(ensure_awaitable(Alike())),
        partial(other, ensure_awaitable(guarded), no_ack=False),
        partial(consumer, no_ack=False),
        partial(consumer, cast("Any", None), no_ack=False),
        Subclass(consumer, ensure_awaitable(guarded), no_ack=False),
        wraps(entry(guarded))(around),
    ],
)
def test_what_anybody_else_put_around_it_stays(current: object) -> None:
    """A wrapper is nobody's to take away, whatever it says that it wraps."""
    assert not goes_directly(guarded, current)


def test_nothing_happens_without_a_channel_or_a_tag() -> None:
    """A channel that closed meanwhile has nothing to replace."""
    handed_directly(None, TAG, guarded, direct)
    channel = SimpleNamespace(consumers={TAG: entry(guarded)})
    handed_directly(cast("Channel", channel), None, guarded, direct)
    assert channel.consumers[TAG] is not direct


def delivered(key: str = "orders", headers: dict[str, Any] | None = None, **said: Any) -> Delivery:
    """Return a delivery with this routing key, these headers and properties."""
    properties = Basic.Properties(headers=headers or {"tenant": "a"}, **said)
    return Delivery(
        DeliveredMessage(
            delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key=key),
            header=ContentHeader(properties=properties),
            body=b"{}",
            channel=cast("Any", None),
        )
    )


def test_a_redelivery_is_like_the_delivery_before() -> None:
    """The counts and stamps that a broker writes with each delivery are left aside."""
    stamped = {"tenant": "a", "x-delivery-count": 1, "x-acquired-count": 2}
    again = delivered(headers={**stamped, "x-opt-rabbitmq-sent-time": 17})
    assert delivered().is_like(again)


@pytest.mark.parametrize(
    "other",
    [
        delivered("orders.2"),
        delivered(app_id="a2"),
        delivered(priority=3),
        delivered(message_id="m2"),
        delivered(user_id="guest"),
        delivered(headers={"tenant": "b"}),
        delivered(headers={"tenant": "a", "x-tenant": "b"}),
    ],
)
def test_two_messages_are_not_alike(other: Delivery) -> None:
    """What differs in anything that a handler can see is another message."""
    assert not delivered().is_like(other)
