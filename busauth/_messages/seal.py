"""A MAC over a copy, by a key of the consumer group.

Whoever can publish can write headers like busauth's, and lay any message into any queue that they
may write to. Under a seal a copy is the group's own word: that it made this copy, of this message,
for this purpose. The MAC (HMAC-SHA-256) covers the group's name, the purpose, all that busauth
wrote on the copy, its properties, its body, its sender's headers, and the digest of the token that
it may come back with. So it holds on no other copy, for no other purpose, and for no other group.

What may change on the way back is not covered: the token, which the digest names; the proof, which
its publisher signed; a kept token, which is encrypted for this letter. A parked message comes back
with a token that nobody has seen yet: whose it must be is in the record of the first one.

Without a key the attempt is a hint (`hinted_attempt`), and nothing else is believed.
"""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

from busauth._messages import first as record
from busauth._messages import story as told
from busauth._messages.canonical import NotCanonical, spelled
from busauth._messages.story import Story
from busauth._tokens.keys.signing import b64url
from busauth.caller import FirstToken
from busauth.errors import ConfigurationError

HEADER = "busauth-seal"
PURPOSE = "busauth-purpose"
ATTEMPT = "busauth-attempt"
PUBLISHED = "busauth-published"
ORIGIN = "busauth-origin"
REDRIVE = "busauth-redrive"

_DOMAIN = "busauth-seal-2"
"""Part of what is signed, so that no MAC made for another purpose is a seal."""

_MIN_KEY_BYTES = 32  # as long as the MAC: a shorter one is the weaker of both
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_SHAPE = re.compile(r"2\.([A-Za-z0-9_-]{1,64})\.[A-Za-z0-9_-]{43}", re.ASCII)
_COUNT_LIMIT = 1_000_000  # attempts: a header is an integer of anybody's choice
_ORIGIN_LIMIT = 512  # characters: an exchange and a routing key have 255 bytes each
_INSTANT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)


class Purpose(StrEnum):
    """What a copy was made for."""

    RETRY = "retry"
    """It comes back by itself, with the token that it has."""

    PARKED = "parked"
    """It waits for its caller, who brings a fresh token."""

    LETTER = "letter"
    """It was refused; sent again, it comes back with the token that it had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What busauth says on a copy.

    Attributes:
        purpose: what the copy was made for.
        attempt: how often the handler has failed.
        published_at: when the message was first published, seconds since the epoch; None where
            nothing that can be trusted says so.
        origin: where it was first published: exchange and routing key, as text.
        redrive: how often it was parked or dead-lettered.
        first: the token that it first came with; None where that was not proven genuine.
        letter: the id of the letter that it became; None where it never was one.
        story: how it became one, each time.
        authority: by whose authority it was sent again, on a retry of what was.
    """

    purpose: Purpose = Purpose.RETRY
    attempt: int = 0
    published_at: float | None = None
    origin: str | None = None
    redrive: int = 0
    first: FirstToken | None = None
    letter: str | None = None
    story: Story = ()
    authority: str | None = None

    def headers(self) -> dict[str, int | str]:
        """Return these values as headers."""
        found: dict[str, int | str] = {
            PURPOSE: self.purpose.value,
            ATTEMPT: self.attempt,
            REDRIVE: self.redrive,
        }
        if self.published_at is not None:
            found[PUBLISHED] = f"{self.published_at:.6f}"
        if self.origin is not None:
            found[ORIGIN] = self.origin
        if self.first is not None:
            found[record.HEADER] = record.written(self.first)
        if self.letter is not None:
            found[told.LETTER] = self.letter
        if self.story:
            found[told.HEADER] = told.written(self.story)
        if self.authority is not None:
            found[told.AUTHORITY] = self.authority
        return found


class Copy(NamedTuple):
    """A copy, as its seal speaks of it.

    Attributes:
        own: the headers that busauth wrote on it, but for the seal and what is not covered.
        sent: the headers that its sender wrote.
        properties: its properties, in an order that is always the same.
        body: its body.
    """

    own: Mapping[str, Any]
    sent: Mapping[str, Any]
    properties: Sequence[str | int | None]
    body: bytes


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
        group: the consumer group: the queue's name.
        keys: secrets of at least 32 random bytes by their ids. The first one seals, all of them
            open: rotate by adding the new one behind, then moving it to the front, then removing
            the old one.
        formerly: names that the group had before, whose seals still open.

    Raises:
        ConfigurationError: no group, no key, one that is too short, or an id that is no short name.
    """

    def __init__(
        self, group: str, keys: Mapping[str, bytes], *, formerly: Iterable[str] = ()
    ) -> None:
        if not group or not keys:
            raise ConfigurationError(f"Seal of group={group!r}: expected a name, and a key or more")
        for key_id, key in keys.items():
            # The id stands in the seal, between two dots: it must not have any of its own.
            if not is_key_id(key_id):
                raise ConfigurationError(f"key id {key_id!r}: expected 1 to 64 of [A-Za-z0-9_-]")
            check_secret(key, f"seal: the key {key_id!r}")
        self.group = group
        self._groups = (group, *formerly)
        self._keys = dict(keys)
        self._current = next(iter(keys))

    def seal(self, copy: Copy, *, token_sha256: str | None) -> str:
        """Return the seal of a copy.

        Args:
            copy: what is sealed.
            token_sha256: the hex SHA-256 of the token that it comes back with, None where there
                is none; of no account where it is parked.

        Raises:
            NotCanonical: a header has a value that no header can hold.
        """
        return self._signed(self._current, self.group, _covered(copy, token_sha256))

    def opened(self, given: object, copy: Copy, *, token_sha256: str | None) -> Opened:
        """Return what a delivery's seal vouches for.

        Args:
            given: the header `HEADER`, None where there is none.
            copy: the delivery.
            token_sha256: the hex SHA-256 of the token that it came with.
        """
        if given is None:
            return Opened(None, "seal.missing")
        match = _SHAPE.fullmatch(given) if isinstance(given, str) else None
        if match is None:
            return Opened(None, "seal.malformed")
        if match[1] not in self._keys:
            return Opened(None, "seal.key_unknown")
        if not self._holds(match[0], match[1], copy, token_sha256):
            return Opened(None, "seal.mac")
        return Opened(_read(copy.own), None)

    def _holds(self, given: str, key_id: str, copy: Copy, token_sha256: str | None) -> bool:
        try:
            covered = _covered(copy, token_sha256)
        except NotCanonical:  # no seal was ever made over what has no spelling
            return False
        made = (self._signed(key_id, group, covered) for group in self._groups)
        return any(hmac.compare_digest(each, given) for each in made)

    def _signed(self, key_id: str, group: str, covered: bytes) -> str:
        mac = hmac.digest(self._keys[key_id], spelled([_DOMAIN, group]) + covered, "sha256")
        return f"2.{key_id}.{b64url(mac).decode('ascii')}"

    def __repr__(self) -> str:
        return f"<Seal {self.group} keys={', '.join(self._keys)}>"


def _covered(copy: Copy, token_sha256: str | None) -> bytes:
    """Each part is spelled by itself: a header is as deep here as where it was measured."""
    token = None if copy.own.get(PURPOSE) == Purpose.PARKED else token_sha256
    about = [token, sha256(copy.body).hexdigest(), list(copy.properties)]
    return b"".join(map(spelled, (about, dict(copy.own), dict(copy.sent))))


def is_key_id(name: object) -> bool:
    """Return whether a key may be called that: a seal has its key's id between two dots."""
    return isinstance(name, str) and _KEY_ID.fullmatch(name) is not None


def is_seal(value: object) -> bool:
    """Return whether a value has the shape of a seal; whether it holds, its group knows."""
    return isinstance(value, str) and _SHAPE.fullmatch(value) is not None


def hinted_attempt(headers: Mapping[str, Any]) -> int:
    """Return the attempt that headers name, whoever wrote them; 0 for anything odd."""
    return _count(headers.get(ATTEMPT))


def _read(headers: Mapping[str, Any]) -> Sealed:
    """Return what sealed headers say."""
    purpose, origin = headers.get(PURPOSE), headers.get(ORIGIN)
    # A seal holds what an older or a newer busauth wrote, too: what is odd there was not said.
    is_origin = isinstance(origin, str) and len(origin) <= _ORIGIN_LIMIT
    return Sealed(
        purpose=next((each for each in Purpose if each == purpose), Purpose.RETRY),
        attempt=_count(headers.get(ATTEMPT)),
        published_at=_instant(headers.get(PUBLISHED)),
        origin=origin if is_origin else None,
        redrive=_count(headers.get(REDRIVE)),
        first=record.read(headers.get(record.HEADER)),
        letter=told.letter_id(headers.get(told.LETTER)),
        story=told.read(headers.get(told.HEADER)),
        authority=told.authority(headers.get(told.AUTHORITY)),
    )


def check_secret(key: bytes, what: str = "the secret") -> None:
    """Refuse what is too short to seal with.

    Args:
        key: the secret's bytes.
        what: what it is called.

    Raises:
        ConfigurationError: says how long it is, and how to make one.
    """
    if not isinstance(key, bytes) or len(key) < _MIN_KEY_BYTES:
        found = f"of {len(key)} bytes" if isinstance(key, bytes) else "that is no bytes"
        raise ConfigurationError(
            f"{what} is one {found}: expected {_MIN_KEY_BYTES} or more, random: "
            "`openssl rand -base64 48` in a file, secrets.token_bytes(32) in code"
        )


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= _COUNT_LIMIT else 0


def _instant(value: object) -> float | None:
    # By its spelling, as `float` reads more than that: "nan", "1e9", digits of other scripts.
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return None
    return float(value)
