"""Sees to the programs that tests use besides RabbitMQ: ``python -m scripts.programs``.

What is missing is installed with apt-get as root on Debian or Ubuntu; elsewhere one sentence says
what to do, and the exit code is 1.
"""

import shutil
import sys
from pathlib import Path

from scripts.broker.apt import alone, get, may_install, services_held_back
from scripts.broker.command import Interrupted, Signals

PROGRAMS = {
    "amqp-tools": (
        "amqp-publish",
        "amqp-get",
        "amqp-consume",
        "amqp-declare-queue",
        "amqp-delete-queue",
    ),
    "redis-server": ("redis-server",),
}
"""Debian's packages, and what is needed of each."""

ADVICE = (
    "apt-get install {packages} (Debian and Ubuntu, where root gets them by itself), dnf install "
    "librabbitmq-tools redis, or brew install rabbitmq-c redis."
)


def say(text: str) -> None:
    """Tells the user on stderr."""
    print(f"programs: {text}", file=sys.stderr, flush=True)


def missing() -> list[str]:
    """The packages of which something is not there."""
    return [
        package
        for package, commands in PROGRAMS.items()
        if not all(shutil.which(command) for command in commands)
    ]


def main() -> int:
    """The whole program; returns its exit code."""
    if not missing():
        return 0
    if not may_install():
        packages = " ".join(missing())
        say(f"not installed: {packages}. {ADVICE.format(packages=packages)}")
        return 1
    signals = Signals()
    signals.install()
    try:
        with alone(Path("/etc/apt"), signals), services_held_back():
            done = installed_now(signals)
        signals.check()
    except Interrupted as interrupted:
        return 128 + interrupted.number
    return 0 if done else 1


def installed_now(signals: Signals) -> bool:
    """Installs what another run has not installed meanwhile."""
    packages = missing()
    if not packages:
        return True
    say(f"installing {' and '.join(packages)} with apt-get (a minute or less)")
    done = get(packages, signals) and not missing()
    if not done:
        say(f"apt-get could not install {' and '.join(packages)}")
    return done


if __name__ == "__main__":
    sys.exit(main())
