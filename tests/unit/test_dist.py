"""A build is held to the tree: what a user would get is what is there, and no more."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from scripts.dist import ENTRIES, faults, modules

INFO = "busauth-1.2.0.dist-info"
WHEEL = "busauth-1.2.0-py3-none-any.whl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of two modules."""
    (tmp_path / "busauth" / "cli").mkdir(parents=True)
    for name in ("busauth/__init__.py", "busauth/cli/__init__.py", "busauth/py.typed"):
        (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [1.2.0] - 2026-01-01\n")
    return tmp_path


def built(root: Path, *more: str, without: str = "", entries: tuple[str, ...] = ENTRIES) -> Path:
    """Return a folder with a build of the tree."""
    dist = root / "dist"
    dist.mkdir()
    (dist / "busauth-1.2.0.tar.gz").touch()
    with ZipFile(dist / WHEEL, "w") as file:
        for name in {*modules(root), f"{INFO}/licenses/LICENSE", *more} - {without}:
            file.writestr(name, "")
        file.writestr(f"{INFO}/entry_points.txt", "\n".join(entries))
    return dist


def test_what_the_tree_has_is_right(root: Path) -> None:
    """A build of the tree, by the tag of its version, has no fault."""
    assert list(faults(built(root), "v1.2.0", root)) == []


def test_a_tag_of_another_version(root: Path) -> None:
    """A tag that says another version than the tree is told."""
    (fault,) = faults(built(root), "v1.2.1", root)
    assert "'v1.2.1'" in fault
    assert "expected 'v1.2.0'" in fault


@pytest.mark.parametrize(
    ("more", "without", "said"),
    [
        ("tests/__init__.py", "", f"{WHEEL} has tests/__init__.py"),
        ("busauth/left.py", "", f"{WHEEL} has busauth/left.py"),
        ("", "busauth/py.typed", f"{WHEEL} lacks busauth/py.typed"),
        ("", "busauth/cli/__init__.py", f"{WHEEL} lacks busauth/cli/__init__.py"),
        ("", f"{INFO}/licenses/LICENSE", f"{WHEEL} lacks the licence"),
    ],
)
def test_what_is_too_much_or_missing(root: Path, more: str, without: str, said: str) -> None:
    """A test, a module that is gone from the tree, or a missing file is told by name."""
    (fault,) = faults(built(root, *filter(None, [more]), without=without), "v1.2.0", root)
    assert fault.startswith(said)


def test_an_entry_point_is_missing(root: Path) -> None:
    """A wheel without the command or the plugin is told."""
    (fault,) = faults(built(root, entries=ENTRIES[:1]), "v1.2.0", root)
    assert ENTRIES[1] in fault


def test_an_older_build_beside_it(root: Path) -> None:
    """What an earlier build left in the folder would be uploaded with it."""
    dist = built(root)
    (dist / "busauth-1.1.0.tar.gz").touch()
    (fault,) = faults(dist, "v1.2.0", root)
    assert "busauth-1.1.0.tar.gz" in fault


def test_a_version_that_the_changelog_does_not_know(root: Path) -> None:
    """A release says what changed."""
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n")
    (fault,) = faults(built(root), "v1.2.0", root)
    assert "CHANGELOG.md" in fault
