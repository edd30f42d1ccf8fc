"""An issuer's keys, kept at hand: fetched rarely, kept through outages, never for ever.

- One fetch at a time; whoever waits shares its outcome (single flight).
- A set older than `fresh_for` is still used while a new copy is fetched in the background.
- An unknown `kid` asks for a fetch, and no two fetches begin within `min_interval`.
- A failed fetch changes nothing, until the last good one is `keep_for` old: then there are no keys,
  which is a transient fault and not a refusal.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Deferred
from busauth.tokens.discovery import discover_jwks_uri, metadata_urls
from busauth.tokens.fetch import Fetcher
from busauth.tokens.keys import ASYMMETRIC, Key, KeyMissing, allow_list, fitting, load_key

LOGGER = logging.getLogger("busauth")


@dataclass(frozen=True, slots=True, kw_only=True)
class JWKSOptions:
    """How often keys are fetched, and how long they are kept; seconds throughout.

    Attributes:
        fresh_for: age after which a copy is renewed in the background.
        keep_for: age after which a copy is no longer used, when it cannot be renewed.
        min_interval: shortest time between the starts of two fetches.
        max_keys: more keys than this in one set are refused.
    """

    fresh_for: float = 300.0
    keep_for: float = 24 * 3600.0
    min_interval: float = 5.0
    max_keys: int = 64


class JWKS:
    """The keys at a JWKS URL (RFC 7517, section 5), or at the one that discovery finds.

    Args:
        url: where the key set is; https, unless `fetcher` says otherwise.
        algorithms: what the keys may be pinned to; only public-key algorithms.
        options: how often to fetch, and how long to keep.
        fetcher: time and size limits, hosts that may be asked over plain http.
        clock: where ages come from.

    Raises:
        ConfigurationError: the URL may not be asked, or an algorithm is not a public-key one.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithms: Iterable[str] = ASYMMETRIC,
        options: JWKSOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._fetcher = fetcher or Fetcher()
        self._url: str | None = self._fetcher.check_url(url)
        self._issuer: str | None = None
        self._algorithms = _public_only(algorithms)
        self._options = options or JWKSOptions()
        self._clock = clock or SystemClock()
        self._keys: tuple[Key, ...] = ()
        self._epoch = 0
        self._fetched: float | None = None
        self._began: float | None = None
        self._fetches = 0
        self._flight: asyncio.Task[None] | None = None

    @classmethod
    def discover(
        cls,
        issuer: str,
        *,
        algorithms: Iterable[str] = ASYMMETRIC,
        options: JWKSOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
    ) -> "JWKS":
        """Return the keys of an issuer whose metadata says where they are (RFC 8414, OIDC)."""
        first = metadata_urls(issuer)[0]
        keys = cls(first, algorithms=algorithms, options=options, fetcher=fetcher, clock=clock)
        keys._issuer, keys._url = issuer, None
        return keys

    @property
    def epoch(self) -> int:
        """Return a number that changes whenever the keys did."""
        return self._epoch

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed, without waiting.

        Raises:
            KeyMissing: none is known, or the copy is older than `keep_for`.
        """
        age = self._age()
        if age is None or age >= self._options.keep_for:
            raise KeyMissing
        if age >= self._options.fresh_for:
            self._renew()
        found = fitting(self._keys, key_id, algorithm)
        if not found:
            raise KeyMissing
        return found

    async def refresh(self) -> bool:
        """Wait for a new copy of the set; never more than one fetch per `min_interval`.

        Returns False where it joined a fetch that was under way: what that brings may be older than
        this call.

        Raises:
            Deferred: it cannot be had now. Keys that are here stay.
        """
        fetches = self._fetches
        await asyncio.shield(self._renew())
        return self._fetches > fetches

    def _age(self) -> float | None:
        return None if self._fetched is None else self._clock.monotonic() - self._fetched

    def _renew(self) -> "asyncio.Task[None]":
        """Return the fetch under way, or begin one that belongs to nobody's context."""
        if self._flight is None or self._flight.done():
            loop = asyncio.get_running_loop()
            self._flight = loop.create_task(self._fetch_in_turn(), context=Context())
            self._flight.add_done_callback(_log_failure)
        return self._flight

    async def _fetch_in_turn(self) -> None:
        if self._began is not None:
            wait = self._began + self._options.min_interval - self._clock.monotonic()
            await self._clock.sleep(max(0.0, wait))
        self._began = self._clock.monotonic()
        self._fetches += 1
        try:
            keys = await self._fetch()
        except Exception as error:  # whatever an issuer sends, it is not the message's fault
            self._url = None if self._issuer else self._url  # it may have moved: discover anew
            raise Deferred(str(error), probe=self.refresh) from error
        self._fetched = self._clock.monotonic()
        if keys != self._keys:
            self._keys, self._epoch = keys, self._epoch + 1

    async def _fetch(self) -> tuple[Key, ...]:
        if self._url is None:
            self._url = await discover_jwks_uri(self._issuer or "", self._fetcher)
        document = await self._fetcher.get_object(self._url)
        entries = document.get("keys")
        if not isinstance(entries, list) or len(entries) > self._options.max_keys:
            raise Deferred(
                f"{self._url}: expected `keys`, a list of at most {self._options.max_keys}"
            )
        keys = tuple(key for entry in entries if (key := self._load(entry)) is not None)
        if not keys:
            raise Deferred(f"{self._url} holds no key that fits {list(self._algorithms)}")
        return keys

    def _load(self, entry: Any) -> Key | None:
        """Skip what this issuer may not sign with: keys for encryption, other curves, damage."""
        try:
            return load_key(entry, self._algorithms) if isinstance(entry, dict) else None
        except ConfigurationError as error:
            LOGGER.info("%s: a key is left out: %s", self._url, error)
            return None


def _public_only(algorithms: Iterable[str]) -> tuple[str, ...]:
    """A secret on a public URL is nobody's secret."""
    known = allow_list(algorithms)
    if any(name not in ASYMMETRIC for name in known):
        raise ConfigurationError(f"algorithms={known!r}: a JWKS holds public keys, not secrets")
    return known


def _log_failure(flight: "asyncio.Task[None]") -> None:
    if not flight.cancelled() and (error := flight.exception()) is not None:
        LOGGER.warning("keys were not renewed: %s", error)
