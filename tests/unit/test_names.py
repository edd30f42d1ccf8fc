"""Names that a broker takes are told from others when a consumer is registered."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import Binding, Bus, BusOptions, ConfigurationError, Guard, RetryOptions
from busauth._amqp.names import LONGEST, check_name, check_queue
from busauth._amqp.topology import RetryLadder, arguments_of, queues_around
from tests.unit.support import verifier


async def handler() -> None:
    """Do nothing."""


def registered(queue: str, options: BusOptions | None = None) -> None:
    bus = Bus("amqp://h/", guard=Guard(verifier()), service="test", options=options)
    bus.consumer(queue)(handler)


def guarded(queue: str) -> None:
    Guard(verifier())(queue=queue)(handler)


@pytest.mark.parametrize("register", [registered, guarded])
@pytest.mark.parametrize(
    ("queue", "told"),
    [
        ("", "queue='': expected a name"),
        ("amq.gen-x", "the broker's own"),
        ("orders.dead", "from the queue orders, without their tokens: expected another name"),
        ("orders.rejected", "from the queue orders"),
        ("a.b.parked", "from the queue a.b"),
        ("orders.history", "orders"),
        ("orders.retry.1000", "from the queue orders"),
        ("orders\n", "U+000A"),
        ("or\x00ders", "U+0000"),
        ("or\udc80ders", "U+DC80"),
        ("x" * 256, "256 bytes: expected 255 at most"),
        ("x" * 250, "comes behind it: expected 24"),
        ("\u00e9" * 125, "expected 2"),
    ],
)
def test_a_name_that_no_broker_takes_is_told_at_once(
    register: Callable[[str], None], queue: str, told: str
) -> None:
    """Whatever is wrong with a name is told before anything connects, on a bus and without one."""
    with pytest.raises(ConfigurationError) as caught:
        register(queue)
    assert told in str(caught.value)


@pytest.mark.parametrize("queue", ["o", "orders.placed", ".dead", "dead", "r\u00e9gl\u00e9", "a b"])
def test_other_names_are_taken(queue: str) -> None:
    """What only looks like a neighbour's name is one's own."""
    registered(queue)
    guarded(queue)


@given(
    length=st.integers(1, 260),
    letter=st.sampled_from(["x", "\u00e9", "\u20ac"]),
    longest=st.floats(0.05, 10_000),
)
def test_a_queue_is_taken_if_all_its_neighbours_fit(
    length: int, letter: str, longest: float
) -> None:
    """The limit is that of the longest name around it, in bytes."""
    queue, retry = letter * length, RetryOptions(first=min(1.0, longest), longest=longest)
    around = queues_around(queue, RetryLadder(queue, retry))
    assert {queue, *around} == set(arguments_of(queue, BusOptions(retry=retry), parks=True))
    fit = all(len(name.encode()) <= LONGEST for name in around)
    try:
        check_queue(queue, around)
    except ConfigurationError:
        assert not fit
    else:
        assert fit


@pytest.mark.parametrize("exchange", ["", "a\n", "x" * 256])
def test_an_exchange_has_a_name(exchange: str) -> None:
    """The default exchange has none, and every queue is bound to it already."""
    with pytest.raises(ConfigurationError, match="exchange="):
        Binding(exchange)
    with pytest.raises(ConfigurationError, match="routing_key="):
        Binding("orders", "x" * 256)
    assert Binding("amq.topic", "").routing_key == ""


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_a_short_string(name: str) -> None:
    """What passes has 1 to 255 bytes of UTF-8, and no line break that a broker would cut off."""
    try:
        check_name("queue", name)
    except ConfigurationError:
        assert not name.isprintable() or not 0 < len(name.encode()) <= LONGEST
    else:
        assert 0 < len(name.encode()) <= LONGEST
        assert name == name.strip("\r\n\x00")
