"""Holds a build in ``dist/`` to the tree and to a tag: ``python -m scripts.dist v0.1.0``.

Says what is wrong, each in a line of its own, and ends with 1; says nothing and ends with 0 where a
user would get what the tree has, and no more.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
ENTRIES = ("busauth = busauth.cli:main", "busauth = busauth.testing.plugin")
"""Lines of the wheel's entry points: the command, and the pytest plugin."""


def faults(dist: Path, tag: str, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a build.

    Args:
        dist: the folder it is in.
        tag: what it is built from, such as ``v0.1.0``.
        root: the tree that it is held to.
    """
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if tag != f"v{version}":
        yield f"the tag is {tag!r}, and pyproject.toml says {version!r}: expected 'v{version}'"
    if f"## [{version}]" not in (root / "CHANGELOG.md").read_text():
        yield f"CHANGELOG.md has no part for {version}: expected '## [{version}] - <date>'"
    wheel, archive = f"busauth-{version}-py3-none-any.whl", f"busauth-{version}.tar.gz"
    found = sorted(path.name for path in dist.glob("*"))
    if found != [wheel, archive]:
        yield f"{dist} has {found}: expected {wheel} and {archive}, and nothing else"
    if wheel in found:
        yield from wheel_faults(dist / wheel, modules(root))


def modules(root: Path) -> set[str]:
    """What a wheel has of the package, by path in the tree."""
    package = root / "busauth"
    return {str(path.relative_to(root)) for path in (*package.rglob("*.py"), package / "py.typed")}


def wheel_faults(wheel: Path, expected: set[str]) -> Iterator[str]:
    """What is wrong with a wheel's files and entry points."""
    with ZipFile(wheel) as file:
        names = set(file.namelist())
        texts = [file.read(name).decode() for name in names if name.endswith("/entry_points.txt")]
    told = {name for name in names if re.match(r"busauth-[^/]+\.dist-info/", name)}
    for name in sorted(expected - names):
        yield f"{wheel.name} lacks {name}"
    for name in sorted(names - told - expected):
        yield f"{wheel.name} has {name}, which is no module of the tree"
    if not any(name.endswith("/LICENSE") for name in told):
        yield f"{wheel.name} lacks the licence"
    for line in ENTRIES:
        if line not in "\n".join(texts).splitlines():
            yield f"{wheel.name} lacks the entry point {line!r}"


def main() -> int:
    """Tell what is wrong with what is in ``dist/``."""
    if len(sys.argv) != 2:  # noqa: PLR2004 -- the program and one argument
        print("dist: expected one argument, a tag such as v0.1.0", file=sys.stderr)
        return 2
    wrong = list(faults(ROOT / "dist", sys.argv[1]))
    for line in wrong:
        print(f"dist: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
