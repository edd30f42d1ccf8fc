"""An issuer's keys, kept at hand: fetched rarely, kept through outages, never for ever.

- One fetch at a time in an event loop; whoever waits there shares its outcome (single flight).
- A set older than `fresh_for` is still used while a new copy is fetched in the background.
- An unknown `kid` asks for a fetch, and no two fetches begin within `min_interval`.
- A failed fetch changes nothing, until the last good one is `keep_for` old: then there are no keys,
  which is a transient fault and not a refusal.
- A key that was removed may be remembered (`RetiredKeys`); one that was compromised never counts.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context
from typing import Any

from busauth._arguments import Count, Seconds, SecondsOrNone, checked
from busauth._knobs import Knobs
from busauth._loops import PerLoop
from busauth._tokens.fetch import Fetcher, Unusable, shown
from busauth._tokens.keys.discovery import discover_jwks_uri, metadata_urls
from busauth._tokens.keys.key import (
    ASYMMETRIC,
    Key,
    KeyMissing,
    KeysByName,
    allow_list,
    at_hand,
    by_name,
    load_keys,
)
from busauth._tokens.keys.retired import FormerKey, RetiredKeys
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Deferred, NotGenuine

LOGGER = logging.getLogger("busauth")

_TOLD = 5
"""Keys that are told where none can be used."""

_Fetched = tuple[Mapping[str, Any], Key]


class _Flight:
    """The fetch that is under way in one loop, or was the last one there."""

    task: "asyncio.Task[None] | None" = None


class JWKSOptions(Knobs):
    """How often keys are fetched, and how long they are kept; seconds throughout.

    Attributes:
        fresh_for: age after which a copy is renewed in the background.
        keep_for: age after which a copy is no longer used, when it cannot be renewed.
        min_interval: shortest time between the starts of two fetches.
        max_keys: more keys than this in one set are refused.
    """

    fresh_for: SecondsOrNone = 300.0
    keep_for: Seconds = 24 * 3600.0
    min_interval: SecondsOrNone = 5.0
    max_keys: Count = 64


class JWKS:
    """The keys at a JWKS URL (RFC 7517, section 5), or at the one that discovery finds.

    Args:
        url: where the key set is; https, unless `fetcher` says otherwise.
        algorithms: what the keys may serve, where they do not say it; only public-key algorithms.
        options: how often to fetch, and how long to keep.
        fetcher: time and size limits, hosts that may be asked over plain http.
        clock: where ages come from.
        retired: remembers keys that were removed; default: they count no more.
        distrusted: keys that never count, by `kid` or by thumbprint (RFC 7638, SHA-256, in hex or
            base64url). A name that fits none of the issuer's keys is told, once.

    Attributes:
        epoch: a number that changes whenever the keys did; for reading.

    Raises:
        ConfigurationError: the URL may not be asked, or an algorithm is not a public-key one.
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        algorithms: Iterable[str] = ASYMMETRIC,
        options: JWKSOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
        retired: RetiredKeys | None = None,
        distrusted: Iterable[str] = (),
    ) -> None:
        self._fetcher = fetcher or Fetcher()
        self._url: str | None = self._fetcher.check_url(url)
        self._issuer: str | None = None
        self._algorithms = _public_only(algorithms)
        self._options = options or JWKSOptions()
        self._clock = clock or SystemClock()
        self._keys: tuple[Key, ...] = ()
        self._by_name: KeysByName = {}
        self._fetched_keys: tuple[_Fetched, ...] = ()
        self._retired = retired
        self._distrusted = frozenset((distrusted,) if isinstance(distrusted, str) else distrusted)
        self._unmet = self._distrusted
        self.epoch = 0
        self._fetched: float | None = None
        self._began: float | None = None
        self._fetches = 0
        self._flights = PerLoop(_Flight)
        self._refused: frozenset[str] = frozenset()
        if self._retired is not None:
            # What was distrusted before a restart is so before the first key is fetched.
            self._retired.open(url, self._algorithms, self._clock.monotonic())
            self._distrusted |= self._retired.distrusted
        self._adopt(())

    @classmethod
    def discover(
        cls,
        issuer: str,
        *,
        algorithms: Iterable[str] = ASYMMETRIC,
        options: JWKSOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
        retired: RetiredKeys | None = None,
        distrusted: Iterable[str] = (),
    ) -> "JWKS":
        """Return the keys of an issuer whose metadata says where they are (RFC 8414, OIDC)."""
        keys = cls(
            metadata_urls(issuer)[0],
            algorithms=algorithms,
            options=options,
            fetcher=fetcher,
            clock=clock,
            retired=retired,
            distrusted=distrusted,
        )
        keys._issuer, keys._url = issuer, None
        return keys

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed, without waiting.

        Raises:
            KeyMissing: none is known, or the copy is older than `keep_for`.
            NotGenuine: ``token.key_compromised``: this key never counts.
        """
        if self._fetched is None:
            raise KeyMissing
        age = self._clock.monotonic() - self._fetched  # not `_age`: this is asked for each message
        if age >= self._options.keep_for:
            raise KeyMissing
        if age >= self._options.fresh_for:
            self._renew()
        found = self._by_name.get((key_id, algorithm))
        if found is not None:
            return found
        if key_id is None or key_id not in self._refused:
            raise KeyMissing(at_hand(self._keys, key_id))
        raise NotGenuine(
            "token.key_compromised",
            found=f"kid={key_id!r}",
            expected="a key that was not reported compromised",
        )

    def former(self, key_id: str | None, algorithm: str) -> Sequence[FormerKey]:
        """Return keys that were removed and may have signed, if any are remembered."""
        age = self.age
        if self._retired is None or age is None or age >= self._options.keep_for:
            return ()
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return self._retired.candidates(key_id, algorithm, now, monotonic)

    @property
    def retired_sources(self) -> frozenset[str]:
        """Return whose word lets a removed key count, nobody's where none is remembered."""
        return frozenset() if self._retired is None else self._retired.sources

    def distrust(self, name: str) -> bool:
        """Let a key count no more, from now on and whatever its issuer says of it.

        What was verified with it counts no more either, nor does it under another `kid`. Kept in
        the file of `RetiredKeys`, if there is one; else say it in the configuration, too, so that
        it outlasts this process.

        Args:
            name: its thumbprint (RFC 7638, SHA-256, in hex as `Key.thumbprint` or in base64url), or
                its `kid`, which another key may have as well.

        Returns:
            Whether a key that is known goes by this name. One that comes later will not count
            either; a name that fits none is told in the log, since it may be misspelled.
        """
        if name not in self._distrusted:
            self._unmet |= {name}
        self._distrusted |= {name}
        self._adopt(self._fetched_keys)
        self.epoch += 1  # also where no key at hand goes by it: one that was removed may have
        if self._retired is not None:
            self._retired.save(self._clock.now(), self._clock.monotonic())
        if name in self._unmet:
            self._tell_unmet({name})
        return name not in self._unmet

    async def refresh(self) -> bool:
        """Wait for a new copy of the set; never more than one fetch per `min_interval`.

        Returns False where it joined a fetch that was under way: what that brings may be older than
        this call.

        Raises:
            Deferred: it cannot be had now. Keys that are here stay.
        """
        fetches = self._fetches
        # Shielded: others wait for the same fetch, and one who gives up must not end it.
        await asyncio.shield(self._renew())
        return self._fetches > fetches

    async def check(self, algorithms: Iterable[str]) -> None:
        """Have keys at hand for one of these algorithms, fetching them unless they are there.

        Raises:
            Unusable: its issuer answers, and not with such keys.
            Deferred: its issuer is out of reach.
        """
        age = self.age
        if age is None or age >= self._options.keep_for:
            await self.refresh()
        wanted = tuple(algorithms)
        if not any(key.algorithm in wanted for key in self._keys):
            found = sorted({key.algorithm for key in self._keys})
            raise Unusable(f"{self._shown} holds keys for {found}: expected one for {list(wanted)}")

    @property
    def issuer(self) -> str | None:
        """Return whose metadata says where they are; None where nobody's is asked."""
        return self._issuer

    @property
    def url(self) -> str | None:
        """Return where they are; None as long as no metadata has said it."""
        return self._url

    @property
    def fetcher(self) -> Fetcher:
        """Return how they are asked for."""
        return self._fetcher

    @property
    def _shown(self) -> str:
        return shown(self._url or "")

    @property
    def age(self) -> float | None:
        """Return for how many seconds these keys have been here; None before there were any."""
        return None if self._fetched is None else self._clock.monotonic() - self._fetched

    def _renew(self) -> "asyncio.Task[None]":
        """Return the fetch under way, or begin one that belongs to nobody's context."""
        flight = self._flights.here
        if flight.task is None or flight.task.done():
            loop = asyncio.get_running_loop()
            flight.task = loop.create_task(self._fetch_in_turn(), context=Context())
            flight.task.add_done_callback(self._log_failure)
        return flight.task

    def _log_failure(self, flight: "asyncio.Task[None]") -> None:
        if not flight.cancelled() and (error := flight.exception()) is not None:
            done = "fetched" if self._fetched is None else "renewed"
            LOGGER.warning("keys were not %s: %s", done, error)

    def _wait(self) -> float:
        if self._began is None:
            return 0.0
        return self._began + self._options.min_interval - self._clock.monotonic()

    async def _fetch_in_turn(self) -> None:
        while (wait := self._wait()) > 0:  # another loop's fetch may have begun in the meantime
            await self._clock.sleep(wait)
        self._began = self._clock.monotonic()
        self._fetches += 1
        try:
            keys = await self._fetch()
        except Exception as error:  # whatever an issuer sends, it is not the message's fault
            self._url = None if self._issuer else self._url  # it may have moved: discover anew
            kind = Unusable if isinstance(error, (Unusable, ConfigurationError)) else Deferred
            raise kind(str(error), probe=self.refresh) from error
        is_first, self._fetched = self._fetched is None, self._clock.monotonic()
        self._adopt(keys)
        if is_first and self._unmet:
            self._tell_unmet(self._unmet)
        if self._retired is not None:
            readings = self._clock.now(), self._clock.monotonic()
            self._retired.noticed(self._usable(), *readings)
            # Last, and in a thread: the keys count already, and a slow disk holds up nobody.
            await asyncio.to_thread(self._retired.save, *readings)

    def _adopt(self, keys: tuple[_Fetched, ...]) -> None:
        """Take a set for the current one, but for what is not to be trusted."""
        self._fetched_keys = keys
        meant = self._meant([key for _, key in keys])
        self._distrusted |= {key.thumbprint for key in meant}
        trusted = tuple(key for _, key in keys if key.thumbprint not in self._distrusted)
        self._refused |= self._distrusted | {key.key_id for key in meant if key.key_id}
        self._unmet -= {name for key in meant for name in key.names}
        if trusted != self._keys:
            self._keys, self._by_name = trusted, by_name(trusted)
            self.epoch += 1

    def _meant(self, keys: Sequence[Key]) -> list[Key]:
        """Return the keys that go by a distrusted name, those that were remembered among them."""
        meant = [key for key in keys if key.names & self._distrusted]
        if self._retired is None:
            return meant
        return meant + self._retired.forget(self._distrusted | {key.thumbprint for key in meant})

    def _usable(self) -> dict[str, tuple[Mapping[str, Any], Sequence[Key]]]:
        usable: dict[str, tuple[Mapping[str, Any], list[Key]]] = {}
        for jwk, key in self._fetched_keys:
            if key.thumbprint not in self._distrusted:
                usable.setdefault(key.thumbprint, (jwk, []))[1].append(key)
        return dict(usable)

    def _tell_unmet(self, names: Iterable[str]) -> None:
        LOGGER.warning(
            "%s: no known key goes by %s, which is not to be trusted: expected a kid, or the "
            "thumbprint of RFC 7638 (SHA-256, in hex or base64url)",
            self._issuer or self._shown, ", ".join(map(repr, sorted(names))),
        )  # fmt: skip

    async def _fetch(self) -> tuple[_Fetched, ...]:
        if self._url is None:
            self._url = await discover_jwks_uri(self._issuer or "", self._fetcher)
        document = await self._fetcher.get_object(self._url)
        entries = document.get("keys")
        if not isinstance(entries, list) or len(entries) > self._options.max_keys:
            raise Unusable(
                f"{self._shown}: expected `keys`, a list of at most {self._options.max_keys}"
            )
        left_out: list[str] = []
        keys = tuple((entry, key) for entry in entries for key in self._load(entry, left_out))
        if not keys:
            found = "; ".join(left_out[:_TOLD]) or "none at all"
            raise Unusable(
                f"{self._shown} holds no key that fits {list(self._algorithms)}: found {found}"
            )
        return keys

    def _load(self, entry: Any, left_out: list[str]) -> Sequence[Key]:
        """Skip what this issuer may not sign with: keys for encryption, other curves, damage."""
        try:
            return load_keys(entry, self._algorithms)
        except ConfigurationError as error:
            left_out.append(str(error))
            LOGGER.info("%s: a key is left out: %s", self._shown, error)
            return ()


def _public_only(algorithms: Iterable[str]) -> tuple[str, ...]:
    """A secret on a public URL is nobody's secret."""
    known = allow_list(algorithms)
    if any(name not in ASYMMETRIC for name in known):
        raise ConfigurationError(
            f"algorithms={known!r}: a JWKS holds public keys, not secrets: expected "
            "RS256, ES256 and the like; a secret is for StaticKeys(shared_secret(...)), in code"
        )
    return known
