"""Waiting for processes, and knowing that they and all below them are gone."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

INIT_SECONDS = 2.0


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition; returns whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return true


def kill_group(group: int) -> None:
    """Ends every process of a group at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def released(log: Path) -> bool:
    """Whether every process that writes to a log has ended.

    Erlang's helpers leave their parent's process group; the lock that they inherit with the log
    tells that they are gone, on every system and without a look at other people's processes.
    """
    with log.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def descendants(process: int) -> list[int]:
    """The processes under a process, where the system tells (Linux)."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    children = [int(child) for child in text.split()]
    return children + [below for child in children for below in descendants(child)]


def await_init(processes: Iterable[int]) -> None:
    """Gives init a moment to bury ended orphans, which would still be listed by ``ps``."""
    entries = [Path(f"/proc/{process}") for process in processes]
    until(lambda: not any(entry.exists() for entry in entries), INIT_SECONDS)
