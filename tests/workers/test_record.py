"""What the demo takes for a fact, and when it calls a scene equal."""

import asyncio
from io import StringIO

import pytest
from rich.console import Console

from busauth import Event
from workers.demo.playbill import Row, counted, last_word, show
from workers.demo.record import Record, Trouble, fact_of


@pytest.mark.parametrize(
    ("service", "event", "fact"),
    [
        ("orders", {"kind": "accepted"}, None),
        ("orders", {"kind": "published"}, None),
        ("orders", {"kind": "handled"}, "orders: handled"),
        ("payments", {"kind": "handled", "late": 2.0}, "payments: handled late"),
        ("orders", {"kind": "refused", "code": "x.y"}, "orders: refused x.y"),
        ("orders", {"kind": "something-new"}, "orders: something-new"),
        ("ledger", {"kind": "accepted"}, "ledger: accepted"),
        ("gateway", {"kind": "refused", "code": "x.y"}, None),
    ],
)
def test_outcomes_are_facts_and_steps_are_not(
    service: str, event: dict[str, object], fact: str | None
) -> None:
    """A message's outcome is a fact; what led to it, and what an answer tells anyway, is not."""
    assert fact_of(service, Event(queue="q", at=0.0, **event)) == fact  # type: ignore[arg-type]


async def test_waiting_ends_with_the_last_fact() -> None:
    """A fact that is expected twice has to be seen twice."""
    record = Record()
    waiting = asyncio.create_task(record.until("a", "a"))
    record.add("a")
    await asyncio.sleep(0)
    assert not waiting.done()
    record.add("a")
    await waiting


async def test_waiting_ends_with_trouble() -> None:
    """Nobody waits for a worker that has died."""
    record = Record()
    waiting = asyncio.create_task(record.until("a"))
    await asyncio.sleep(0)
    record.give_up("orders died")
    with pytest.raises(Trouble, match="orders died"):
        await waiting


def test_only_the_expected_facts_are_equal() -> None:
    """Order does not count; a fact too many, too few, or any trouble does."""
    assert Row("s", ("a", "b"), ("b", "a")).equal
    assert not Row("s", ("a",), ("a", "a")).equal
    assert not Row("s", ("a", "b"), ("a",)).equal
    assert not Row("s", ("a",), ("a",), "given up").equal


def test_the_last_word_names_what_differs() -> None:
    """The final sentence names the scenes that were not as expected."""
    rows = [Row("s", ("a",), ("a",)), Row("t", ("a",), ())]
    assert last_word(rows, 9.7) == "Not as expected, in 10 s: scene 2."
    assert last_word(rows[:1], 9.7) == "All 1 scenes went as expected, in 10 s."
    assert counted(["a", "b", "a"]) == ["a x2", "b"]


def test_what_was_seen_as_expected_is_said_once() -> None:
    """A scene that differs shows both sides; one that is equal shows what it was."""
    console = Console(width=100, record=True, file=StringIO())
    show([Row("s", ("alike",), ("alike",)), Row("t", ("this",), ("that",))], console)
    shown = console.export_text()
    assert [shown.count(fact) for fact in ("alike", "this", "that")] == [1, 1, 1]
