"""Who a message is for: the verified caller, and the lease under which a handler acts for them.

A lease opens when a handler starts and ends when it returns. It travels in a context variable, so
that `publish` finds the caller without being handed one; a task that outlives its handler still
sees the lease, and sees that it has ended.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

from busauth.clock import Clock
from busauth.errors import CallerError, told_to_handlers

MOST_ACTORS = 8
"""Services in a chain: what is kept of each token has a bound."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A service that acted for the caller (RFC 8693, section 4.1).

    Only the outermost actor may count in an access decision; the others are history.
    """

    subject: str
    issuer: str | None = None
    client: str | None = None


def acting_for(actor: str | None, subject: str | None) -> str | None:
    """Return who acts for whom, in a few words for people: ``agent-x for alice``.

    Args:
        actor: the outermost one's subject; None where nobody acts: then the caller is said alone.
        subject: the caller's; None where that is not known.
    """
    return subject if actor is None else f"{actor} for {subject or 'nobody known'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a transaction token says of its transaction: the same in every service of a call chain.

    Attributes:
        txn: names the transaction: printable, and safe to show.
        scope: what it is for, as it was issued; `Caller.scopes` is what its caller may do here.
        tctx: its immutable details, deeply read-only; empty where there are none.
        rctx: the circumstances of the request that began it, likewise.
        req_wl: the workloads that asked for its tokens, the first one first.
    """

    txn: str
    scope: str
    tctx: Mapping[str, Any] = field(repr=False)
    rctx: Mapping[str, Any] = field(repr=False)
    req_wl: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """What is kept of the token that work was first asked for with, once that token is gone.

    Attributes:
        issuer, subject, client, scopes, roles, audience, actors: as `Caller` has them.
        issued_at, expires_at: `iat`, if any, and `exp`, seconds since the epoch.
        token_id: `jti`, if any.
        session: the session that it belongs to, as revocations name it; None where it says none.
        token_sha256: hex digest of the raw token.
    """

    issuer: str
    subject: str
    client: str | None
    scopes: frozenset[str]
    roles: frozenset[str]
    audience: tuple[str, ...]
    actors: tuple[Actor, ...]
    issued_at: float | None
    expires_at: float
    token_id: str | None
    session: str | None
    token_sha256: str


@dataclass(frozen=True, slots=True)
class Late:
    """How a token that had expired in the queue came to be accepted.

    Attributes:
        expired_at: the token's `exp`, seconds since the epoch.
        seconds: how far past `exp` the decision was made.
        policy: the name of the policy that accepted.
        until: seconds since the epoch: the acceptance holds before that instant, and no longer from
            then on.
        restricted: whether scopes and roles were taken away, so that the token cannot be sent on.
        published_at: the published instant at which the token still counted, seconds since the
            epoch, where that is why the policy accepted.
    """

    expired_at: float
    seconds: float
    policy: str
    until: float
    restricted: bool = False
    published_at: float | None = None


class Cause(NamedTuple):
    """The message that a handler has in hand, as it names itself: words of its sender's.

    Attributes:
        message_id, correlation_id: None where it has none that can be said on.
    """

    message_id: str | None
    correlation_id: str | None


T = TypeVar("T")

Told = Callable[["Caller", str], None]
"""Hears of a token that was had in a caller's name, and what it is."""

Standing = Callable[["Caller"], None]
"""Raises `Refused` where a caller was revoked by now, `Deferred` where that cannot be told."""


class Renewal(Protocol):
    """Has a token anew for work that goes on for longer than the one that it came with."""

    @property
    def lock(self) -> asyncio.Lock:
        """Return what is held while one is had, so that one is at a time."""
        ...

    def __call__(self) -> "Awaitable[Subject]":
        """Return another token, proven, and whose it is.

        Raises:
            CallerError: none can be had; says why, and what to declare.
            Refused: its caller was revoked, may not go on, or the server refuses it.
            Deferred: there is no answer to be had now.
        """
        ...


_MARGIN = 10.0
"""Seconds before its `exp` from which on a token is had anew: it has to get somewhere in time."""


class Lease:
    """The right to act with a caller's token, until it ends. Prints and pickles no token.

    Attributes:
        hop: how many messages led to the one that is handled.
        published_at: when the first of them was published, as far as that can be said on.
        cause: tells what is handled, while it is; None where that is no message.
    """

    __slots__ = (
        "_caller",
        "_clock",
        "_ended",
        "_renewal",
        "_standing",
        "_token",
        "_told",
        "cause",
        "hop",
        "published_at",
    )

    def __init__(
        self,
        token: str,
        *,
        caller: "Caller | None" = None,
        standing: Standing | None = None,
        hop: int = 0,
        published_at: float | None = None,
        cause: Callable[[], Cause] | None = None,
        clock: Clock | None = None,
        renewal: Renewal | None = None,
        told: Told | None = None,
    ) -> None:
        self._told = told
        self._token = token
        self._caller = caller
        self._standing = standing
        self._clock = clock
        self._renewal = renewal
        self._ended: str | None = None
        self.hop = hop
        self.published_at = published_at
        self.cause = cause

    def token(self) -> str:
        """Return the raw token, or raise `CallerError` once the lease has ended."""
        if self._ended is not None:
            raise CallerError(f"the caller's token cannot be used: {self._ended}")
        return self._token

    @property
    def is_proven(self) -> bool:
        """Return whether it is known whose token it is."""
        return self._caller is not None

    @property
    def is_transaction(self) -> bool:
        """Return whether its token is known to be a transaction token."""
        return self._caller is not None and self._caller.transaction is not None

    async def subject(self) -> "Subject":
        """Return whose authority is to go on, to have their token exchanged.

        Raises:
            CallerError: the lease has ended, or nobody has proven here whose token it is.
            Refused: they were revoked meanwhile.
            Deferred: whether they were cannot be told now.
        """
        subject = self._standing_subject()
        if self._renewal is None or not self._is_over(subject.caller, _MARGIN):
            return subject
        return await self._renewed(self._renewal)

    async def had(self, ask: "Callable[[Subject], Awaitable[T]]", what: str) -> T:
        """Return what is had for the token; revocation is asked before and after, and it is told.

        Args:
            ask: has it.
            what: is had, for an auditor.

        Raises:
            CallerError: as of `subject`; or the handler has ended meanwhile.
            Refused, Deferred: they were revoked, or as `ask`; marked for who runs the handler.
        """
        with told_to_handlers():
            subject = await self.subject()
            had = await ask(subject)
            await self.subject()  # once more: who counted before may be revoked by now
        if self._told is not None:
            self._told(subject.caller, what)
        return had

    async def fresh(self) -> str:
        """Return a raw token that counts now; see `Caller.fresh`."""
        subject = await self.subject()
        if self._renewal is None and self._is_over(subject.caller, 0.0):
            raise CallerError(
                "the caller's token has expired, and none is had anew here: expected "
                "on_expired=Exchange(...), from busauth.delegation, for this consumer"
            )
        return subject.token

    def _standing_subject(self) -> "Subject":
        token = self.token()
        if self._caller is None:
            raise CallerError(
                "whose token it is was not proven here: authenticate them first, and publish with "
                "token=caller.bearer()"
            )
        if self._standing is not None:
            self._standing(self._caller)
        return Subject(self._caller, token)

    def _is_over(self, caller: "Caller", margin: float) -> bool:
        return self._clock is not None and self._clock.now() + margin >= caller.expires_at

    async def _renewed(self, renewal: Renewal) -> "Subject":
        """Have the token anew, and act by it from now on, while the lease lasts."""
        async with renewal.lock:
            subject = self._standing_subject()
            if not self._is_over(subject.caller, _MARGIN):  # somebody else has had it
                return subject
            subject = await renewal()
            self.token()  # ended meanwhile, it takes none
            if subject.caller.restricted:
                raise CallerError(
                    "the caller's token is over, and the new one allows more than it did"
                )
            self._caller, self._token = subject.caller, subject.token
        return subject

    def end(
        self, why: str = "their handler has ended; await what it starts before it returns"
    ) -> None:
        """End the lease for good and forget the token."""
        self._ended = self._ended or why  # the first reason is what its user can do something about
        self._token = ""

    def __repr__(self) -> str:
        return f"<Lease {'ended' if self._ended else 'open'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a lease on a caller's token cannot be pickled or copied")

    def __deepcopy__(self, memo: object) -> "Lease":
        return self  # a copied caller acts under the same lease, and ends with it


@dataclass(frozen=True)
class Caller:
    """A verified identity: everything here comes from a token that was proven genuine.

    Attributes:
        issuer: `iss`, exactly as configured.
        subject: `sub`; unique within its issuer only.
        client: the OAuth client that the token was issued to, where the profile finds one.
        scopes: what the token allows, from where the issuer's profile keeps scopes.
        roles: the caller's roles, from where the issuer's profile keeps roles.
        audience: `aud`, always as a tuple.
        claims: the whole payload, deeply read-only.
        actors: services acting for the caller, outermost first.
        token_id: `jti`, if any.
        token_sha256: hex digest of the raw token: an identifier that is safe to log.
        issued_at: `iat` in seconds since the epoch, if any.
        expires_at: `exp` in seconds since the epoch.
        late: set when the token had expired and a policy accepted it, or was a voucher.
        first: set when the message came back with another token than its first one, or a policy has
            had another one for it: scopes and roles are then what both of them allow, and all else
            is the other token's.
        restricted: whether the token allows more than the caller was left with, so that it cannot
            be sent on.
        transaction: what a transaction token says of its transaction; None for any other token, and
            for one of which only a record is left.
    """

    issuer: str
    subject: str
    client: str | None
    scopes: frozenset[str]
    roles: frozenset[str]
    audience: tuple[str, ...]
    expires_at: float
    issued_at: float | None
    token_id: str | None
    token_sha256: str
    actors: tuple[Actor, ...] = ()
    late: Late | None = None
    first: FirstToken | None = None
    restricted: bool = False
    transaction: Transaction | None = field(default=None, compare=False)
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lease: Lease | None = field(default=None, repr=False, compare=False)

    @property
    def actor(self) -> Actor | None:
        """Return who acts for them now, the outermost of `actors`; None: they act themselves.

        It alone counts for what may be done (RFC 8693, section 4.1).
        """
        return self.actors[0] if self.actors else None

    def bearer(self) -> str:
        """Return the caller's raw token, to call another service on their behalf.

        Raises:
            CallerError: the handler has ended, or the token allows more than its caller was left
                with, so that sending it on would give that back.
        """
        if self._lease is None:
            raise CallerError("this caller carries no token")
        return self._lease.token()

    async def fresh(self) -> str:
        """Return a raw token of the caller's that counts now, for work that takes long.

        It is the caller's own while that counts. Where that is over, or about to be, and the
        consumer declares `busauth.delegation.Exchange`, another one is had for it, which is what
        `publish` and `bearer` send on from then on.

        Raises:
            CallerError: the handler has ended, the token cannot be sent on, or none can be had in
                its place; says why, and what to declare.
            Refused: the caller was revoked meanwhile, or the server refuses to exchange.
            Deferred: there is no answer to be had now.
        """
        if self._lease is None:
            raise CallerError("this caller carries no token")
        with told_to_handlers():
            return await self._lease.fresh()


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose authority is to go on, or to be had anew: the subject of a token exchange (RFC 8693).

    Attributes:
        caller: proven of the token.
        token: raw.
    """

    caller: Caller
    token: str = field(repr=False)


async def subject_of(caller: Caller) -> Subject:
    """Return a caller and their token, to have it exchanged: revocation is asked first.

    Raises:
        CallerError: there is no token, or it cannot be used any more.
        Refused, Deferred: as `Lease.subject`.
    """
    return await _lease_of(caller).subject()


def _lease_of(caller: Caller) -> Lease:
    lease = caller._lease  # noqa: SLF001 -- its own module's
    if lease is None:
        raise CallerError("this caller carries no token")
    return lease


async def had_for(caller: Caller, ask: Callable[[Subject], Awaitable[T]], what: str) -> T:
    """Return what is had for a caller's token; see `Lease.had`."""
    return await _lease_of(caller).had(ask, what)


def holding(caller: Caller, lease: Lease) -> Caller:
    """Return the caller with a lease; `dataclasses.replace` takes five times as long."""
    copy = object.__new__(Caller)
    copy.__dict__.update(caller.__dict__, _lease=lease)
    return copy


def lease_for(
    caller: Caller,
    token: str,
    *,
    standing: Standing | None = None,
    hop: int = 0,
    published_at: float | None = None,
    cause: Callable[[], Cause] | None = None,
    clock: Clock | None = None,
    renewal: Renewal | None = None,
    told: Told | None = None,
) -> Lease:
    """Open a lease; an ended one without a token, or on one that allows more than its caller."""
    # Ended, and not refused: a handler that sends nothing on in their name may do its work.
    lease = Lease(
        token,
        caller=caller,
        standing=standing,
        hop=hop,
        published_at=published_at,
        cause=cause,
        clock=clock,
        renewal=renewal,
        told=told,
    )
    if not token:
        lease.end(
            "an operator had this message sent again, and there is none; publish as the service "
            "itself, token=..., or say token=ANONYMOUS"
        )
    if caller.late is not None and caller.late.restricted:
        lease.end("it was accepted late with less authority than it carries")
    if caller.restricted:
        lease.end("it allows more than the token that the work was first asked for with")
    return lease


def session_of(caller: Caller, session_claim: str) -> str | None:
    """Return the session that a caller's token belongs to, as events name it: in text.

    An id that is a number is meant by its digits; what is neither names no session.
    """
    session = caller.claims.get(session_claim)
    if isinstance(session, int | float):
        return json.dumps(session)
    return session if isinstance(session, str) else None


def first_token(caller: Caller, session_claim: str) -> FirstToken:
    """Return what is to be kept of a caller's token, for when it is gone."""
    return FirstToken(
        issuer=caller.issuer,
        subject=caller.subject,
        client=caller.client,
        scopes=caller.scopes,
        roles=caller.roles,
        audience=caller.audience,
        actors=caller.actors,
        issued_at=caller.issued_at,
        expires_at=caller.expires_at,
        token_id=caller.token_id,
        session=session_of(caller, session_claim),
        token_sha256=caller.token_sha256,
    )


def narrowed(caller: Caller, first: FirstToken) -> Caller:
    """Return the caller of a fresh token, with no more than the first token allowed.

    Another client, other actors or a further audience are no less, so they count as more.
    """
    within = (
        caller.scopes <= first.scopes
        and caller.roles <= first.roles
        and set(caller.audience) <= set(first.audience)
        and (caller.client, caller.actors) == (first.client, first.actors)
    )
    return replace(
        caller,
        scopes=caller.scopes & first.scopes,
        roles=caller.roles & first.roles,
        first=first,
        restricted=not within,
    )


def as_caller(first: FirstToken, session_claim: str) -> Caller:
    """Return the caller of a first token, as far as is known of them: for who knows revocations."""
    session = {} if first.session is None else {session_claim: first.session}
    return Caller(
        issuer=first.issuer,
        subject=first.subject,
        client=first.client,
        scopes=first.scopes,
        roles=first.roles,
        audience=first.audience,
        expires_at=first.expires_at,
        issued_at=first.issued_at,
        token_id=first.token_id,
        token_sha256=first.token_sha256,
        actors=first.actors,
        claims=read_only(session),
    )


def operated(first: FirstToken, operator: FirstToken, session_claim: str, late: Late) -> Caller:
    """Return the caller of a first token, for whom an operator acts.

    Args:
        first: the record of the token that the work was asked for with.
        operator: the record of the operator's token.
        session_claim: the claim that names sessions.
        late: who accepted it, and up to when.
    """
    acts = Actor(operator.subject, operator.issuer, operator.client)
    return replace(as_caller(first, session_claim), actors=(acts, *first.actors), late=late)


def asked_about(caller: Caller, session_claim: str) -> Caller:
    """Return a caller out of a record, for who is to say whether they may: claims are gone.

    What is not known is neither there nor missing: to look for it is an error.
    """
    return replace(caller, claims=_Gone(caller.claims, session_claim))


_current: ContextVar[Lease | None] = ContextVar("busauth_lease", default=None)


def current_lease() -> Lease:
    """Return the lease in scope, open or ended; raise `CallerError` where there is none."""
    lease = _current.get()
    if lease is None:
        raise CallerError(
            "no caller is in scope: publish inside a guarded handler, pass token=..., "
            "or say token=ANONYMOUS"
        )
    return lease


def cause_in_scope() -> Cause | None:
    """Return which message this context handles; None where it handles none, or no more."""
    lease = _current.get()
    return None if lease is None or lease.cause is None else lease.cause()


def caller_in_scope() -> bool:
    """Return whether this context carries a lease, be it ended."""
    return _current.get() is not None


class acting:  # noqa: N801 -- a context manager, entered for each message
    """Put a lease in scope, and end it on the way out, whatever happened."""

    __slots__ = ("_lease", "_reset")

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __enter__(self) -> None:
        self._reset = _current.set(self._lease)

    def __exit__(self, *_: object) -> None:
        self._lease.end()  # tasks that it started have copied the variable: only this ends them
        self._lease.cause = None
        _current.reset(self._reset)


class as_nobody:  # noqa: N801 -- a context manager
    """Be nobody while inside: ``with as_nobody():``, in a handler and anywhere else.

    Tasks and callbacks that are started inside inherit no caller, whoever starts them: directly, or
    in a library that is called. Whatever serves several messages is started like this: workers of a
    pool, a warmer of caches, a connection's reader. Publishing inside takes ``token=...``. The rest
    of the context, a trace for example, is inherited as ever.

    Do not yield to somebody else inside: an asynchronous generator's caller would be nobody, too.
    """

    __slots__ = ("_reset",)

    def __enter__(self) -> None:
        self._reset = _current.set(None)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._reset)


Places = Mapping[str, int]
"""Where in a tuple of values each name's is; many mappings with the same names may share one."""


def places(names: tuple[str, ...]) -> Places:
    """Return the place of each name, in order."""
    return {name: place for place, name in enumerate(names)}


class _ReadOnly(Mapping[str, Any]):
    """A mapping without a way to change it; unlike `MappingProxyType` it can be copied deeply."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Places, values: tuple[Any, ...]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr(dict(self))


class _Gone(Mapping[str, Any]):
    """Claims of which a record has the session's alone: any other one cannot be looked at."""

    __slots__ = ("_session_claim", "_told")

    def __init__(self, told: Mapping[str, Any], session_claim: str) -> None:
        self._told = told
        self._session_claim = session_claim

    def __getitem__(self, name: str) -> Any:
        if name != self._session_claim:
            raise self._error(
                repr(name)
            )  # no KeyError: `get` would take that for a claim's absence
        return self._told[name]

    def __iter__(self) -> Iterator[str]:
        raise self._error("all of them")

    def __len__(self) -> int:
        raise self._error("how many there are")

    def _error(self, what: str) -> CallerError:
        return CallerError(
            f"claims are no part of a first token's record: {what} cannot be told, only the "
            f"session, {self._session_claim!r}"
        )


def read_only(value: Any, placed: Callable[[tuple[str, ...]], Places] = places) -> Any:
    """Return JSON data as deeply immutable mappings and tuples.

    Args:
        value: what was parsed.
        placed: says where the outermost names are; one that remembers shares the answer.
    """
    if isinstance(value, dict):
        return _ReadOnly(placed(tuple(value)), tuple(map(read_only, value.values())))
    if isinstance(value, list):
        return tuple(map(read_only, value))
    return value
