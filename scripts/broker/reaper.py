"""A second process that cleans up, also when the first one is killed."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.broker.process import kill_group, released, until

ROOT = Path(__file__).resolve().parents[2]
REAP = "import sys; from scripts.broker.reaper import reap; reap(sys.argv[1], sys.stdin)"
RELEASE_SECONDS = 30.0


class Reaper:
    """Makes a folder; removes it, and the process groups still noted, once its owner is gone.

    The owner holds the other end of a pipe, which the system closes however the owner ends.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="busauth-rabbitmq-"))
        self._process = subprocess.Popen(
            # As -I, but with the folder we stand in to import from; -B leaves no bytecode there.
            [sys.executable, "-E", "-s", "-S", "-B", "-c", REAP, str(self.folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def note(self, group: int) -> None:
        """From now on this process group is killed at the end."""
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """The group has ended; its number may soon belong to somebody else."""
        self._tell(f"-{group}")

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            print(line, file=self._process.stdin, flush=True)

    def close(self) -> None:
        """Closes the pipe; returns when the folder is gone."""
        self._process.communicate()


def reap(folder: str, lines: Iterable[str]) -> None:
    """What the reaper does: reads notes until its owner is gone, then cleans up."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        kill_group(group)
    until(lambda: all(map(released, Path(folder).glob("*.log"))), RELEASE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
