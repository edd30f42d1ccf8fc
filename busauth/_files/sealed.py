"""A file that only who has its key can write, replaced whole or not at all.

::

    a line that names the kind and its version
    what is kept
    32 bytes: HMAC-SHA-256 over everything before them

An older file that somebody has put back is as good as the newest one: what must not be undone is
not to be kept here alone.
"""

import hmac
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO

from busauth._files.shared import replace
from busauth.errors import BusauthError, ConfigurationError

_MAC = 32  # bytes of HMAC-SHA-256
_MIN_KEY_BYTES = 32  # as long as the MAC: a shorter one is the weaker of both


class UnusableFile(BusauthError):  # noqa: N818 -- a finding: its reader begins anew
    """A file that is not to be used; says why."""


class SealedFile:
    """A place for one thing.

    Args:
        path: the file; its folder exists.
        key: the secret that authenticates it, 32 random bytes or more.
        kind: what is kept, and in which version; ends with a newline.
        purpose: parts this use of the key from every other.

    Attributes:
        path: as given.

    Raises:
        ConfigurationError: the key is too short.
    """

    def __init__(self, path: str | Path, key: bytes, *, kind: bytes, purpose: bytes) -> None:
        if not isinstance(key, bytes) or len(key) < _MIN_KEY_BYTES:
            raise ConfigurationError(f"{path}: expected a key of {_MIN_KEY_BYTES} bytes or more")
        self.path = Path(path)
        self._kind = kind
        self._mac_key = hmac.digest(key, purpose, "sha256")
        self._writing = threading.Lock()  # a save that was given up may still be under way

    def save(self, parts: Iterable[bytes]) -> None:
        """Replace the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        with self._writing:
            replace(self.path, partial(self._write, parts))

    def load(self, *, limit: int | None = None) -> memoryview | None:
        """Return what was kept, None where nothing was.

        Args:
            limit: bytes; a longer file is none of ours.

        Raises:
            UnusableFile: says why.
        """
        try:
            with self.path.open("rb") as file:
                raw = memoryview(file.read() if limit is None else file.read(limit + 1))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnusableFile(f"it cannot be read: {error.strerror}") from None
        if limit is not None and len(raw) > limit:
            raise UnusableFile(f"it has more than {limit} bytes")
        return self._opened(raw)

    def _write(self, parts: Iterable[bytes], file: IO[bytes]) -> None:
        mac = hmac.new(self._mac_key, self._kind, "sha256")
        file.write(self._kind)
        for part in parts:
            mac.update(part)
            file.write(part)
        file.write(mac.digest())

    def _opened(self, raw: memoryview) -> memoryview:
        body, given = raw[:-_MAC], raw[-_MAC:]
        if bytes(raw[: len(self._kind)]) != self._kind:
            raise UnusableFile("it is of another kind or version")
        if not hmac.compare_digest(hmac.digest(self._mac_key, body, "sha256"), given):
            raise UnusableFile("its MAC does not hold: it is damaged, or another key's")
        return body[len(self._kind) :]
