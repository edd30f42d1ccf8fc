"""Events tell when, how long, which attempt and what failed."""

import pytest

from busauth import Bus, BusOptions
from busauth.testing import Issuer, ManualClock
from tests.support import LADDERS, Broker, Order, Trail, guard_for


async def test_each_event_has_its_instant_and_the_attempt_its_duration(
    broker: Broker, issuer_in_time: Issuer, clock: ManualClock, trail: Trail
) -> None:
    """Two attempts are four events: one decision each, and the seconds that the handler took."""
    guard = guard_for(issuer_in_time, trail, clock=clock)
    name = broker.name("orders")
    bus = Bus(broker.url, guard=guard, service="test", options=BusOptions(retry=LADDERS[1]))

    @bus.consumer(name)
    async def place(order: Order) -> None:
        await clock.advance(3)
        if len(trail.events) < 2:
            raise KeyError("stock")

    async with bus:
        await broker.publish(name, token=issuer_in_time.token("ann"))
        await trail.until("handled")
    began, failed, again, done = trail.events
    assert trail.kinds() == ["accepted", "retried", "accepted", "handled"]
    for first, second in ((began, failed), (again, done)):
        assert (second.at - first.at, second.decided_at) == (3, first.decided_at)
    assert [event.attempt for event in trail.events] == [1, 1, 2, 2]
    assert [event.duration for event in trail.events] == [None, 3, None, 3]
    assert [event.error for event in trail.events] == [None, "KeyError", None, None]


async def test_a_failure_is_logged_for_tools_without_its_locals(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """The record's `exc_info` has the handler's frame, and nothing leads to what was in it."""
    token = issuer.token("ann")
    name = await broker.declare("orders")

    @guard_for(issuer, trail)(queue=name)
    async def place(order: Order) -> None:
        held = token
        raise ValueError(f"no {held}")

    source = await broker.channel.get_queue(name)
    await source.consume(place)
    await broker.publish(name, token=token)
    await trail.until("refused")
    (record,) = [each for each in caplog.records if "a handler failed" in each.getMessage()]
    assert record.exc_info is not None
    assert record.exc_info[0] is not None
    frame = record.exc_info[2]
    while frame is not None and frame.tb_frame.f_code.co_name != "place":
        frame = frame.tb_next
    assert frame is not None
    assert frame.tb_frame.f_locals == {}
    assert record.exc_info[0].__name__ == "ValueError"
    assert token not in caplog.text
    assert "Traceback" not in record.getMessage()
