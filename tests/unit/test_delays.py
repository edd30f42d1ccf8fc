"""The ladder of delays: which levels a message passes, and which messages cannot take it."""

import math
from datetime import timedelta
from typing import Any, cast

import pytest
from aio_pika import Message
from hypothesis import given
from hypothesis import strategies as st

from busauth import ConfigurationError, Publication, PublishError
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.delays import (
    LEVELS,
    LONGEST,
    Way,
    _arrival,
    _check_waits,
    _pattern,
    check_delay,
    check_target,
)
from busauth.messages import Route

WORDS = st.text("ab.-_", min_size=1, max_size=20)


def fits(pattern: str, key: str) -> bool:
    return Route("e", pattern).covers("e", key)


@given(st.integers(1, LONGEST), WORDS, WORDS)
def test_a_message_waits_for_as_long_as_was_said(seconds: int, target: str, other: str) -> None:
    """At each level exactly one way is open, the queues add up, and one queue is the end."""
    way = Way(target, seconds)
    exchange, key = way.route
    assert exchange == f"busauth.delay.{way.levels - 1}"
    held = [number for number in range(LEVELS) if fits(_pattern(number, "1"), key)]
    assert sum(2**number for number in held) == seconds
    assert (len(held), max(held)) == (way.stops, way.levels - 1)
    assert all(fits(_pattern(n, "0"), key) != fits(_pattern(n, "1"), key) for n in range(LEVELS))
    assert fits(_arrival(target), key)
    assert fits(_arrival(other), key) == (other == target)


def test_the_longest_level_is_within_a_brokers_ttl() -> None:
    """RabbitMQ takes 2**32 - 1 ms at most."""
    assert 1000 * 2 ** (LEVELS - 1) < 2**32


@pytest.mark.parametrize(
    "delay", [0, -1, LONGEST + 1, math.inf, math.nan, True, "5", timedelta(hours=1)]
)
def test_a_delay_is_a_span_of_time(delay: Any) -> None:
    """What none could wait for is refused where it is said."""
    with pytest.raises(ConfigurationError, match="48 days"):
        check_delay(delay, "")
    with pytest.raises(ConfigurationError, match="48 days"):
        Publication("q", "", delay=delay)
    with pytest.raises(ConfigurationError, match="timeout=datetime"):
        Publication("q", "", timeout=cast("float", timedelta(hours=1)))


def test_a_delay_is_for_a_queue() -> None:
    """An exchange would be reached with another key; a name is no pattern, and not too long."""
    with pytest.raises(ConfigurationError, match="one queue alone"):
        Publication("q", "", exchange="events", delay=1)
    check_target("a" * 211)
    for name in ("a" * 212, "a.*", "#", "", "busauth.delay.2", "\u00fc", "\ud800", "a\n"):
        with pytest.raises(ConfigurationError, match="a delay for queue"):
            check_target(name)


@pytest.mark.parametrize(
    ("named", "what"),
    [
        ({"expiration": 5}, "its delay would end"),
        ({"priority": 1}, "others would wait"),
        ({"headers": {"CC": ["other"]}}, "'CC'"),
        ({"headers": {"bcc": ["other"]}}, "'bcc'"),
        ({"headers": {"x-death": []}}, "'x-death'"),
        ({"headers": {"long": "a" * 3000}}, "the negotiated frame"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_would_not_wait_is_refused(named: dict[str, Any], what: str) -> None:
    """A message that would come early, hold others up or go elsewhere, or not fit at the end."""
    message = Message(b"", **named)
    properties = message.properties
    properties.headers = dict(message.headers)
    with pytest.raises(PublishError, match=what):
        _check_waits(Outgoing(b"", properties), Way("q", 0b1111), 4096)
