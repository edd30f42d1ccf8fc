"""The revocations that may still matter, in memory: looked up in constant time, kept for a while.

A revocation concerns tokens that were issued until an instant. Once no such token can be accepted
any more, which is the `retention` later, it is forgotten. So a token that is older than that cannot
be shown not to be revoked, and counts as revoked.

Instants are compared in whole seconds, as issuers write them: a token of the very second in which
its revocation took effect is revoked. So is one that does not say when it was issued.

About 150 bytes an entry, bounded by `capacity`.
"""

import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter

from busauth._revocation.events import SecurityEvent, Target
from busauth._revocation.table import Table, joined
from busauth.caller import Caller, session_of
from busauth.errors import ConfigurationError, Deferred

TOKEN, SUBJECT, SESSION, CLIENT = 1, 2, 4, 8
"""What a kind of revocation names; a kind is their sum."""

KINDS = range(1, 16)
_GENERATIONS = 16  # what is forgotten together: one part in sixteen is kept a little too long
_MIN_KEY_BYTES = 32

Named = Callable[[Caller], str | None]
"""Returns what a caller is known by, as one text; nothing where the token does not say."""

Record = tuple[int, bytes, int]
"""A kind, a digest, and the second until which tokens are meant."""

_Lookup = tuple[
    int,
    Named,
    Callable[[str], bytes | None],
    Callable[[str], bytes],
    Callable[[bytes], int | None],
]
"""A kind, how a caller is named in it, a digest at hand, one that is made, and what is known."""


class RevokedTokens:
    """What was revoked, and since when.

    Args:
        retention: seconds; the longest token life plus the longest lateness that is accepted.
        token_life: seconds between `iat` and `exp` at most, for tokens that do not say their `iat`.
        capacity: entries at most.
        key: of the digests, 32 bytes or more; default: random, for this process alone.
        session_claim: the claim that names a token's session.

    Raises:
        ConfigurationError: a bound is not above 0, or the key is too short.
    """

    def __init__(
        self,
        *,
        retention: float,
        token_life: float,
        capacity: int = 2_000_000,
        key: bytes | None = None,
        session_claim: str = "sid",
    ) -> None:
        if not (0 < token_life <= retention < math.inf) or capacity < 1:
            found = f"retention={retention!r}, token_life={token_life!r}, capacity={capacity!r}"
            raise ConfigurationError(f"{found}: expected numbers above 0, the life not the longer")
        if key is not None and len(key) < _MIN_KEY_BYTES:
            raise ConfigurationError(f"a key of {len(key)} bytes: expected {_MIN_KEY_BYTES}")
        self.retention = retention
        self.capacity = capacity
        self._token_life = token_life
        self._key = key or secrets.token_bytes(_MIN_KEY_BYTES)
        self._session_claim = session_claim
        self._width = max(1, math.ceil(retention / _GENERATIONS))
        self._tables: dict[int, Table] = {}
        self._lookups: dict[str, tuple[_Lookup, ...]] = {}
        self._horizon = 0

    @property
    def count(self) -> int:
        """Return how many entries there are; no length, so that an empty memory is not false."""
        return sum(len(table.entries) for table in self._tables.values())

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether a caller's token is known to be revoked, or is too old to tell."""
        issued_at = caller.issued_at
        oldest = now - self.retention
        if issued_at is None:
            if caller.expires_at - self._token_life > now:
                return True
            issued_at = oldest
        elif issued_at < oldest:
            return True
        for kind, named, at_hand, make, find in self._lookups.get(caller.issuer, ()):
            name = named(caller)  # in line, because it is asked for each message
            if name:
                until = find(at_hand(name) or make(name))
                if until is not None and until >= int(oldest if kind == TOKEN else issued_at):
                    return True
        return False

    def add(self, event: SecurityEvent) -> None:
        """Remember whose tokens an event ends; the same event twice changes nothing.

        Raises:
            Deferred: there is no room.
        """
        for target in event.targets:
            kind, name = _named(target)
            # A token that is named by its id existed when that was told, whatever its `iat`.
            instant = max(event.effective_at, event.issued_at if kind == TOKEN else 0)
            table = self._knowing(kind, target.issuer)
            self._put(table, table.digest(target.issuer, name), int(instant))

    def sweep(self, at: float) -> None:
        """Forget what concerns only tokens that nobody accepts any more at this instant."""
        self._horizon = max(self._horizon, int(at - self.retention))
        for table in self._tables.values():
            table.forget_before(self._horizon)

    def records(self) -> Iterator[list[Record]]:
        """Return all entries, a few thousand at a time, to be read in any thread."""
        return chain.from_iterable(
            [_records(table.kind, table.chunks()) for table in self._tables.values()]
        )

    def issuers(self) -> dict[int, list[str]]:
        """Return by kind which issuers are known; needed to read the entries again."""
        return {kind: table.issuers for kind, table in self._tables.items()}

    def restore(self, issuers: dict[int, list[str]], records: Iterable[Record]) -> None:
        """Take over entries that were kept.

        Raises:
            Deferred: there is no room.
        """
        for kind, names in issuers.items():
            for issuer in names:
                self._knowing(kind, issuer)
        for kind, digest, until in records:
            self._put(self._table(kind), digest, until)

    def _put(self, table: Table, digest: bytes, until: int) -> None:
        if until < self._horizon:  # it concerns no token that anybody still accepts
            return
        if digest not in table.entries and self.count >= self.capacity:
            raise Deferred(f"{self.capacity} revocations are remembered: there is no room")
        table.put(digest, until)

    def _knowing(self, kind: int, issuer: str) -> Table:
        """Return the table of a kind, which the issuer's tokens are looked up in from now on."""
        table = self._table(kind)
        if issuer not in table.digests:
            table.know(issuer)
            named, digests = _naming(kind, self._session_claim), table.digests[issuer]
            lookup = (kind, named, digests.at_hand.get, digests.remembered, table.entries.get)
            self._lookups[issuer] = (*self._lookups.get(issuer, ()), lookup)
        return table

    def _table(self, kind: int) -> Table:
        if kind not in self._tables:
            self._tables[kind] = Table(kind, self._key, self._width)
        return self._tables[kind]


def _records(kind: int, chunks: Iterable[list[tuple[bytes, int]]]) -> Iterator[list[Record]]:
    for chunk in chunks:
        yield [(kind, digest, until) for digest, until in chunk]


def _named(target: Target) -> tuple[int, str]:
    """Return a target's kind, and what it names as one text."""
    parts = {
        TOKEN: target.token_id,
        SUBJECT: target.subject,
        SESSION: target.session,
        CLIENT: target.client,
    }
    named = {bit: value for bit, value in parts.items() if value is not None}
    return sum(named), joined(tuple(named.values()))


def _naming(kind: int, session_claim: str) -> Named:
    """Return how a caller is named in revocations of a kind."""

    def session(caller: Caller) -> str | None:
        return session_of(caller, session_claim)

    single: dict[int, Named] = {
        TOKEN: attrgetter("token_id"),
        SUBJECT: attrgetter("subject"),
        SESSION: session,
        CLIENT: attrgetter("client"),
    }
    chosen = tuple(name for bit, name in single.items() if kind & bit)

    def several(caller: Caller) -> str | None:
        values = tuple(name(caller) or "" for name in chosen)
        # A token that leaves one of them unsaid is not among those that are meant.
        return joined(values) if all(values) else None

    return chosen[0] if len(chosen) == 1 else several
