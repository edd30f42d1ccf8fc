"""The Debian tree of the runner's way `tree`: it is there when it is whole, and made once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.broker.apt import may_install
from scripts.broker.debootstrap import beside, mirror
from scripts.broker.server import at_hand
from scripts.broker.telling import BrokerError
from scripts.broker.tree import Tree

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]
MAKER = """
from scripts.broker.command import Signals
from scripts.broker.debootstrap import made
from scripts.broker.telling import BrokerError
try:
    print(made(Signals()).root)
except BrokerError as error:
    print(error)
"""
REFUSED = "the way tree needs root on Debian: it makes a Debian tree, and enters it."


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that go before the system's; the cache is the test's own."""
    made = tmp_path / "programs"
    made.mkdir()
    monkeypatch.setenv("PATH", f"{made}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache/busauth"


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def maker() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKER], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )


def test_a_tree_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """While a tree is made nothing is at its place; afterwards it is, and nothing beside it."""
    root = tmp_path / "suite"
    with beside(root) as unfinished:
        unfinished.mkdir()
        (unfinished / "etc").mkdir()
        assert not root.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["suite"]
    assert (root / "etc").is_dir()


def test_a_tree_that_failed_is_not_there(tmp_path: Path) -> None:
    """What was made of a tree goes when an error ends it."""

    def fail() -> None:
        with beside(tmp_path / "suite") as unfinished:
            unfinished.mkdir()
            raise BrokerError("no")

    with pytest.raises(BrokerError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_tree_and_goes(tmp_path: Path) -> None:
    """A run that was killed in the middle leaves no tree, and the next one clears its leavings."""
    killed = (
        "import os, pathlib; from scripts.broker.debootstrap import beside\n"
        f"with beside(pathlib.Path({str(tmp_path / 'suite')!r})) as unfinished:\n"
        "    (unfinished / 'etc').mkdir(parents=True); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed], cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("suite-")
    with beside(tmp_path / "suite") as unfinished:
        unfinished.mkdir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["suite"]


def test_two_runs_at_once_make_one_tree(programs: Path, cache: Path) -> None:
    """The second waits for the first and finds its tree, made of apt-get's mirror."""
    calls = cache.parent.parent / "calls"
    program(programs, "apt-get", 'test "$1" != indextargets || echo http://mirror.test/debian/')
    program(programs, "debootstrap", f'echo "$@" >> {calls}; sleep 1; mkdir -p "$4/etc"')
    makers = [maker(), maker()]
    said = {each.communicate()[0].strip() for each in makers}
    if not may_install():
        assert said == {REFUSED}
        return
    assert said == {str(cache / "forky")}
    assert [entry.name for entry in cache.iterdir()] == ["forky"]
    (call,) = calls.read_text().splitlines()
    assert call.endswith(" http://mirror.test/debian/ sid")


def test_a_debootstrap_that_fails_is_one_sentence(programs: Path, cache: Path) -> None:
    """Nothing stays in the cache when debootstrap fails, and the run says so."""
    program(programs, "apt-get", "echo http://mirror.test/debian/")
    program(programs, "debootstrap", 'mkdir -p "$4/etc"; exit 1')
    said = maker().communicate()[0].strip()
    if not may_install():
        assert said == REFUSED
        return
    assert said == f"{cache / 'forky'} could not be made; what failed said why above."
    assert list(cache.iterdir()) == []


def test_without_apt_get_the_way_says_what_it_needs(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Debian, or as anybody else than root, one sentence tells why."""
    monkeypatch.setenv("PATH", str(programs))
    assert maker().communicate()[0].strip() == REFUSED


def test_without_a_debian_mirror_the_way_says_what_it_needs(programs: Path) -> None:
    """On a relative of Debian, apt-get's sources name no Debian to make the tree from."""
    program(programs, "apt-get", "exit 0")
    with pytest.raises(BrokerError, match="needs a Debian mirror"):
        mirror()


def test_private_nodes_run_the_tree_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named tree goes before an installed RabbitMQ."""
    monkeypatch.setenv("BUSAUTH_RABBITMQ_TREE", "/tmp/a tree")
    assert at_hand() == Tree(Path("/tmp/a tree"))
