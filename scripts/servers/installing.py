"""Installs a server once, in the versions of its lock, into a folder of its own in the cache."""

import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.broker.apt import alone
from scripts.broker.command import Signals
from scripts.broker.debootstrap import beside, cache

HERE = Path(__file__).parent
SECONDS = 600.0
TAIL_LINES = 15


class ServerError(Exception):
    """A server cannot be had; says which, and what failed."""


@dataclass(frozen=True)
class Installed:
    """A folder with what `make` puts there, named after what it was made of.

    Attributes:
        name: the server's.
        locks: the files that say its versions.
        make: fills a folder, which is moved afterwards: no script in it knows where it stands.
    """

    name: str
    locks: Sequence[Path]
    make: Callable[[Path], None]

    def folder(self) -> Path:
        """Return the folder, which is whole if it is there; one that is not is made.

        Raises:
            ServerError: it cannot be made.
        """
        root = cache() / f"{self.name}-{self._stamp()}"
        root.parent.mkdir(parents=True, exist_ok=True)
        with alone(root.parent, Signals()):
            if not root.exists():
                with beside(root) as unfinished:
                    self.make(unfinished)
        return root

    def _stamp(self) -> str:
        """Another lock makes another folder, and so does another Python."""
        locked = b"".join(path.read_bytes() for path in self.locks)
        return f"{zlib.crc32(locked + sys.version.encode()):08x}"


def python_in(folder: Path, lock: Path) -> Path:
    """Make a virtual environment of what a lock says; return its interpreter."""
    python = folder / "bin/python"
    run([sys.executable, "-m", "venv", folder])
    quiet = ("-q", "--disable-pip-version-check", "--require-hashes")
    run([python, "-m", "pip", "install", *quiet, "-r", lock])
    return python


def run(command: Iterable[str | Path], *, within: Path | None = None) -> None:
    """Run a command to its end.

    Raises:
        ServerError: it fails, or takes too long; with the last of what it said.
    """
    words = [str(word) for word in command]
    try:
        subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=within,
            timeout=SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stdout or b"").decode("utf-8", "replace").splitlines()
        tail = "".join(f"\n    {line}" for line in said[-TAIL_LINES:])
        raise ServerError(f"{error}; it ends:{tail}") from None
