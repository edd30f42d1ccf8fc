"""Who has signed in: kept in memory, by a random id, without their token.

What proved the token is kept: the key in one state of its issuer's key set, or an issuer's word for
as long as it counts. Each request judges it anew. Where that does not hold any more, only the token
could prove itself again, and so the session is over.

A session ends with its token's `exp`, when its owner signs out, when nobody used it for a while,
and at the first request at which the token would not be taken any more. Its id is kept as a digest
only. Nothing of it survives the process.
"""

import ipaddress
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac

from busauth._amqp.guard import Guard
from busauth._amqp.headers import bearer_token
from busauth._decision import Rules, decide, stands
from busauth._demand import Demand
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.waiting import found
from busauth.caller import Caller
from busauth.clock import Clock
from busauth.errors import NotGenuine, Untimely, defer_if_transient

_MOST = 1000
"""Sessions at once."""

_MOST_EACH = 5
"""Of one subject: the one that was used least lately ends for a further one."""

_MOST_ADDRESSES = 10_000
_NETWORK = 64
"""Bits of an IPv6 address that are a client's network: all addresses in it are theirs."""

_ENDED = "one that still counts; sign in anew"


@dataclass(frozen=True, slots=True)
class Visit:
    """What is kept of a token that was shown.

    Attributes:
        verified: what was proven of it, and by what.
        rules: what it is held to.
    """

    verified: Verified
    rules: Rules

    @property
    def caller(self) -> Caller:
        """Return who it is; without a lease, so that nobody can act for them."""
        return self.verified.caller

    def check(self, now: float) -> None:
        """Return only where the token would be taken now, revocations asked.

        Args:
            now: seconds since the epoch. `exp` ends a visit to the second: no leeway counts.

        Raises:
            Refused: it would not: expired, revoked, or what proved it does not count any more.
            Deferred: what knows of revocations cannot tell now.
        """
        if now >= self.caller.expires_at:
            raise Untimely("token.expired", found="past exp", expected=_ENDED)
        if not self.verified.holds():
            found = "the issuer's keys have changed, or its word is too old"
            raise NotGenuine("token.key_unknown", found=found, expected=_ENDED)
        stands(self.verified, self.caller, self.rules, now)


async def visiting(guard: Guard, authorization: str | None, demand: Demand) -> Visit:
    """Verify an ``Authorization`` value, and return what may be asked again without it.

    Args:
        guard: whom it trusts; nothing late is accepted.
        authorization: the header's value, None where there is none.
        demand: what the caller must have.

    Raises:
        Refused: with its code and HTTP status.
        Deferred: the issuer's keys, or what knows of revocations, are out of reach.
    """
    core = guard.core
    rules = core.edge_rules(demand, None)
    token = bearer_token(authorization)
    try:
        verified = await found(lambda: core.trusted.recall(token))
    except Exception as error:  # a user's own authenticator may raise what only they know
        defer_if_transient("who proves tokens is", error, guard.options.transient)
        raise
    await decide(verified, rules, guard.clock.now())
    return Visit(verified, rules)


@dataclass(slots=True)
class _Session:
    visit: Visit
    used: float


class Sessions:
    """The sessions of one console.

    Args:
        clock: counts idleness.
        idle: seconds without a request, after which one ends.
    """

    def __init__(self, clock: Clock, idle: float) -> None:
        self._clock, self._idle = clock, idle
        self._held: dict[bytes, _Session] = {}
        self._key = secrets.token_bytes(32)

    def open(self, visit: Visit) -> str | None:
        """Return a new session's id; None where there are too many."""
        self._forget()
        own = [
            name
            for name, each in self._held.items()
            if (each.visit.caller.issuer, each.visit.caller.subject)
            == (visit.caller.issuer, visit.caller.subject)
        ]
        if len(own) >= _MOST_EACH:
            del self._held[min(own, key=lambda name: self._held[name].used)]
        if len(self._held) >= _MOST:
            return None
        name = self.new_name()
        self._held[_digest(name)] = _Session(visit, self._clock.monotonic())
        return name

    def new_name(self) -> str:
        """Return what nobody can guess."""
        return secrets.token_urlsafe(32)

    def find(self, name: str, *, uses: bool) -> Visit | None:
        """Return whose session this is; None where there is none, or it was idle for too long.

        Args:
            name: its id.
            uses: whether this is a use; a page that refreshes itself is none.
        """
        self._forget()
        session = self._held.get(_digest(name))
        if session is None:
            return None
        if uses:
            session.used = self._clock.monotonic()
        return session.visit

    def close(self, name: str) -> None:
        """End a session, if there is one."""
        self._held.pop(_digest(name), None)

    def form_token(self, name: str) -> str:
        """Return what a form must carry that was made for the holder of a cookie."""
        return hmac(self._key, name.encode(), sha256).hexdigest()

    def is_form_token(self, name: str, given: str) -> bool:
        """Return whether a form carries it."""
        return compare_digest(self.form_token(name).encode(), given.encode())

    def _forget(self) -> None:
        """End those that were idle for too long, or whose tokens have expired."""
        used, now = self._clock.monotonic() - self._idle, self._clock.now()
        ended = [
            name
            for name, each in self._held.items()
            if each.used <= used or each.visit.caller.expires_at <= now
        ]
        for name in ended:
            del self._held[name]


def _digest(name: str) -> bytes:
    return sha256(name.encode()).digest()


class Attempts:
    """Failed attempts by address, so that nobody tries without end, or makes others wait.

    Args:
        clock: counts.
        most: how many in a span.
        span: seconds.
    """

    def __init__(self, clock: Clock, most: int = 10, span: float = 60.0) -> None:
        self._clock, self._most, self._span = clock, most, span
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Return for how many seconds an address is not listened to; 0 where it is."""
        recent = self._recent(_network(address))
        if len(recent) < self._most:
            return 0
        return int(recent[0] + self._span - self._clock.monotonic()) + 1

    def failed(self, address: str) -> None:
        """Count an attempt that failed."""
        network = _network(address)
        self._failed[network] = [*self._recent(network), self._clock.monotonic()][-self._most :]
        self._failed.move_to_end(network)
        if len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)

    def _recent(self, network: str) -> list[float]:
        since = self._clock.monotonic() - self._span
        return [at for at in self._failed.get(network, ()) if at > since]


def _network(address: str) -> str:
    """Return what one client has: in IPv6 a network, and not an address."""
    try:
        named = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(named, ipaddress.IPv4Address):
        return address
    return str(ipaddress.ip_network((named, _NETWORK), strict=False))
