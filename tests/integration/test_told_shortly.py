"""What ends a start is one sentence, without the client library's frames above it."""

import logging
import traceback

import pytest

from busauth import Bus, BusOptions, ConfigurationError
from busauth.testing import Issuer
from tests.support import LADDERS, Broker, Trail, guard_for


async def nothing() -> None:
    """Do nothing."""


async def test_a_broker_that_is_down_is_one_sentence(
    issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """A script that runs a bus shows where no broker is; what led there is told at DEBUG."""
    caplog.set_level(logging.DEBUG, "busauth")
    bus = Bus("amqp://guest:hidden@127.0.0.1:1/", guard=guard_for(issuer, trail), service="shop")
    for start in (bus.run, bus.declare):
        with pytest.raises(ConnectionError, match=r"shop: .*127\.0\.0\.1:1") as caught:
            await start()
        shown = "".join(traceback.format_exception(caught.value))
        assert shown.count("Traceback (most recent call last)") == 1
        assert "aiormq" not in shown
    assert "aiormq" in caplog.text
    assert "hidden" not in caplog.text


async def test_a_queue_that_is_another_is_one_sentence(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """So is a queue that exists with other arguments."""
    name = broker.name("orders")
    await broker.channel.declare_queue(name, durable=True)
    options = BusOptions(retry=LADDERS[1])
    bus = Bus(broker.url, guard=guard_for(issuer, trail), service="shop", options=options)
    bus.consumer(name)(nothing)
    with pytest.raises(ConfigurationError, match="exists with other arguments") as caught:
        await bus.run()
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Traceback (most recent call last)") == 1
