"""A settings file that is read again while a service runs, for its shadows alone.

Everything else in it counts after a restart, and that is said. What was read before is known by
digests: a file may hold a password.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from busauth._amqp.shadowing.shadow import Shadow
from busauth.audit import LOGGER
from busauth.errors import ConfigurationError
from busauth.settings.model import Settings

Stamp = tuple[int, ...] | None

_RESTART = "%s: what is said otherwise now under %s counts after a restart"


def stamp_of(path: Path) -> Stamp:
    """Return what changes where somebody writes or replaces a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class SeenFile:
    """What was found in a file.

    Attributes:
        path: the file, wherever the process goes.
        stamp: by which it is told from another one.
        digests: of what stands under each outermost key, shadows left out.
    """

    path: Path
    stamp: Stamp
    digests: Mapping[str, str]

    @classmethod
    def of(cls, path: Path, stamp: Stamp, table: Mapping[str, Any]) -> "SeenFile":
        """Return what is known of a file that was read."""
        found = {name: _digest(value) for name, value in _without_shadows(table).items()}
        return cls(path.absolute(), stamp, found)


class ShadowFile:
    """The file that a guard's settings were read from.

    Args:
        seen: as its settings were read, which are in force until a restart.
        read: reads it again, and raises a ConfigurationError where that cannot be done.
    """

    def __init__(
        self, seen: SeenFile, read: Callable[[Path], tuple[Settings, SeenFile | None]]
    ) -> None:
        self._seen, self._read = seen, read
        self._stamp, self._is_read = seen.stamp, True

    def has_changed(self) -> bool:
        """Return whether it is another one than when it was read last, or could not be read then.

        What was in the way (a right, too many open files) may be gone without a trace in the file.
        """
        return not self._is_read or stamp_of(self._seen.path) != self._stamp

    def read(self) -> Mapping[str, Shadow]:
        """Return the shadows in it, and tell what else has changed.

        Raises:
            ConfigurationError: it cannot be read, something in it is wrong, or it is being written:
                half of it may say more than the whole.
        """
        self._is_read, before = False, stamp_of(self._seen.path)
        settings, seen = self._read(self._seen.path)
        if stamp_of(self._seen.path) != before:
            raise ConfigurationError(f"{self._seen.path}: is being written")
        self._stamp, self._is_read = before, True
        now = {} if seen is None else dict(seen.digests)
        first = dict(self._seen.digests)
        others = sorted(name for name in now | first if now.get(name) != first.get(name))
        if others:
            LOGGER.warning(_RESTART, self._seen.path, ", ".join(others))
        return settings.guard_options.shadows()


def _without_shadows(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's table without what is said of shadows, and without what is empty then."""
    left = {name: _left(name, value) for name, value in table.items()}
    return {name: value for name, value in left.items() if value != {}}


def _left(name: str, value: Any) -> Any:
    if not isinstance(value, dict) or name not in ("guard", "consumers"):
        return value
    if name == "guard":
        return _without_shadows(value)
    left = {queue: _unshadowed(said) for queue, said in value.items()}
    return {queue: said for queue, said in left.items() if said != {}}


def _unshadowed(said: Any) -> Any:
    if not isinstance(said, dict):
        return said
    return {name: value for name, value in said.items() if name != "shadow"}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
