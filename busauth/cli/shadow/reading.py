"""Events as lines of JSON: out of files that are replaced as they grow, or of standard input.

What is no event of a decision is passed over: a line that was cut off, or another program's. No
line is kept beyond a bound, whoever wrote it.
"""

import gzip
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple, TypeGuard, cast

from busauth.audit import EventKind
from busauth.errors import evidence

_LONGEST = 256 * 1024
"""Bytes of a line that are looked at: an event has some hundreds."""

_FAR = 253_402_300_800.0
"""The year 10,000, which no calendar of Python's has."""

_ACCEPTED = frozenset({EventKind.ACCEPTED.value, EventKind.ACCEPTED_LATE.value})


class Decided(NamedTuple):
    """What an event says of a decision, or of none.

    Attributes:
        at: when, seconds since the epoch.
        code: why strict would have refused; None where it has accepted.
        sender: who sent it, as far as that is known.
    """

    queue: str
    at: float
    code: str | None
    sender: str | None
    message_id: str | None


def lines_of(files: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines of files, their older parts (``FILE.1`` and so on) first; each file once.

    Args:
        files: their paths; ``-`` is standard input.

    Raises:
        OSError, EOFError, zlib.error: one of them cannot be read.
    """
    seen = set[tuple[int, int]]()
    for file in files:
        if file == "-":
            yield from _lines_in(sys.stdin.buffer)
            continue
        with ExitStack() as stack:
            parts = [stack.enter_context(_opened(Path(file)))]
            parts += [stack.enter_context(each) for each in _older(Path(file))]
            for part in reversed(parts):
                found = os.fstat(part.fileno())
                if (found.st_dev, found.st_ino) not in seen:
                    seen.add((found.st_dev, found.st_ino))
                    yield from _lines_in(part)


def decided_in(line: bytes) -> Decided | None:
    """Return what a line says of a decision, None where it says nothing of one."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    kind, queue, at, code = (said.get(name) for name in ("kind", "queue", "at", "code"))
    is_shadowed = kind == EventKind.SHADOWED.value and isinstance(code, str)
    is_decision = is_shadowed or (isinstance(kind, str) and kind in _ACCEPTED)
    if not is_decision or not isinstance(queue, str) or not _is_instant(at):
        return None
    sender, message_id = _text(said.get("sender")), _text(said.get("message_id"))
    return Decided(_text(queue) or "", at, _text(code) if is_shadowed else None, sender, message_id)


def _is_instant(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value < _FAR  # neither NaN nor an infinity is


def _text(value: object) -> str | None:
    """Return what may be shown on a terminal, of what anybody may have written."""
    return evidence(value) if isinstance(value, str) else None


def _older(path: Path) -> Iterator[IO[bytes]]:
    """Open the older parts of a file, the newest first.

    A part that is moved meanwhile becomes an older one, and is met once more; none is missed.
    """
    for number in count(1):
        names = (f"{path.name}.{number}", f"{path.name}.{number}.gz")
        there = [path.with_name(name) for name in names if path.with_name(name).exists()]
        if not there:
            return
        yield _opened(there[0])


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _lines_in(opened: IO[bytes]) -> Iterator[bytes]:
    while line := opened.readline(_LONGEST):
        if line.endswith(b"\n") or len(line) < _LONGEST:
            yield line
            continue
        while (rest := opened.readline(_LONGEST)) and not rest.endswith(b"\n"):
            pass  # too long to be one of ours
