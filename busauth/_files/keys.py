"""Keys in files, as operators have them: a JWK or a JWK set, a PEM, or a bare secret."""

import json
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from busauth.errors import ConfigurationError

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}", re.ASCII)


def read_key(path: str | Path) -> Mapping[str, Any] | str | bytes:
    """Return what a file holds: a JWK or a set as a mapping, a PEM as text, a secret as bytes.

    A secret is the file's content without the white space around it.

    Raises:
        ConfigurationError: it cannot be read, is empty, or begins as JSON and is none. Shown of the
            path is what cannot be a key that was written in its place.
    """
    try:
        content = Path(path).read_bytes().strip()
    except (OSError, ValueError) as error:
        raise _unreadable(Path(path), error) from None
    if not content:
        raise ConfigurationError(f"{path} is empty: expected a JWK, a PEM or a secret")
    if content.startswith(b"-----BEGIN"):
        return content.decode("utf-8", "replace")
    if not content.startswith(b"{"):
        return content
    try:
        found: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError):  # such an error holds what it read, which may be a key
        raise ConfigurationError(f"{path} is no JSON: expected a JWK or a JWK set") from None
    return found


def read_jwk(path: str | Path) -> Mapping[str, Any]:
    """Return the JWK, or the JWK set, of a file.

    Raises:
        ConfigurationError: it cannot be read, or holds something else.
    """
    key = read_key(path)
    if not isinstance(key, Mapping):
        found = "a PEM" if isinstance(key, str) else "no JSON"
        raise ConfigurationError(f"{path} holds {found}: expected a JWK or a JWK set")
    return key


def read_secret(path: str | Path) -> bytes:
    """Return the bare secret of a file.

    Raises:
        ConfigurationError: it cannot be read, or holds a JWK or a PEM.
    """
    key = read_key(path)
    if not isinstance(key, bytes):
        found = "a PEM" if isinstance(key, str) else "a JWK"
        raise ConfigurationError(f"{path} holds {found}: expected a secret's bytes alone")
    return key


def readers_of(path: str | Path) -> str:
    """Return who can read a file, by its mode: its owner, its group, or everybody.

    Raises:
        ConfigurationError: it cannot be looked at.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(Path(path), error) from None
    if mode & stat.S_IROTH:
        return "everybody"
    return "its group" if mode & stat.S_IRGRP else "its owner"


@contextmanager
def naming(*paths: str | Path) -> Iterator[None]:
    """Let an error about keys that were read name the files that they came from.

    Raises:
        ConfigurationError: what was raised inside, with the files.
    """
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{', '.join(map(str, paths))}: {error}") from None


def _unreadable(path: Path, error: OSError | ValueError) -> ConfigurationError:
    """Show a path only where it is one: the key itself is easily written in its place."""
    why = getattr(error, "strerror", None) or "it is no name of a file"
    if _is_path(path):
        return ConfigurationError(f"{path}: cannot be read: {why}")
    return ConfigurationError(
        f"expected the path of a file that holds the key: what stands there cannot be read: {why} "
        "(it is not shown, as it may be the key itself)"
    )


def _is_path(path: Path) -> bool:
    """A secret in base64 may have separators, and no folder on its way; a suffix it has none."""
    has_suffix = _SUFFIX.fullmatch(path.suffix) is not None
    is_below = path.parent not in (Path(), Path("/"))
    try:
        return (has_suffix or is_below) and path.parent.is_dir()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it: a key's bytes
        return False
