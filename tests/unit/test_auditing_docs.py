"""docs/auditing.md names every kind of event and every field of one."""

from dataclasses import fields
from pathlib import Path

import pytest

from busauth import Event, EventKind
from tests.unit.support import NOW

PAGE = (Path(__file__).parents[2] / "docs" / "auditing.md").read_text("utf-8")


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_its_line(kind: EventKind) -> None:
    """What it means, and whether it is a warning, stands in the table."""
    (line,) = [each for each in PAGE.splitlines() if each.startswith(f"| `{kind}` |")]
    event = Event(kind=kind, queue="q", at=NOW, code="handler.failed")
    assert ("A warning" in line) == event.is_warning


@pytest.mark.parametrize("field", [field.name for field in fields(Event)])
def test_every_field_is_explained(field: str) -> None:
    """A field that nobody can look up is none."""
    assert f"`{field}`" in PAGE


def test_a_handler_may_settle_its_message() -> None:
    """That is no warning; what failed after it is one, as it is not tried again."""
    kind = EventKind.SETTLED_BY_HANDLER
    assert not Event(kind=kind, queue="q", at=NOW).is_warning
    assert Event(kind=kind, queue="q", at=NOW, code="handler.failed").is_warning
