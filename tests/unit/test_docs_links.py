"""What a document leads to is there, and every document is found."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.unit.test_doors import DOORS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return FENCED.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get where Markdown is shown."""
    found = set[str]()
    for heading in HEADING.findall(prose(page)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        twins = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{twins}" if twins else slug)
    return found


def links(page: Path) -> list[tuple[Path, str]]:
    """Return where the relative links of a page lead: a file or folder, and an anchor."""
    ours = (link.partition("#") for link in LINK.findall(prose(page)) if "://" not in link)
    return [((page.parent / path).resolve() if path else page, at) for path, _, at in ours]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_resolves(page: Path) -> None:
    """Each relative link leads to a file, and to a heading of it where it names one."""
    assert [str(path) for path, _ in links(page) if not path.exists()] == []
    assert [(str(path), at) for path, at in links(page) if at and at not in anchors(path)] == []


def test_the_index_leads_to_every_page() -> None:
    """Each page of docs/ is an answer to some question, and each decision is reached."""
    linked = {path for path, _ in links(DOCS / "README.md")}
    assert set(DOCS.glob("*.md")) - {DOCS / "README.md"} <= linked
    decided = {path for path, _ in links(ROOT / "ARCHITECTURE.md")}
    assert set((DOCS / "adr").glob("*.md")) <= decided


def test_the_readme_leads_to_the_index() -> None:
    """Who begins at the README finds the index."""
    assert DOCS / "README.md" in {path for path, _ in links(ROOT / "README.md")}


def test_every_door_has_its_page() -> None:
    """The reference tells what each public module hands out, and its index leads there."""
    linked = [path.read_text() for path, _ in links(DOCS / "reference" / "README.md")]
    told = [door for text in linked for door in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    assert sorted(told) == sorted(door.__name__ for door in DOORS)


def test_anchors_are_spelled_as_markdown_is_shown() -> None:
    """Punctuation is left out, letters are small, spaces are hyphens, twins are counted."""
    found = anchors(DOCS / "sending-again.md")
    assert {"release-parked-messages-a-fresh-token", "who-hears-of-it"} <= found


def test_the_site_is_built_aloud() -> None:
    """A quiet build counts no warning: `strict` would let through whatever is wrong with a page."""
    (command,) = re.findall(r"^SITE = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert not {"-q", "--quiet", "--no-strict"} & set(command.split())
    assert "\nstrict: true\n" in (ROOT / "mkdocs.yml").read_text()
