"""What a reader knew, in a file, so that a restart reads on instead of reading everything again.

::

    busauth-revoked-1 <newline>
    a JSON object in one line: the feed, whom it trusts, the position, when it was written
    25 bytes for each entry: kind, digest, second
    32 bytes: HMAC-SHA-256 over everything before them

A file that is damaged, forged, of another feed or version, too old, or written under other trust is
not used: the feed is read anew instead. An older file that somebody has put back is: what it does
not hold is read from the stream, whose message at that position must still be the same.
"""

import hmac
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from busauth._arguments import checked
from busauth._files.sealed import SealedFile, UnusableFile
from busauth._revocation.events import SKEW
from busauth._revocation.store import KINDS, Record
from busauth.errors import BusauthError

_MAGIC = b"busauth-revoked-1\n"
_RECORD = struct.Struct(">B16sq")
_HEADER_LIMIT = 1024 * 1024  # bytes: the names of issuers, for each kind of revocation
_SHA256_DIGITS = 64


class UnusableCheckpoint(BusauthError):  # noqa: N818 -- a finding: the feed is read anew
    """A checkpoint that is not to be used; says why."""


@dataclass(frozen=True, slots=True)
class Position:
    """A message in a stream: where it is, and the hex SHA-256 of its body."""

    offset: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a reader knew at an instant.

    Attributes:
        feed: which feed it read, and whom it trusted.
        retention: seconds for which it remembered.
        position: the last message that it had read.
        at: when this was noted, seconds since the epoch.
        issuers: see `RevokedTokens.issuers`.
        records: its entries, a few thousand at a time.
    """

    feed: str
    retention: float
    position: Position
    at: float
    issuers: Mapping[int, list[str]]
    records: Iterable[list[Record]] = field(repr=False)


class CheckpointFile:
    """A place for checkpoints; one reader each.

    Args:
        path: the file; its folder exists.
        key: the secret that authenticates it, 32 random bytes or more.

    Raises:
        ConfigurationError: the key is too short.
    """

    @checked
    def __init__(self, path: str | Path, key: bytes) -> None:
        self._file = SealedFile(path, key, kind=_MAGIC, purpose=b"busauth-revoked mac")
        self.path = self._file.path
        self.digest_key = hmac.digest(key, b"busauth-revoked digests", "sha256")

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        self._file.save(_parts(checkpoint))

    def load(self, feed: str, *, retention: float, now: float) -> Checkpoint | None:
        """Return what was kept, None where nothing was.

        Args:
            feed: the reader's feed and trust, which must be the file's.
            retention: seconds; the file's must be as long.
            now: seconds since the epoch.

        Raises:
            UnusableCheckpoint: says why.
        """
        try:
            kept = self._file.load()
        except UnusableFile as error:
            raise UnusableCheckpoint(str(error)) from None
        if kept is None:
            return None
        header, newline, _ = bytes(kept[:_HEADER_LIMIT]).partition(b"\n")
        checkpoint = _read(header, kept[len(header) + len(newline) :])
        _check(checkpoint, feed, retention, now)
        return checkpoint


def _parts(checkpoint: Checkpoint) -> Iterator[bytes]:
    header = {
        "feed": checkpoint.feed,
        "retention": checkpoint.retention,
        "offset": checkpoint.position.offset,
        "sha256": checkpoint.position.sha256,
        "at": checkpoint.at,
        "issuers": {str(kind): names for kind, names in checkpoint.issuers.items()},
    }
    yield json.dumps(header).encode("ascii") + b"\n"
    for some in checkpoint.records:
        yield b"".join(_RECORD.pack(*record) for record in some)


def _read(header: bytes, entries: memoryview) -> Checkpoint:
    """Read what this project has signed; anything odd in it is a mistake all the same."""
    try:
        told = json.loads(header)
        return Checkpoint(
            feed=told["feed"],
            retention=float(told["retention"]),
            position=Position(int(told["offset"]), str(told["sha256"])),
            at=float(told["at"]),
            issuers=_issuers(told["issuers"]),
            records=[_RECORD.iter_unpack(entries)],  # type: ignore[list-item]
        )
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UnusableCheckpoint(f"it cannot be read: {type(error).__name__}") from None


def _issuers(told: Mapping[str, Any]) -> dict[int, list[str]]:
    found = {int(kind): [str(name) for name in names] for kind, names in told.items()}
    if not found.keys() <= set(KINDS):  # another version's: a kind may mean something else there
        raise ValueError("an unknown kind")
    return found


def _check(checkpoint: Checkpoint, feed: str, retention: float, now: float) -> None:
    if checkpoint.feed != feed:
        raise UnusableCheckpoint("it is of another feed, or was written under other trust")
    if checkpoint.retention < retention:
        raise UnusableCheckpoint("it was written by a reader that forgets earlier")
    if checkpoint.at > now + SKEW:
        raise UnusableCheckpoint(f"it is {checkpoint.at - now:.0f} s ahead of the clock")
    if checkpoint.at < now - retention:
        raise UnusableCheckpoint(f"it is {now - checkpoint.at:.0f} s old: nothing in it counts")
    if len(checkpoint.position.sha256) != _SHA256_DIGITS:
        raise UnusableCheckpoint("it names no position")
