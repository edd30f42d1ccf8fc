"""The log of events: whatever a stranger sends, it gets so many lines, and the whole count."""

import asyncio
import logging
import re
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import EventLog, Guard
from busauth.audit import LOGGER, Event, EventKind, Lines, log_event, told_safely
from busauth.testing import ManualClock
from tests.unit.support import NOW

MOST, SECONDS = 10, 60.0


def refused(queue: str = "orders", code: str = "token.signature") -> Event:
    return Event(kind=EventKind.REFUSED, queue=queue, at=NOW, code=code, detail="why")


def counted(text: str) -> int:
    """Return how many events a log speaks of: a line for each, and those that are summed up."""
    lines = [line for line in text.splitlines() if "queue=" in line and "counted" not in line]
    more = [int(found[1]) for line in lines if (found := re.search(r": (\d+) more$", line))]
    return len(lines) - len(more) + sum(more)


async def test_a_flood_is_ten_lines_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    """Of one sort so many lines are written in a while; then one tells how many there were more."""
    clock = ManualClock()
    log = EventLog(clock)
    for _ in range(1000):
        log(refused())
    assert len(caplog.records) == MOST + 1
    assert caplog.messages[-1] == (
        "refused queue=orders code=token.signature: from now on counted, for 60 s"
    )
    await clock.advance(SECONDS - 0.001)
    log(refused())
    assert len(caplog.records) == MOST + 1
    await clock.advance(0.001)
    log(refused())
    assert caplog.messages[MOST + 1 :] == [
        "refused queue=orders code=token.signature: 991 more",
        "refused queue=orders code=token.signature why",
    ]
    assert counted(caplog.text) == 1002


async def test_another_sort_has_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of one code or queue hides no other's first lines."""
    log = EventLog(ManualClock(), most=1)
    for event in (refused(), refused("payments"), refused(code="token.expired")):
        log(event)
        log(event)
    assert len([each for each in caplog.messages if each.endswith("why")]) == 3


def test_a_guard_logs_within_bounds_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever names no auditor, or `log_event` itself, is not flooded."""
    for telling in (told_safely(log_event), told_safely(EventLog(ManualClock()))):
        caplog.clear()
        for _ in range(100):
            telling(refused())
        assert len(caplog.records) == MOST + 1
        telling.lines.close()
        assert counted(caplog.text) == 100


def test_an_auditor_of_ones_own_hears_everything() -> None:
    """Bounds are the log's, not the audit's."""
    heard: list[Event] = []
    telling = told_safely(heard.append)
    for _ in range(100):
        telling(refused())
    assert len(heard) == 100


async def test_the_count_is_told_with_the_next_event_of_any_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It needs no further refusal: a message that is handled, and not logged, is enough."""
    clock = ManualClock()
    telling = told_safely(log_event, clock)
    for _ in range(100):
        telling(refused())
    await clock.advance(SECONDS)
    caplog.clear()
    with caplog.at_level(logging.INFO, "busauth"):
        assert not telling.is_heard(EventKind.HANDLED)
    assert caplog.messages == ["refused queue=orders code=token.signature: 90 more"]


async def test_a_guard_that_ends_tells_what_it_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that was counted is lost when a service stops."""
    guard = Guard(issuer="https://idp.example", audience="shop", clock=ManualClock())
    for _ in range(100):
        guard.core.tell(refused())
    await guard.close()
    assert counted(caplog.text) == 100


def test_debugging_is_not_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Who asks for every step gets it."""
    log = EventLog(ManualClock())
    with caplog.at_level(logging.DEBUG, "busauth"):
        for _ in range(100):
            log(Event(kind=EventKind.HANDLED, queue="orders", at=NOW))
    assert len(caplog.records) == 100


def test_an_auditor_that_fails_for_each_event_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Its tracebacks are lines like others."""

    def failing(event: Event) -> None:
        raise RuntimeError(event.queue)

    telling = told_safely(failing, ManualClock())
    for _ in range(100):
        telling(refused())
    assert len(caplog.records) == MOST + 1


def test_sorts_are_bounded_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """What is kept of sorts does not grow with what is sent; those beyond are told as one."""
    lines = Lines(ManualClock(), most=1)
    written = sum(lines.admit(f"sort {number}") for number in range(5000))
    assert written == 1001
    assert len(lines._counts) == 1001
    lines.close()
    assert "other events: 3999 more" in caplog.messages


sorts = st.sampled_from(["a", "b", "c"])
steps = st.lists(st.one_of(sorts, st.floats(0.5, 90)), max_size=200)


@given(steps=steps, most=st.integers(1, 4))
async def test_no_event_is_lost_and_none_floods(steps: list[str | float], most: int) -> None:
    """For any events at any times: each is a line or counted, and no while has many lines."""
    clock, told = ManualClock(), list[str]()
    log = EventLog(clock, most=most, seconds=SECONDS)
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]  # a list of messages
    LOGGER.logger.addHandler(handler)
    try:
        for step in steps:
            if isinstance(step, float):
                await clock.advance(step)
            else:
                log(refused(step))
        log.lines.close()
    finally:
        LOGGER.logger.removeHandler(handler)
    events = [step for step in steps if isinstance(step, str)]
    assert counted("\n".join(told)) == len(events)
    passed = sum(step for step in steps if isinstance(step, float))
    assert len(told) <= 3 * (passed // SECONDS + 1) * (most + 2)


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, BaseException])
def test_telling_raises_nothing(error: type[BaseException]) -> None:
    """What an auditor or a log's filter raises goes no further, if it is no `Exception` either."""

    def failing(_: object) -> NoReturn:
        raise error

    LOGGER.logger.addFilter(failing)
    try:
        told_safely(failing)(refused())
    finally:
        LOGGER.logger.removeFilter(failing)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_not_kept(end: type[BaseException]) -> None:
    """A user's interrupt is theirs, whoever was told meanwhile."""

    def ending(_: object) -> None:
        raise end

    with pytest.raises(end):
        told_safely(ending)(refused())
