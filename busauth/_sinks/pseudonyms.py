"""Names that can be taken back: a key for each subject in a file, and its MAC in place of the name.

Who has the file knows whose a pseudonym is. Once a subject's key is erased nobody does, and their
next events bear another one. A line of the file is a list of JSON: issuer, subject, key.
"""

import hmac
import json
import os
import re
import secrets
import threading
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from glob import escape
from pathlib import Path
from typing import IO, Any, NamedTuple

from busauth._arguments import checked
from busauth._files.shared import append, locked, replace
from busauth._sinks.waiting import Seldom
from busauth.audit import LOGGER
from busauth.clock import SystemClock
from busauth.errors import ConfigurationError, evidence

_KEY_BYTES, _SHOWN = 32, 32
_MOST = 1_000_000
"""Subjects that have a key, at most, about 300 bytes each in memory: tokens that are genuine
name them, so that there are as many as issuers have users."""

_NAMED = ("subject", "actor", "actors")
_SAID = ("detail", "message_id", "sender")
"""What may name a subject next to those."""

_Subject = tuple[str, str]


class _State(NamedTuple):
    """What changes with a file, whoever writes it."""

    inode: int
    size: int
    changed_at: int


class Pseudonyms:
    """Erasable pseudonyms of subjects, kept in one file that processes may share.

    The file is its owner's alone, and belongs apart from what is written with it, in no backup that
    outlives an erasure.

    Args:
        path: the file; its folder exists.
    """

    @checked
    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._keys: dict[_Subject, bytes] = {}
        self._seen: _State | None = None
        self._end, self._last = 0, b""  # of the last line that was read
        self._seldom = Seldom(SystemClock().monotonic)
        self._using = threading.Lock()

    def __repr__(self) -> str:
        return f"<Pseudonyms in {self._path}>"

    @checked
    def of(self, issuer: str, subject: str) -> str:
        """Return a subject's pseudonym; who has none gets one.

        Raises:
            ConfigurationError: the file cannot be read or written, or a million have one already.
        """
        with self._using, self._told():
            named = _named(issuer, subject)
            return _pseudonym(self._known().get(named) or self._added(named), named)

    @checked
    def known(self, issuer: str, subject: str) -> str | None:
        """Return a subject's pseudonym, None for who has none.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        with self._using, self._told():
            named = _named(issuer, subject)
            key = self._known().get(named)
            return None if key is None else _pseudonym(key, named)

    @checked
    def issuers(self, subject: str) -> tuple[str, ...]:
        """Return who knows somebody with a pseudonym by this name.

        Raises:
            ConfigurationError: the file cannot be read.
        """
        with self._using, self._told():
            _, name = _named("", subject)
            return tuple(sorted(issuer for issuer, known in self._known() if known == name))

    @checked
    def erase(self, issuer: str, subject: str) -> bool:
        """Forget whose a pseudonym was, for all processes; return whether there was one.

        What was written with it stays, and nobody can say any more of whom it speaks.

        Raises:
            ConfigurationError: the file cannot be read or written; nothing is forgotten.
        """
        with self._using, self._told(), locked(self._path):
            self._seen = None
            left = dict(self._known())
            found = left.pop(_named(issuer, subject), None)
            for left_over in self._path.parent.glob(f".{escape(self._path.name)}.[0-9]*"):
                left_over.unlink(missing_ok=True)  # an erasure that a crash has cut off
            if found is not None:
                lines = [_line(each, key) for each, key in left.items()]
                replace(self._path, lambda file: file.writelines(lines))
            return found is not None

    def applied(self, known: dict[str, Any]) -> dict[str, Any]:
        """Return an event with pseudonyms for names; where none can be had, without both.

        A subject, and whoever acts for it, who may be a person too, is replaced in the detail, the
        message id and the sender as well, where it stands as a word of its own.
        """
        try:
            names = {each: self.of(*each) for each in _persons_in(known)}
        except ConfigurationError as error:
            if self._seldom.is_due():
                LOGGER.error("subjects are left out of the audit: %s", error)
            return {key: each for key, each in known.items() if key not in (*_NAMED, *_SAID)}
        return _renamed(known, names) if names else known

    def _told(self) -> "_Telling":
        return _Telling(self._path)

    def _known(self) -> dict[_Subject, bytes]:
        """Return the keys as the file has them now: another process may have erased one."""
        try:
            if _state(self._path.stat()) != self._seen:
                self._read_on()
        except FileNotFoundError:
            self._forget()
        return self._keys

    def _read_on(self) -> None:
        """Read what was added; all of it, where that is not all that has changed.

        Others add a line for each subject that they meet first: a million of them are not read
        again for each.
        """
        with self._path.open("rb") as file:
            seen = _state(os.fstat(file.fileno()))
            if not self._goes_on(seen, file):
                self._forget()
                file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written, or was cut off: not used yet
                    break
                self._end, self._last = self._end + len(line), line
                self._keys.update(_said_in(line))
        self._seen = seen

    def _goes_on(self, now: "_State", file: IO[bytes]) -> bool:
        """Return whether lines were added alone; then they are what is read next."""
        if self._seen is None or now.inode != self._seen.inode or now.size <= self._seen.size:
            return False
        file.seek(self._end - len(self._last))
        return bool(self._last) and file.read(len(self._last)) == self._last

    def _forget(self) -> None:
        self._keys, self._seen, self._end, self._last = {}, None, 0, b""

    def _added(self, subject: _Subject) -> bytes:
        with locked(self._path):
            keys = self._known()  # another process may have been first
            if subject not in keys:
                if len(keys) >= _MOST:
                    raise ConfigurationError(f"{self._path}: {_MOST} subjects have one: erase some")
                append(self._path, _line(subject, secrets.token_bytes(_KEY_BYTES)))
            return self._known()[subject]


def _state(found: os.stat_result) -> _State:
    return _State(found.st_ino, found.st_size, found.st_mtime_ns)


class _Telling:
    """Names the file where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise ConfigurationError(f"{self._path}: {error.strerror or error}") from None


def _named(issuer: str, subject: str) -> _Subject:
    """Return both as events have them."""
    return issuer, evidence(subject) or ""


def _persons_in(known: dict[str, Any]) -> Iterator[_Subject]:
    """Yield the caller of an event, and who acts for them, outermost first."""
    issuer, subject = known.get("issuer"), known.get("subject")
    if isinstance(subject, str) and subject:
        yield str(issuer), subject
    yield from (each for each in map(partial(_actor, issuer), known.get("actors", ())) if each[1])


def _actor(issuer: object, actor: dict[str, str]) -> _Subject:
    """Return an actor as a subject: where its own issuer is not said, it is the token's."""
    return actor.get("issuer", str(issuer)), actor["subject"]


def _renamed(known: dict[str, Any], names: dict[_Subject, str]) -> dict[str, Any]:
    """Return an event in which all names that it tells are written by their pseudonyms."""
    # the caller's last, so that it counts where an actor has the same name
    words = {name: pseudonym for (_, name), pseudonym in reversed(names.items())}
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    word = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)")
    renamed = dict(known)
    for key in _SAID:
        if key in known:
            renamed[key] = word.sub(lambda found: words[found[0]], known[key])
    issuer = known.get("issuer")
    if known.get("subject"):
        renamed["subject"] = names[str(issuer), known["subject"]]
    if actors := known.get("actors"):
        chain = [{**each, "subject": names.get(_actor(issuer, each), "")} for each in actors]
        renamed |= {"actors": chain, "actor": chain[0]["subject"]}
    return renamed


def _pseudonym(key: bytes, named: _Subject) -> str:
    said = json.dumps(named).encode("ascii")
    return f"p:{hmac.digest(key, said, 'sha256').hex()[:_SHOWN]}"


def _line(subject: _Subject, key: bytes) -> bytes:
    return json.dumps([*subject, b64encode(key).decode("ascii")]).encode("ascii") + b"\n"


def _said_in(line: bytes) -> Iterator[tuple[_Subject, bytes]]:
    """Yield what stands in a line; one that a crash has cut off was never used."""
    with suppress(ValueError, TypeError, RecursionError, Error):
        issuer, subject, key = json.loads(line)
        yield (str(issuer), str(subject)), b64decode(key, validate=True)
