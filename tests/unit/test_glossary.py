"""The glossary has each term once, and leaves out nothing that a reader meets by name."""

import re
from pathlib import Path

from busauth import BusOptions, EventKind
from busauth._amqp.topology import arguments_of

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "glossary.md").read_text()
TERMS = re.findall(r"^### (.+)$", TEXT, re.MULTILINE)
ELSEWHERE = ("dlq", "poison message", "principal", "quarantine")


def section(title: str) -> str:
    """Return what stands under a heading of the second level."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """Return the names in the first column of a section's table."""
    rows = re.findall(r"^\| (.+?) \|", section(title), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_terms_are_unique_and_sorted() -> None:
    """Each term stands once, in alphabetical order."""
    assert sorted(set(TERMS)) == TERMS


def test_each_term_has_a_theme() -> None:
    """The table of themes names every term once, sorted in each theme."""
    rows = re.findall(r"^\| [^|]+ \| (\[.+) \|$", TEXT.split("\n## Terms")[0], re.MULTILINE)
    themes = [re.findall(r"\[(.+?)\]\(#.+?\)", row) for row in rows]
    assert sorted(term for theme in themes for term in theme) == TERMS
    assert all(theme == sorted(theme) for theme in themes)


def test_each_term_says_what_it_is_not() -> None:
    """A term is told apart from what it could be taken for."""
    entries = section("Terms").split("### ")[1:]
    assert [entry for entry in entries if not re.search(r"\*[Nn]ot\*\s", entry)] == []


def test_every_event_is_told() -> None:
    """The table of events has every kind that an auditor is told, in the order of the code."""
    assert first_cells("Events") == [kind.value for kind in EventKind]


def test_every_queue_is_told() -> None:
    """The table of queues has every queue that is declared around a queue."""
    told = set(first_cells("Queues"))
    declared = set(arguments_of("<queue>", BusOptions(), parks=True))
    delays = {name for name in declared if name.startswith("<queue>.retry.")}
    assert told - declared == {
        "<queue>.retry.<ms>",
        "<queue>.parked.turn",
        "<queue>.dead.turn",
        "<queue>.history",
    }
    assert declared - told == delays != set()


def test_one_word_for_one_thing() -> None:
    """What others call a thing stands in the glossary's last table alone."""
    for page in DOCS.glob("*.md"):
        text = page.read_text().split("\n## Other names")[0].lower()
        assert [word for word in ELSEWHERE if word in text] == [], page.name
