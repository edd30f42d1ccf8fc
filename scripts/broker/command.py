"""Running commands to their end, and handing signals on to them."""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import IO

from scripts.broker.telling import say

GRACE_SECONDS = 15.0


class Interrupted(Exception):  # noqa: N818 - a signal is no error
    """A signal came before the command was started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Remembers signals instead of raising, so that nothing is started and left unrecorded."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._pending: int | None = None

    def install(self) -> None:
        """Listens, except for signals which the caller has us ignore (``nohup``, ``&``)."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = self._pending = number

    def take(self) -> int | None:
        """The signal that nobody took yet."""
        number, self._pending = self._pending, None
        return number

    def check(self) -> None:
        """Raises `Interrupted` once a signal came."""
        if self.received is not None:
            raise Interrupted(self.received)


def run(
    command: Sequence[str],
    signals: Signals,
    env: Mapping[str, str] | None = None,
    stdout: IO[str] | None = None,
) -> int:
    """Runs a command to its end, passing signals on; returns its code as a shell would."""
    try:
        child = subprocess.Popen(command, env=env, stdout=stdout)
    except OSError as error:
        say(f"cannot run {command[0]}: {error.strerror}")
        return 127
    code = follow(child, signals)
    return code if code >= 0 else 128 - code


def quietly(
    commands: Iterable[Sequence[str]], signals: Signals, env: Mapping[str, str] | None = None
) -> bool:
    """Runs commands until one fails; what they say on stdout is shown only then."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        done = all(run(command, signals, env, words) == 0 for command in commands)
        if not done:
            words.seek(0)
            sys.stderr.write(words.read())
    return done


def follow(child: subprocess.Popen[bytes], signals: Signals) -> int:
    """Waits for a child; one that does not end within 15 seconds of a signal is killed."""
    deadline = math.inf
    while child.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
        number = signals.take()
        if number is not None and not sent_by_terminal(number):
            child.send_signal(number)
            deadline = time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            child.kill()
    return child.wait()


def sent_by_terminal(number: int) -> bool:
    """Whether the child got this signal too: Ctrl-C goes to everybody in the foreground."""
    try:
        return number == signal.SIGINT and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def succeeds(*command: str) -> bool:
    """Whether a command exists and returns 0, quietly."""
    if shutil.which(command[0]) is None:
        return False
    quiet = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return quiet.returncode == 0
