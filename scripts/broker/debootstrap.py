"""Makes the Debian tree that holds a RabbitMQ of today, once; it is kept in a cache folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.broker.apt import alone, get, may_install, services_held_back
from scripts.broker.command import Signals, quietly
from scripts.broker.telling import BrokerError, say
from scripts.broker.tree import ALONE, Tree

SUITE = "forky"
# The steps to make it by: an older debootstrap does not know the suite by its name.
RECIPE = "sid"
MIRRORS = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian")


def made(signals: Signals) -> Tree:
    """The tree, which is whole if it is there: it gets its name last.

    Raises `BrokerError` where it cannot be made or entered.
    """
    if not may_install():
        raise BrokerError(
            "the way tree needs root on Debian: it makes a Debian tree, and enters it."
        )
    root = cache() / SUITE
    root.parent.mkdir(parents=True, exist_ok=True)
    with alone(root.parent, signals):
        if not root.exists():
            make(root, signals)
    return Tree(root)


def cache() -> Path:
    """The user's folder for what can be had again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "busauth"


def make(root: Path, signals: Signals) -> None:
    """Makes a tree with apt-get's mirror and debootstrap."""
    say(f"making {root}, a Debian tree with a RabbitMQ of today (once; a minute or two)")
    with alone(Path("/etc/apt"), signals), services_held_back():
        got = get(["debootstrap"], signals)
    with beside(root) as unfinished:
        done = got and quietly([command(unfinished)], signals)
        signals.check()
        if not done:
            raise BrokerError(f"{root} could not be made; what failed said why above.")
        shutil.copyfile("/etc/hosts", unfinished / "etc/hosts")


@contextmanager
def beside(root: Path) -> Iterator[Path]:
    """A path to make a tree at, which is moved to `root` in the end, or removed on an error.

    Also removed is what was left there by a run that was killed; nothing is bound into it.
    """
    for left in root.parent.glob(f"{root.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{root.name}-", dir=root.parent, ignore_cleanup_errors=True
    ) as folder:
        unfinished = Path(folder) / root.name
        yield unfinished
        unfinished.rename(root)


def command(root: Path) -> list[str]:
    """Debootstrap's; what it mounts goes with it, however it ends."""
    packages = "--include=rabbitmq-server,erlang-base"
    return [
        *ALONE,
        "debootstrap",
        "--variant=minbase",
        packages,
        SUITE,
        str(root),
        mirror(),
        RECIPE,
    ]


def mirror() -> str:
    """Where apt gets Debian from on this system; raises `BrokerError` when it does not."""
    listed = subprocess.run(MIRRORS, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        raise BrokerError("the way tree needs a Debian mirror, and apt-get's sources name none.")
    return listed[0]
