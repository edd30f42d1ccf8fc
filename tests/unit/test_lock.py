"""What development installs is locked: versions that pyproject.toml allows, by their hashes."""

import json
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements-dev.lock").read_text()
TOLD = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENTRY = re.compile(r"^(\S+==[^\\\n]+)\\?\n((?: {4}--hash=.*\n)*)", re.MULTILINE)
ENTRIES = [(Requirement(what), hashes) for what, hashes in ENTRY.findall(LOCK)]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def pinned(name: str, python: str) -> list[str]:
    """Return the versions of a package that the lock names for a Python."""
    environment: Any = default_environment()
    environment |= {"python_version": python, "python_full_version": f"{python}.9"}
    return [
        str(entry.specifier).removeprefix("==")
        for entry, _ in ENTRIES
        if canonicalize_name(entry.name) == canonicalize_name(name)
        and (entry.marker is None or entry.marker.evaluate(environment))
    ]


def asked() -> list[Requirement]:
    """Return what pyproject.toml asks for, in every extra and group, and to build."""
    extras = TOLD["project"]["optional-dependencies"].values()
    groups = TOLD["dependency-groups"].values()
    every = chain(
        TOLD["build-system"]["requires"], TOLD["project"]["dependencies"], *extras, *groups
    )
    named = (need for need in every if isinstance(need, str))  # a group may include another one
    return [need for need in map(Requirement, named) if need.name != "busauth"]


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_asked_for_is_locked(python: str) -> None:
    """Each package has one version for each Python, and it is one that is asked for."""
    wrong = {
        str(need): found
        for need in asked()
        if len(found := pinned(need.name, python)) != 1 or found[0] not in need.specifier
    }
    assert wrong == {}, "what the lock has instead: run make lock"


@pytest.mark.parametrize("path", [*ROOT.glob("*.lock"), *ROOT.glob("scripts/*/*.lock")], ids=str)
def test_everything_has_hashes_and_nothing_an_address(path: Path) -> None:
    """Files are known by their content, wherever they come from."""
    lock = path.read_text()
    entries = ENTRY.findall(lock)
    assert len(entries) == len(re.findall(r"^[^\s#]", lock, re.MULTILINE))
    assert [entry for entry, hashes in entries if "sha256:" not in hashes] == []
    assert "://" not in lock


def test_node_packages_have_hashes_and_no_address() -> None:
    """What the oidc-provider of the tests is made of, too."""
    locked = json.loads((ROOT / "scripts/servers/oidc/package-lock.json").read_text())
    entries = [entry for name, entry in locked["packages"].items() if name]
    assert [entry for entry in entries if "integrity" not in entry or "resolved" in entry] == []


def test_users_are_offered_what_they_can_run() -> None:
    """Tools, benchmarks and the demo are groups of the tree: a wheel has no extra for them."""
    groups, extras = TOLD["dependency-groups"], TOLD["project"]["optional-dependencies"]
    assert set(groups) == {"demo", "bench", "dev"}
    assert groups.keys() & extras.keys() == set()
