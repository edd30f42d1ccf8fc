"""Checkpoints: taken over whole, or not at all."""

import hmac
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from busauth._revocation import RevokedTokens, UnusableCheckpoint
from busauth._revocation.events import SKEW
from busauth.errors import ConfigurationError
from busauth.revocation import Checkpoint, CheckpointFile, Position
from tests.unit.revoking import RETENTION, caller, event, store
from tests.unit.support import NOW

KEY = bytes(range(32))
PLACE = Position(41, "a" * 64)


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    return CheckpointFile(tmp_path / "revoked", KEY)


def filled(file: CheckpointFile, count: int = 10_000) -> RevokedTokens:
    known = store(key=file.digest_key)
    for number in range(count):
        known.add(event(subject=f"user-{number}", effective_at=NOW - number % 3600))
    return known


def checkpoint(known: RevokedTokens, **changes: Any) -> Checkpoint:
    usual: dict[str, Any] = {
        "feed": "feed",
        "retention": RETENTION,
        "position": PLACE,
        "at": NOW,
        "issuers": known.issuers(),
        "records": known.records(),
    }
    return Checkpoint(**(usual | changes))


def load(file: CheckpointFile, **changes: Any) -> Checkpoint | None:
    usual: dict[str, Any] = {"feed": "feed", "retention": RETENTION, "now": NOW}
    return file.load(**(usual | changes))


def test_what_was_kept_is_taken_over(file: CheckpointFile) -> None:
    """After a restart the same tokens are revoked, and the position is known."""
    file.save(checkpoint(filled(file)))
    found = load(file)
    assert found is not None
    again = store(key=file.digest_key)
    for some in found.records:
        again.restore(dict(found.issuers), some)
    assert (again.count, found.position, found.at) == (10_000, PLACE, NOW)
    for number in (0, 4_999, 9_999):
        assert again.revoked(caller(f"user-{number}", issued_at=NOW - 3700), NOW)
    assert not again.revoked(caller("user-10000", issued_at=NOW - 3700), NOW)


def test_nothing_was_kept(file: CheckpointFile) -> None:
    """Where there is no file, there is nothing to take over, and nothing wrong."""
    assert load(file) is None


def test_what_comes_while_it_is_written(file: CheckpointFile) -> None:
    """A snapshot may be written while the memory changes: it holds all that it held, or newer."""
    known = filled(file, 9_000)
    records = known.records()
    first = next(records)
    known.add(event(subject="user-8999", effective_at=NOW + 1))
    known.add(event(subject="new", effective_at=NOW + 1))
    known.sweep(NOW + RETENTION * 0.9)
    written = {digest for some in [first, *records] for _, digest, _ in some}
    assert {digest for some in known.records() for _, digest, _ in some} - written <= {
        digest for some in known.records() for _, digest, until in some if until == int(NOW + 1)
    }


def test_every_damaged_byte_is_noticed(file: CheckpointFile) -> None:
    """No byte can be changed, removed or added anywhere without the file being refused."""
    file.save(checkpoint(filled(file, 3)))
    whole = file.path.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for raw in [*damaged, whole[:-1], whole + b"\0", whole[25:], b"", whole[:20], whole * 2]:
        file.path.write_bytes(raw)
        with pytest.raises(UnusableCheckpoint):
            load(file)


def test_a_forged_file(file: CheckpointFile) -> None:
    """Who does not have the key can make none, and another key's file is not ours."""
    other = CheckpointFile(file.path, bytes(32))
    other.save(checkpoint(filled(other, 3)))
    with pytest.raises(UnusableCheckpoint, match="MAC"):
        load(file)


def test_the_bare_key_does_not_sign(file: CheckpointFile) -> None:
    """A MAC by the key itself, made for another purpose, is no checkpoint's."""
    file.save(checkpoint(filled(file, 3)))
    body = file.path.read_bytes()[:-32]
    file.path.write_bytes(body + hmac.digest(KEY, body, "sha256"))
    with pytest.raises(UnusableCheckpoint, match="MAC"):
        load(file)


@pytest.mark.parametrize(
    ("changes", "asked", "why"),
    [
        ({"feed": "another"}, {}, "another feed"),
        ({"retention": RETENTION - 1}, {}, "forgets earlier"),
        ({}, {"now": NOW + RETENTION + 1}, "nothing in it counts"),
        ({}, {"now": NOW - SKEW - 1}, "ahead of the clock"),
        ({"position": Position(1, "")}, {}, "no position"),
        ({"issuers": {99: ["https://issuer.test"]}}, {}, "cannot be read"),
    ],
)
def test_a_foreign_or_old_file(
    file: CheckpointFile, changes: dict[str, Any], asked: dict[str, Any], why: str
) -> None:
    """A genuine file of another feed, or of another time, is not used, and says why."""
    file.save(checkpoint(filled(file, 3), **changes))
    with pytest.raises(UnusableCheckpoint, match=why):
        load(file, **asked)


def test_a_longer_memory_serves_a_shorter_one(file: CheckpointFile) -> None:
    """What was written by a reader that remembers longer holds all that is needed."""
    file.save(checkpoint(filled(file, 3)))
    assert load(file, retention=RETENTION - 1) is not None


def test_a_failed_write_leaves_the_last_one(
    file: CheckpointFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced whole: a write that fails leaves the earlier one and no debris."""
    file.save(checkpoint(filled(file, 3)))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.save(checkpoint(filled(file, 5), position=Position(99, "b" * 64)))
    found = load(file)
    assert found is not None
    assert found.position == PLACE
    assert list(file.path.parent.iterdir()) == [file.path]


def test_two_writes_at_once(file: CheckpointFile) -> None:
    """Writes in several threads leave one whole file."""
    known = filled(file)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(file.save, checkpoint(known)) for _ in range(8)]:
            done.result()
    assert load(file) is not None
    assert list(file.path.parent.iterdir()) == [file.path]


def test_it_tells_nothing_to_others(file: CheckpointFile) -> None:
    """Only its owner may read the file, and no subject can be read or tried out in it."""
    file.save(checkpoint(filled(file, 3)))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert b"user-1" not in file.path.read_bytes()
    one, other = store(), store()
    for known in (one, other):
        known.add(event(subject="alice"))
    assert next(one.records()) != next(other.records())


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A path that is no file is told, as any unusable checkpoint is."""
    with pytest.raises(UnusableCheckpoint, match="cannot be read"):
        load(CheckpointFile(tmp_path, KEY))


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    """A key that could be guessed is found before anything runs."""
    with pytest.raises(ConfigurationError, match="32 bytes"):
        CheckpointFile(tmp_path / "revoked", b"short")
