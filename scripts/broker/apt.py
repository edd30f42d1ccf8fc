"""Installing packages with apt-get, RabbitMQ above all, and never their system services."""

import contextlib
import fcntl
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.broker.command import Signals, quietly
from scripts.broker.process import until
from scripts.broker.telling import VARIABLE, say


def may_install() -> bool:
    """Whether this is root on Debian, Ubuntu or a relative."""
    release = Path("/etc/os-release")
    return (
        os.geteuid() == 0
        and shutil.which("apt-get") is not None
        and release.exists()
        and is_debian(release.read_text("utf-8"))
    )


def is_debian(release: str) -> bool:
    """Whether an os-release text names Debian or Ubuntu, or a system made like them."""
    entries = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    names = f"{entries.get('ID', '')} {entries.get('ID_LIKE', '')}".replace('"', "").split()
    return not {"debian", "ubuntu"}.isdisjoint(names)


def install(signals: Signals) -> bool:
    """Gets RabbitMQ."""
    say(
        f"none is installed and {VARIABLE} is not set: installing rabbitmq-server with apt-get "
        "(a minute or less)"
    )
    return get(["rabbitmq-server"], signals)


def get(packages: Sequence[str], signals: Signals) -> bool:
    """Runs apt-get; what it says on stdout is shown only when it fails."""
    commands = (
        ("apt-get", "-qq", "update"),
        ("apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages),
    )
    return quietly(commands, signals, os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def alone(folder: Path, signals: Signals) -> Iterator[None]:
    """Two runs at once take turns; locking a folder leaves no file behind."""

    def locked() -> bool:
        signals.check()
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    handle = os.open(folder, os.O_RDONLY)
    try:
        until(locked, math.inf)
        yield
    finally:
        os.close(handle)


@contextmanager
def services_held_back(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Packages start no service meanwhile (Debian's invoke-rc.d asks this file)."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
