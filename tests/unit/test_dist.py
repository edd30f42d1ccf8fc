"""A build is held to the tree: what a user would get is what is there, and no more."""

import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from scripts.dist import (
    ARCHIVED,
    ENTRIES,
    build,
    doors,
    faults,
    modules,
    release_faults,
    tried,
)
from tests.unit.test_doors import DOORS

INFO = "busauth-1.2.0.dist-info"
WHEEL = "busauth-1.2.0-py3-none-any.whl"
ARCHIVE = "busauth-1.2.0.tar.gz"
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-01\n\n- A thing.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of two modules."""
    (tmp_path / "busauth" / "cli").mkdir(parents=True)
    for name in ("busauth/__init__.py", "busauth/cli/__init__.py", "busauth/py.typed"):
        (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "README.md").write_text("# A tree\n")
    return tmp_path


def built(
    root: Path,
    *more: str,
    without: str = "",
    entries: tuple[str, ...] = ENTRIES,
    told: str = "# A tree",
) -> Path:
    """Return a folder with a build of the tree."""
    dist = root / "dist"
    dist.mkdir()
    with tarfile.open(dist / ARCHIVE, "w:gz") as archive:
        for name in {*modules(root), *ARCHIVED} - {without}:
            archive.addfile(tarfile.TarInfo(f"busauth-1.2.0/{name}"))
    with ZipFile(dist / WHEEL, "w") as file:
        for name in {*modules(root), f"{INFO}/licenses/LICENSE", *more} - {without}:
            file.writestr(name, "")
        file.writestr(f"{INFO}/entry_points.txt", "\n".join(entries))
        file.writestr(f"{INFO}/METADATA", f"Name: busauth\n\n{told}\n")
    return dist


def test_what_the_tree_has_is_right(root: Path) -> None:
    """A build of the tree, by the tag of its version or by none, has no fault."""
    dist = built(root)
    assert list(faults(dist, "v1.2.0", root)) == []
    assert list(faults(dist, None, root)) == []


def test_a_tag_of_another_version(root: Path) -> None:
    """A tag that says another version than the tree is told."""
    (fault,) = faults(built(root), "v1.2.1", root)
    assert "'v1.2.1'" in fault
    assert "expected 'v1.2.0'" in fault


@pytest.mark.parametrize(
    ("more", "without", "said"),
    [
        ("tests/__init__.py", "", [f"{WHEEL} has tests/__init__.py"]),
        ("busauth/left.py", "", [f"{WHEEL} has busauth/left.py"]),
        ("", "busauth/py.typed", [f"{each} lacks busauth/py.typed" for each in (WHEEL, ARCHIVE)]),
        ("", f"{INFO}/licenses/LICENSE", [f"{WHEEL} lacks the licence"]),
        ("", "CHANGELOG.md", [f"{ARCHIVE} lacks CHANGELOG.md"]),
    ],
)
def test_what_is_too_much_or_missing(root: Path, more: str, without: str, said: list[str]) -> None:
    """A test, a module that is gone from the tree, or a missing file is told by name."""
    found = list(faults(built(root, *filter(None, [more]), without=without), "v1.2.0", root))
    assert len(found) == len(said)
    assert all(fault.startswith(each) for fault, each in zip(found, said, strict=True))


def test_a_description_that_is_not_the_readme(root: Path) -> None:
    """What a package index shows is README.md."""
    (fault,) = faults(built(root, told="Something else."), "v1.2.0", root)
    assert "README.md" in fault


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


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ("## [Unreleased]\n\n- A thing.\n", "begins with ['Unreleased']"),
        (CHANGELOG.replace("## [Unreleased]\n", ""), "begins with ['1.2.0']"),
        (CHANGELOG.replace("1.2.0", "1.1.0"), "begins with ['Unreleased', '1.1.0']"),
        (CHANGELOG.replace("d]\n", "d]\n\n- Another.\n"), "has lines under Unreleased"),
        (CHANGELOG.replace(" - 2026-01-01", ""), "has no lines, or no date, for 1.2.0"),
        (CHANGELOG.replace("- A thing.", ""), "has no lines, or no date, for 1.2.0"),
    ],
)
def test_a_release_that_the_changelog_does_not_tell(changelog: str, said: str) -> None:
    """A release says what changed, and when; nothing that it has waits for the next one."""
    (fault,) = release_faults("v1.2.0", "1.2.0", changelog)
    assert said in fault


def test_a_build_that_is_no_release_may_wait_for_its_part(root: Path) -> None:
    """What has not been released yet is built and checked all the same."""
    (root / "CHANGELOG.md").write_text("## [Unreleased]\n\n- A thing.\n")
    assert list(faults(built(root), None, root)) == []


def test_every_door_is_tried() -> None:
    """The modules that are imported where busauth is installed are those that users import."""
    assert {door.__name__ for door in DOORS} <= set(doors(Path(__file__).parents[2]))


@pytest.mark.processes
@pytest.mark.timeout(300)
def test_a_build_of_this_tree(tmp_path: Path) -> None:
    """It is what it should be, and does what it should where nothing else is installed.

    From Python alone to the end of the README's first steps is a minute of work.
    """
    dist, room = tmp_path / "dist", tmp_path / "room"
    room.mkdir()
    build(dist)
    assert list(faults(dist, None)) == []
    tried(next(dist.glob("*.whl")), room)
