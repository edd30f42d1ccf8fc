"""What errors and the log say: how many, of whom, and which right was missing."""

import asyncio
import logging

import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from yarl import URL

from busauth import ConfigurationError, NotAllPublished, PublishError
from busauth._amqp.connecting.connect import Kept
from busauth._amqp.connecting.connections import Watch
from busauth._amqp.connecting.rights import BIND, CONSUME, DECLARE, Step, permitted, there

REFUSED = "ACCESS_REFUSED - {}access to {} in vhost '/' refused for user 'u'"


@pytest.mark.parametrize(
    ("step", "said", "name", "right"),
    [
        (DECLARE, "", "queue 'orders'", "may configure .*read"),
        (DECLARE, "", "exchange 'amq.default'", "may write to it"),
        (DECLARE, "read ", "queue 'orders'", "may read from it"),
        (BIND, "", "queue 'orders'", "may write to it"),
        (BIND, "", "exchange 'shop'", "may read from it"),
        (CONSUME, "", "queue 'orders'", "may read from it"),
    ],
)
def test_which_right_is_missing(step: Step, said: str, name: str, right: str) -> None:
    """The broker's own word counts, and where it says none, what was asked for."""
    with (
        pytest.raises(ConfigurationError, match=rf"may not {step.told}.*{right}.*connecting\.md"),
        permitted(step),
    ):
        raise ChannelAccessRefused(REFUSED.format(said, name))


def test_which_queue_is_not_there() -> None:
    """Its name, what was expected, and what to look at."""
    with (
        pytest.raises(ConfigurationError, match=r"'a\.dead' is not there .*expected b; check"),
        there("a.dead", "b"),
    ):
        raise ChannelNotFoundEntity("NOT_FOUND - no queue 'a.dead' in vhost '/'")


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ({0: "a"}, "1 message was not published; at place 0: a"),
        ({0: "a", 2: "b"}, "2 messages were not published; at place 0: a; at place 2: b"),
        (
            {0: "a", 2: "b", 3: "a"},
            "3 messages were not published; at places 0, 3: a; at place 2: b",
        ),
        (
            dict.fromkeys(range(12), "a"),
            "12 messages were not published; at places 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more: a",
        ),
        (
            {place: f"r{place}" for place in range(7)},
            "7 messages were not published; at place 0: r0; at place 1: r1; at place 2: r2; "
            "at place 3: r3; at place 4: r4; and 2 more reasons, see `errors`",
        ),
    ],
)
def test_a_batch_tells_all_reasons(reasons: dict[int, str], told: str) -> None:
    """Each reason once, with its places, as far as a line goes."""
    errors = {place: PublishError(reason) for place, reason in reasons.items()}
    assert str(NotAllPublished(errors)) == told


async def test_a_connection_that_was_cut_off_here(caplog: pytest.LogCaptureFixture) -> None:
    """The broker is not blamed for an event loop that ends; attempts are counted in words."""
    caplog.set_level(logging.WARNING, "busauth")
    link = Kept(URL("amqp://127.0.0.1:9/"), "test", 1.0)
    told = str(link.told(asyncio.CancelledError()))
    assert told.startswith("the connection to 127.0.0.1:9 was cut off in this process")
    assert "RabbitMQ" not in told
    watch = Watch("orders")
    for _ in range(3):
        watch.lost(link, None)
    assert "is not back after 1 attempt: " in caplog.text
    assert "is not back after 2 attempts: " in caplog.text
