"""A MAC over the headers that busauth writes on copies, by a key of the consumer group.

Whoever can publish can write these headers. Under a seal they are the group's own word about this
message: the MAC (HMAC-SHA-256) covers the group's name, the message id, the digests of token and
body, and each of the headers, there or not. So it holds on no other message, for no other caller,
and for no other group.

Without a key they are hints, read with `hinted`, under the hard maximum age of the policies.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from busauth.errors import ConfigurationError
from busauth.late.canonical import NotCanonical, canonical
from busauth.tokens.signing import b64url

HEADER = "busauth-seal"
ATTEMPT = "busauth-attempt"
PUBLISHED = "busauth-published"
ORIGIN = "busauth-origin"
REDRIVE = "busauth-redrive"
SEALED = (ATTEMPT, PUBLISHED, ORIGIN, REDRIVE)
"""The headers that a seal covers."""

_DOMAIN = "busauth-seal-1"
"""Part of what is signed, so that no MAC made for another purpose is a seal."""

_MIN_KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SHAPE = re.compile(r"1\.([A-Za-z0-9_-]{1,64})\.[A-Za-z0-9_-]{43}", re.ASCII)
_COUNT_LIMIT = 1_000_000
_ORIGIN_LIMIT = 512
_INSTANT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What busauth says on a copy.

    Attributes:
        attempt: how often the handler has failed.
        published_at: when the message was first published, seconds since the epoch; None where
            nothing that can be trusted says so.
        origin: where it was first published: exchange and routing key, as text.
        redrive: how often it was sent again from the dead letters.
    """

    attempt: int = 0
    published_at: float | None = None
    origin: str | None = None
    redrive: int = 0

    def headers(self) -> dict[str, int | str]:
        """Return these values as headers."""
        found: dict[str, int | str] = {ATTEMPT: self.attempt, REDRIVE: self.redrive}
        if self.published_at is not None:
            found[PUBLISHED] = f"{self.published_at:.6f}"
        if self.origin is not None:
            found[ORIGIN] = self.origin
        return found


class Opened(NamedTuple):
    """A seal that was looked at.

    Attributes:
        sealed: what it vouches for, None where it does not hold.
        code: why not, for the audit: ``seal.missing``, ``seal.malformed``, ``seal.key_unknown`` or
            ``seal.mac``.
    """

    sealed: Sealed | None
    code: str | None


class Seal:
    """Seals and opens for one consumer group; its repr shows no key.

    Args:
        group: the consumer group, as a rule the queue's name.
        keys: secrets of at least 32 random bytes by their ids. The first one seals, all of them
            open: rotate by adding the new one behind, then moving it to the front, then removing
            the old one.

    Raises:
        ConfigurationError: no group, no key, one that is too short, or an id that is no short name.
    """

    def __init__(self, group: str, keys: Mapping[str, bytes]) -> None:
        if not group or not keys:
            raise ConfigurationError(f"Seal of group={group!r}: expected a name, and a key or more")
        for key_id, key in keys.items():
            _check_key(key_id, key)
        self.group = group
        self._keys = dict(keys)
        self._current = next(iter(keys))

    def seal(
        self,
        headers: Mapping[str, Any],
        *,
        message_id: str | None,
        token_sha256: str | None,
        body: bytes,
    ) -> str:
        """Return the seal of a copy.

        Args:
            headers: the copy's, those of `Sealed.headers` among them.
            message_id: the copy's property.
            token_sha256: the hex SHA-256 of the token that travels with the copy, None where none
                does.
            body: the copy's body.

        Raises:
            NotCanonical: a sealed header has a value that busauth never writes.
        """
        covered = self._covered(headers, message_id, token_sha256, body)
        return self._signed(self._current, covered)

    def opened(
        self,
        headers: Mapping[str, Any],
        *,
        message_id: str | None,
        token_sha256: str | None,
        body: bytes,
    ) -> Opened:
        """Return what a delivery's seal vouches for; see `seal` for the arguments."""
        given = headers.get(HEADER)
        if given is None:
            return Opened(None, "seal.missing")
        match = _SHAPE.fullmatch(given) if isinstance(given, str) else None
        if match is None:
            return Opened(None, "seal.malformed")
        if match[1] not in self._keys:
            return Opened(None, "seal.key_unknown")
        try:
            covered = self._covered(headers, message_id, token_sha256, body)
        except NotCanonical:
            return Opened(None, "seal.mac")
        if not hmac.compare_digest(self._signed(match[1], covered), given):
            return Opened(None, "seal.mac")
        return Opened(hinted(headers), None)

    def _covered(
        self,
        headers: Mapping[str, Any],
        message_id: str | None,
        token_sha256: str | None,
        body: bytes,
    ) -> bytes:
        values = {name: headers[name] for name in SEALED if name in headers}
        digest = sha256(body).hexdigest()
        return canonical([_DOMAIN, self.group, message_id, token_sha256, digest, values])

    def _signed(self, key_id: str, covered: bytes) -> str:
        mac = hmac.digest(self._keys[key_id], covered, "sha256")
        return f"1.{key_id}.{b64url(mac).decode('ascii')}"

    def __repr__(self) -> str:
        return f"<Seal {self.group} keys={', '.join(self._keys)}>"


def hinted(headers: Mapping[str, Any]) -> Sealed:
    """Return what the headers say, whoever wrote them; anything odd counts as not said."""
    return Sealed(
        attempt=_count(headers.get(ATTEMPT)),
        published_at=_instant(headers.get(PUBLISHED)),
        origin=_origin(headers.get(ORIGIN)),
        redrive=_count(headers.get(REDRIVE)),
    )


def _check_key(key_id: str, key: bytes) -> None:
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise ConfigurationError(f"key id {key_id!r}: expected 1 to 64 of [A-Za-z0-9_-]")
    if not isinstance(key, bytes) or len(key) < _MIN_KEY_BYTES:
        found = f"of {len(key)} bytes" if isinstance(key, bytes) else "that is no bytes"
        raise ConfigurationError(f"a key {found}: expected {_MIN_KEY_BYTES} bytes or more")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= _COUNT_LIMIT else 0


def _instant(value: object) -> float | None:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return None
    return float(value)


def _origin(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _ORIGIN_LIMIT else None
