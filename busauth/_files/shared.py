"""Files that several processes write, one at a time, and that nobody else reads."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_ONLY_OWN = 0o600


def private(path: str, flags: int) -> int:
    """Open a file that is its owner's from the first byte on: a later chmod would be too late."""
    return os.open(path, flags, _ONLY_OWN)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let nobody else into the same file who asks so, by a file beside it that stays.

    The file itself is replaced and renamed, so that a lock on it would be one on an older file.

    Raises:
        OSError: there is no such folder, or nothing may be written there.
    """
    import fcntl  # noqa: PLC0415 -- where there is none (Windows), only this cannot be had

    lock = private(str(path.with_name(f".{path.name}.lock")), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Said, not left to the close: a process forked meanwhile has it open for as long as it
            # lives, and would keep all others out.
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


def append(path: Path, data: bytes) -> None:
    """Add to a file, whole or not at all: what was cut off by a crash is made a line of its own.

    Only one process may do so at a time.

    Raises:
        OSError: it cannot be written; what it was before, it is.
    """
    file = private(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(file).st_size
        torn = size and os.pread(file, 1, size - 1) != b"\n"
        _write_whole(file, size, b"\n" + data if torn else data)
    finally:
        os.close(file)


def _write_whole(file: int, size: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(file, data) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace a file, whole or not at all.

    Args:
        path: the file.
        write: writes what it is to hold.

    Raises:
        OSError: it cannot be written.
    """
    # In the same folder, as no file is renamed across file systems; and one for each process.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb", opener=private) as file:
            write(file)
            file.flush()
            # Before it is renamed: else a crash leaves a name and nothing in it.
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # as a rule it has its new name
