"""Builds what users get, holds it to the tree, and tries it: ``python -m scripts.dist [TAG]``.

Leaves one wheel and one source archive in ``dist/``. Says what is wrong, each in a line of its own,
and ends with 1; ends with 0 where a user would get what the tree has, and no more. A tag, such as
``v0.1.0``, is what is to be released: it is held to the version and to the CHANGELOG as well.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Self
from zipfile import ZipFile

import typer.main

from busauth.cli import app
from scripts.recording import CURL, recorded

ROOT = Path(__file__).parents[1]
ENTRIES = ("busauth = busauth.cli:main", "busauth = busauth.testing.plugin")
"""Lines of the wheel's entry points: the command, and the pytest plugin."""
ARCHIVED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "tests/conftest.py")
"""What makes a source archive one that can be built and tested, besides the modules."""
WITH_EXTRAS = (
    *(f"busauth.integrations.{name}" for name in ("console", "desk", "fastapi", "otel", "redis")),
    "busauth.integrations.starlette",
    *(f"busauth.cli.dev.{name}" for name in ("stage", "watching")),
)
"""Modules that need what only an extra brings."""

MINUTE = 60.0
"""Seconds of work from Python alone to the end of the README's first steps."""


def build(dist: Path, root: Path = ROOT) -> None:
    """Build an archive of the tree, and from it a wheel, with what builds here and is locked."""
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(root))
    _run(sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted(dist.iterdir())))


def _run(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program, and return what it said; what it said is shown where it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=cwd,
        env=env,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}dist: {' '.join(command)} ended with {done.returncode}")
    return done.stdout


def faults(dist: Path, tag: str | None, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a build.

    Args:
        dist: the folder it is in.
        tag: what it is released as, such as ``v0.1.0``; None for a build that is no release.
        root: the tree that it is held to.
    """
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if tag is not None:
        yield from release_faults(tag, version, (root / "CHANGELOG.md").read_text())
    wheel, archive = f"busauth-{version}-py3-none-any.whl", f"busauth-{version}.tar.gz"
    found = sorted(path.name for path in dist.glob("*"))
    if found != [wheel, archive]:
        yield f"{dist} has {found}: expected {wheel} and {archive}, and nothing else"
    if wheel in found:
        yield from wheel_faults(
            dist / wheel, modules(root) | pages(root), (root / "README.md").read_text()
        )
    if archive in found:
        yield from archive_faults(dist / archive, {*modules(root), *pages(root), *ARCHIVED})


def release_faults(tag: str, version: str, changelog: str) -> Iterator[str]:
    """What keeps a tree from being released by this tag."""
    if tag != f"v{version}":
        yield f"the tag is {tag!r}, and pyproject.toml says {version!r}: expected 'v{version}'"
    parts = re.findall(r"^## \[([^]]+)\](.*)\n((?:(?!## \[).*\n?)*)", changelog, re.MULTILINE)
    names = [name for name, _, _ in parts[:2]]
    if names != ["Unreleased", version]:
        yield f"CHANGELOG.md begins with {names}: expected '## [Unreleased]', then '## [{version}]'"
        return
    (_, _, waiting), (_, date, text) = parts[:2]
    if waiting.strip():
        yield f"CHANGELOG.md has lines under Unreleased: expected them under {version}"
    if not re.fullmatch(r" - \d{4}-\d\d-\d\d", date) or not text.strip():
        yield f"CHANGELOG.md has no lines, or no date, for {version}: expected both"


def modules(root: Path) -> set[str]:
    """What a wheel has of the package to be imported, by path in the tree."""
    package = root / "busauth"
    return {str(path.relative_to(root)) for path in (*package.rglob("*.py"), package / "py.typed")}


def pages(root: Path) -> set[str]:
    """What a wheel has besides: what is served to browsers, by path in the tree."""
    console = root / "busauth" / "integrations" / "console"
    served = (
        *(root / "busauth" / "cli" / "dev" / "web").glob("page.*"),
        *(console / "templates").glob("*.*"),
    )
    return {str(path.relative_to(root)) for path in served}


def wheel_faults(wheel: Path, expected: set[str], readme: str) -> Iterator[str]:
    """What is wrong with a wheel's files, entry points and description."""
    with ZipFile(wheel) as file:
        names = set(file.namelist())
        told = {name for name in names if re.match(r"busauth-[^/]+\.dist-info/", name)}
        texts = {name.split("/", 1)[1]: file.read(name).decode() for name in told}
    for name in sorted(expected - names):
        yield f"{wheel.name} lacks {name}"
    for name in sorted(names - told - expected):
        yield f"{wheel.name} has {name}, which is no module of the tree"
    if not any(name.endswith("LICENSE") for name in texts):
        yield f"{wheel.name} lacks the licence"
    if readme.strip() not in texts.get("METADATA", ""):
        yield f"{wheel.name} does not describe itself by README.md"
    for line in ENTRIES:
        if line not in texts.get("entry_points.txt", "").splitlines():
            yield f"{wheel.name} lacks the entry point {line!r}"


def archive_faults(archive: Path, expected: set[str]) -> Iterator[str]:
    """What a source archive lacks."""
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for name in sorted(expected - names):
        yield f"{archive.name} lacks {name}"


def doors(root: Path) -> list[str]:
    """The modules that users import, by name."""
    paths = (path.removesuffix("/__init__.py").removesuffix(".py") for path in modules(root))
    names = (path.replace("/", ".") for path in paths)
    return sorted(name for name in names if not re.search(r"\._|py\.typed|\.plugin$", name))


def commands() -> list[str]:
    """What `busauth` can be told to do."""
    return list(typer.main.get_group(app).commands)


@dataclass(frozen=True)
class Clean:
    """A virtual environment and nothing else: what somebody has who has Python alone.

    Attributes:
        folder: where it is, and where what is run in it is run.
    """

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Self:
        """Make one, without a pip of its own."""
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder / "environment"))
        return cls(folder)

    @property
    def environ(self) -> dict[str, str]:
        """What its programs see: its own programs first, and nothing that is said to Python."""
        outer = {name: said for name, said in os.environ.items() if not name.startswith("PYTHON")}
        return outer | {"PATH": f"{self.folder / 'environment' / 'bin'}:{outer['PATH']}"}

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "environment" / "bin" / "python")

    def run(self, *command: str) -> str:
        """Run a program in it, and return what it said."""
        return _run(*command, cwd=self.folder, env=self.environ)


def tried(wheel: Path, folder: Path, root: Path = ROOT) -> None:
    """Install a wheel into an environment of its own, import its doors, and ask its commands.

    What it depends on has the versions that are installed here. At first nothing is there that it
    does not ask for; then what the README's first steps want; then what is left to its user is,
    pytest for one.
    """
    before, versions = _work(), folder / "known.txt"
    found = {each.name: each.version for each in distributions() if each.name != "busauth"}
    versions.write_text("".join(f"{name}=={version}\n" for name, version in found.items()))
    clean = Clean.made(folder)
    install(clean.python, str(wheel), versions)
    worked = _work() - before
    _import(clean, [name for name in doors(root) if not name.startswith(WITH_EXTRAS)])
    for words in ([], *([name] for name in commands())):
        clean.run("busauth", *words, "--help")
    before = _work()
    install(clean.python, f"{wheel}[standard]", versions)
    first_steps(clean, (root / "README.md").read_text("utf-8"))
    if (worked := worked + _work() - before) > MINUTE:
        raise SystemExit(f"dist: the first steps took {worked:.0f} s of work: expected a minute")
    install(clean.python, f"{wheel}[redis,encryption,fastapi,console]", versions, "pytest")
    _import(clean, doors(root))
    told = clean.run("python", "-I", "-m", "pytest", "--fixtures", "-p", "no:cacheprovider", ".")
    if "busauth_kit" not in told:
        raise SystemExit(
            f"{told}dist: pytest has no fixture busauth_kit where busauth is installed"
        )


def first_steps(clean: Clean, readme: str) -> None:
    """Do what the README has somebody do first: until a message is refused for its token's age."""
    if CURL not in readme:
        raise SystemExit(f"dist: README.md lacks the first steps that are tried:\n{CURL}")
    clean.run("busauth", "--version")
    recorded(clean.folder / "environment" / "bin")
    clean.run("python", "-W", "error", "-c", re.findall(r"```python\n(.*?)```", readme, re.S)[0])


def _work() -> float:
    """Return for how many seconds processors have worked for programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _import(clean: Clean, names: list[str]) -> None:
    clean.run("python", "-I", "-W", "error", "-c", f"import {', '.join(names)}")


def install(python: str, what: str, known: Path, *more: str) -> None:
    """Install into the environment of an interpreter, by uv where it is there."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    if uv := shutil.which("uv"):
        pip = [uv, "pip", "install", "--python", python]
    _run(*pip, "-q", "-c", str(known), what, *more)


def main() -> int:
    """Build, tell what is wrong with it, and try it where nothing is."""
    dist, tag = ROOT / "dist", sys.argv[1] if len(sys.argv) > 1 else None
    shutil.rmtree(dist, ignore_errors=True)
    build(dist)
    wrong = list(faults(dist, tag))
    for line in wrong:
        print(f"dist: {line}", file=sys.stderr)
    if not wrong:
        with tempfile.TemporaryDirectory() as folder:
            tried(next(dist.glob("*.whl")), Path(folder))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
