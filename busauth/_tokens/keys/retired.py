"""Keys that an issuer has removed, for tokens that were published before.

A message may wait in its queue while the key that signed its token is rotated out. Such a key
still proves who issued the token. Whether the token may count is another question, which the
decision asks: was the message published before the key was last seen, by the word of somebody who
may say so?

*Last seen* is the instant of the last fetch that brought the key. It is never later than the
removal, so that a service which looked rarely believes less, not more.

The wall clock may be wrong for a moment. So the instant at which a key was seen is believed no
longer than it has been there by the monotonic clock, and nothing is forgotten by time: each
decision asks by its own reading whether a key is too old. What bounds the memory is a number.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from busauth._arguments import Seconds, checked
from busauth._files.sealed import SealedFile, UnusableFile
from busauth._tokens.keys.key import Key, fitting, load_key, public_part
from busauth.errors import ConfigurationError

LOGGER = logging.getLogger("busauth")

_KIND = b"busauth-keys-1\n"
_PURPOSE = b"busauth-keys mac"
_LIMIT = 1024 * 1024  # bytes: the most keys of the largest kind, and room
_MOST = 64
"""Keys that are remembered; those that were seen last stay."""


class Retired(NamedTuple):
    """What is known of the key that proved a token, once its issuer has removed it.

    Attributes:
        last_seen: when it was still among its issuer's keys, seconds since the epoch.
        sources: whose word for a published instant counts.
    """

    last_seen: float
    sources: frozenset[str]


class FormerKey(NamedTuple):
    """A key that was removed."""

    key: Key
    retired: Retired


@dataclass(frozen=True, slots=True)
class _Seen:
    """A key, when it was last fetched by the wall clock, and when by the monotonic one.

    Attributes:
        keys: the same key for each algorithm that it served then.
    """

    jwk: Mapping[str, Any]
    keys: Sequence[Key]
    at: float
    monotonic: float

    def last(self, now: float, monotonic: float) -> float:
        """Return when it was last seen, as this reading of both clocks has it at the latest."""
        return min(self.at, now - (monotonic - self.monotonic))


class RetiredKeys:
    """A memory of one issuer's keys; give it to its `JWKS`.

    Args:
        keep_for: seconds for which a removed key is remembered: as long as a message may wait.
        sources: whose word for a published instant counts: names of publishers whose proofs the
            guard checks, or ``"timestamp_in_ms"`` for a broker that stamps.
        file: where the memory survives a restart; one for each process.
        file_key: authenticates that file: 32 random bytes or more.

    Raises:
        ConfigurationError: no span, nobody's word, or a file without a key.
    """

    @checked
    def __init__(
        self,
        *,
        keep_for: Seconds,
        sources: Iterable[str],
        file: str | Path | None = None,
        file_key: bytes | None = None,
    ) -> None:
        self.sources = frozenset((sources,) if isinstance(sources, str) else sources)
        if not self.sources or "" in self.sources:
            raise ConfigurationError(f"sources={sorted(self.sources)}: expected whose word counts")
        if (file is None) != (file_key is None):
            raise ConfigurationError("file, file_key: expected both, or neither")
        self._keep_for = keep_for
        self._file = None
        if file is not None and file_key is not None:
            self._file = SealedFile(file, file_key, kind=_KIND, purpose=_PURPOSE)
        self._issuer: str | None = None
        self._seen: dict[str, _Seen] = {}
        self._current: frozenset[str] = frozenset()
        self.distrusted: frozenset[str] = frozenset()

    def open(self, issuer: str, algorithms: Sequence[str], monotonic: float) -> None:
        """Read the file for one issuer, if there is one; what cannot be used is told and forgotten.

        Args:
            issuer: whose keys they are.
            algorithms: what they may be pinned to.
            monotonic: when this is, on a clock that never goes back.

        Raises:
            ConfigurationError: it remembers another issuer's keys already.
        """
        if self._issuer is not None:
            raise ConfigurationError(f"RetiredKeys of {self._issuer}: expected one for each JWKS")
        self._issuer = issuer
        try:
            kept = None if self._file is None else self._file.load(limit=_LIMIT)
            if kept is not None:
                self._read(json.loads(bytes(kept)), algorithms, monotonic)
        except (UnusableFile, ConfigurationError, ValueError, TypeError, KeyError) as error:
            # Nothing of it, rather than half: without it removed keys count no more, which is safe.
            self._seen = {}
            LOGGER.warning("retired keys of %s are not known: %s: %s", issuer, self._path, error)

    @property
    def _path(self) -> Path | None:
        return None if self._file is None else self._file.path

    def noticed(
        self,
        keys: Mapping[str, tuple[Mapping[str, Any], Sequence[Key]]],
        now: float,
        monotonic: float,
    ) -> None:
        """Take note of a fetched set.

        Args:
            keys: its keys by thumbprint: a JWK, and a key for each algorithm that it serves.
            now: when it was fetched, seconds since the epoch.
            monotonic: the same, on a clock that never goes back.
        """
        self._current = frozenset(keys)
        before = [(name, seen) for name, seen in self._seen.items() if name not in keys]
        here = [
            (name, _Seen(public_part(jwk), served, now, monotonic))
            for name, (jwk, served) in keys.items()
        ]
        self._seen = dict([*before, *here][-_MOST:])

    def candidates(
        self, key_id: str | None, algorithm: str, now: float, monotonic: float
    ) -> list[FormerKey]:
        """Return the removed keys that may have signed, by these readings of both clocks."""
        return [
            FormerKey(key, Retired(last, self.sources))
            for thumbprint, seen in self._seen.items()
            if thumbprint not in self._current
            and now < (last := seen.last(now, monotonic)) + self._keep_for
            for key in fitting(seen.keys, key_id, algorithm)
        ]

    def forget(self, names: Iterable[str]) -> list[Key]:
        """Forget keys for good that are not to be trusted, and return those that were known.

        Args:
            names: what they may be called by; see `Key.names`.
        """
        self.distrusted |= frozenset(names)
        known = [key for seen in self._seen.values() for key in seen.keys]
        gone = [key for key in known if key.names & self.distrusted]
        self.distrusted |= {key.thumbprint for key in gone}
        self._seen = {
            name: seen for name, seen in self._seen.items() if name not in self.distrusted
        }
        return gone

    def save(self, now: float, monotonic: float) -> None:
        """Write the file, if there is one; a failure is told and changes nothing.

        Args:
            now: seconds since the epoch.
            monotonic: the same, on a clock that never goes back.
        """
        if self._file is None:
            return
        try:
            self._file.save(self._document(now, monotonic))
        except OSError as error:
            LOGGER.warning("retired keys are not kept: %s: %s", self._path, error.strerror)

    def _document(self, now: float, monotonic: float) -> Iterator[bytes]:
        """Return what is known once its turn to be written has come: an older state never wins."""
        document = {
            "issuer": self._issuer,
            "distrusted": sorted(self.distrusted),
            "keys": [
                {
                    "jwk": seen.jwk,
                    "kid": key.key_id,
                    "alg": key.algorithm,
                    "issuer": key.issuer,
                    "at": seen.last(now, monotonic),
                }
                for seen in self._seen.values()
                for key in seen.keys
            ],
        }
        yield json.dumps(document).encode("utf-8")

    def _read(
        self, document: Mapping[str, Any], algorithms: Sequence[str], monotonic: float
    ) -> None:
        if document["issuer"] != self._issuer:
            raise UnusableFile("it is of another issuer")
        self.distrusted |= frozenset(map(str, document["distrusted"]))
        for kept in document["keys"]:
            named = {} if kept["kid"] is None else {"kid": str(kept["kid"])}
            jwk = {**kept["jwk"], **named, "alg": kept["alg"], "issuer": kept["issuer"]}
            key = load_key(jwk, algorithms)
            before = self._seen.get(key.thumbprint)
            keys = (*(before.keys if before else ()), key)
            self._seen[key.thumbprint] = _Seen(kept["jwk"], keys, float(kept["at"]), monotonic)
        self.forget(())
