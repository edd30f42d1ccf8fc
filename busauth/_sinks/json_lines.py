"""Events as lines of JSON in a file that is replaced before it grows too long."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Annotated, Any

from busauth._arguments import Count, CountOrNone, Range, checked
from busauth._files.shared import append, locked
from busauth._sinks.pseudonyms import Pseudonyms
from busauth._sinks.threaded import MOST, ThreadedSink, Writer
from busauth.audit import Shipped, without_tokens
from busauth.clock import Clock
from busauth.errors import ConfigurationError

FileBytes = Annotated[int, Range(unit="bytes", least=4096)]


class JsonLines(ThreadedSink):
    """Writes events to a file, one object of JSON a line: `Guard(auditor=JsonLines(path))`.

    It is written in a thread, so that no message waits for a disk. What cannot be written is tried
    again; where too much waits for that it is counted, and told in the log. The file and older ones
    are readable by their owner alone. Several processes may write one file.

    Args:
        path: the file; its folder exists. Older ones are ``path.1``, the newest of them, and so on.
        max_bytes: how long it gets before it becomes an older one.
        keep: how many older ones are kept; further ones are deleted.
        pseudonyms: what subjects are written as; None for their names.
        waiting: events that may wait to be written.
        clock: other than the machine's, for how often the log is told.

    Raises:
        ConfigurationError: a number out of its range.
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        *,
        max_bytes: FileBytes = 64 * 1024 * 1024,
        keep: CountOrNone = 9,
        pseudonyms: Pseudonyms | None = None,
        waiting: Count = MOST,
        clock: Clock | None = None,
    ) -> None:
        writer = _Lines(Path(path), max_bytes, keep, pseudonyms)
        super().__init__(f"the audit file {path}", writer, waiting=waiting, clock=clock)


class _Lines(Writer[bytes]):
    """Writes lines, those of a batch at once."""

    def __init__(
        self, path: Path, max_bytes: int, keep: int, pseudonyms: Pseudonyms | None
    ) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._pseudonyms = pseudonyms

    def encoded(self, item: Shipped) -> bytes:
        return json_of(item, self._pseudonyms) + b"\n"

    def write(self, items: list[bytes]) -> None:
        with locked(self._path):
            while items:
                lines = _fitting(items, self._room(len(items[0])))
                append(self._path, b"".join(lines))
                del items[: len(lines)]

    def _room(self, needed: int) -> int:
        """Return how many bytes fit, having made room where too few do."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return self._max_bytes
        if not size or size + needed <= self._max_bytes:
            return self._max_bytes - size
        for number in range(self._keep, 0, -1):
            with suppress(FileNotFoundError):
                _older(self._path, number - 1).replace(_older(self._path, number))
        if not self._keep:
            self._path.unlink()
        return self._max_bytes


def json_of(item: Shipped, pseudonyms: Pseudonyms | None, **also: object) -> bytes:
    """Return an event or a status as JSON, on one line, with pseudonyms for names."""
    known = item.as_json()
    said = pseudonyms.applied(known) if pseudonyms is not None else known
    return json.dumps({**said, **without_tokens(also)}, separators=(",", ":")).encode("ascii")


def _fitting(lines: list[bytes], room: int) -> list[bytes]:
    """Return the first lines that fit, one at least."""
    found = lines[:1]
    room -= len(found[0])
    for line in lines[1:]:
        room -= len(line)
        if room < 0:
            break
        found.append(line)
    return found


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


@checked
def read_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """Return what `JsonLines` has written, the oldest first, older files included.

    A line that is no JSON, as one that a crash has cut off, is left out.

    Raises:
        ConfigurationError: there is no such file, or it cannot be read.
    """
    files, opened = _opened(Path(path))
    return _objects(files, opened)


def _opened(path: Path) -> tuple[list[IO[bytes]], ExitStack]:
    """Open all at once, so that what is renamed meanwhile is read all the same."""
    found: list[IO[bytes]] = []
    with ExitStack() as opened, ExitStack() as lock:
        with suppress(OSError):  # who may only read has no lock, and may miss what is renamed now
            lock.enter_context(locked(path))
        for each in (*_all_older(path), path):
            try:
                found.append(opened.enter_context(each.open("rb")))
            except OSError as error:
                if not (found and isinstance(error, FileNotFoundError)):
                    raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
        return found, opened.pop_all()


def _all_older(path: Path) -> list[Path]:
    older = re.compile(rf"{re.escape(path.name)}\.([1-9][0-9]{{0,8}})")
    found = (older.fullmatch(each.name) for each in path.parent.glob("*"))
    known = sorted((int(each[1]) for each in found if each is not None), reverse=True)
    return [_older(path, number) for number in known]


def _objects(files: list[IO[bytes]], opened: ExitStack) -> Iterator[dict[str, Any]]:
    with opened:
        for file in files:
            for line in file:
                with suppress(ValueError, RecursionError):
                    found = json.loads(line)
                    if isinstance(found, dict):
                        yield found
