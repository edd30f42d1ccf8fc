"""Sees to amqp-tools, the command-line client that tests use: ``python -m scripts.amqp_tools``.

Where it is missing, ``apt-get install amqp-tools`` as root on Debian or Ubuntu; elsewhere one
sentence says what to do, and the exit code is 1.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from scripts.broker.apt import alone, may_install
from scripts.broker.command import Interrupted, Signals, run

COMMANDS = ("amqp-publish", "amqp-get", "amqp-consume", "amqp-declare-queue", "amqp-delete-queue")
APT = (
    ("apt-get", "-qq", "update"),
    ("apt-get", "-qq", "install", "-y", "--no-install-recommends", "amqp-tools"),
)
MISSING = (
    "not installed: apt-get install amqp-tools (Debian and Ubuntu, where root gets it by itself), "
    "dnf install librabbitmq-tools, or brew install rabbitmq-c."
)


def say(text: str) -> None:
    """Tells the user on stderr."""
    print(f"amqp-tools: {text}", file=sys.stderr, flush=True)


def installed() -> bool:
    """Whether every command is there."""
    return all(shutil.which(command) for command in COMMANDS)


def install(signals: Signals) -> bool:
    """Runs apt-get; what it says on stdout is shown only when it fails."""
    say("installing it with apt-get (a minute or less)")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        done = all(run(command, signals, env, words) == 0 for command in APT)
        if not done:
            words.seek(0)
            sys.stderr.write(words.read())
    return done


def main() -> int:
    """The whole program; returns its exit code."""
    if installed():
        return 0
    if not may_install():
        say(MISSING)
        return 1
    signals = Signals()
    signals.install()
    try:
        with alone(Path("/etc/apt"), signals):
            done = installed() or install(signals)
        signals.check()
    except Interrupted as interrupted:
        return 128 + interrupted.number
    if not done:
        say("apt-get could not install it")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
