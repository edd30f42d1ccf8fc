"""What development installs is locked: versions that pyproject.toml allows, by their hashes."""

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
    """Return what pyproject.toml asks for, in every extra, and to build."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = told["project"]["optional-dependencies"].values()
    every = chain(told["build-system"]["requires"], told["project"]["dependencies"], *groups)
    return [need for need in map(Requirement, every) if need.name != "busauth"]


@pytest.mark.parametrize("python", PYTHONS)
def test_what_is_asked_for_is_locked(python: str) -> None:
    """Each package has one version for each Python, and it is one that is asked for."""
    wrong = {
        str(need): found
        for need in asked()
        if len(found := pinned(need.name, python)) != 1 or found[0] not in need.specifier
    }
    assert wrong == {}, "what the lock has instead: run make lock"


def test_everything_has_hashes_and_nothing_an_address() -> None:
    """Files are known by their content, wherever they come from."""
    assert len(ENTRIES) == len(re.findall(r"^[^\s#]", LOCK, re.MULTILINE))
    assert [str(entry) for entry, hashes in ENTRIES if "sha256:" not in hashes] == []
    assert "://" not in LOCK
