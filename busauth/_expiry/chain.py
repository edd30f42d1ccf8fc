"""Policies in order, under a hard maximum age that no policy, and no sender, can lift."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator

from busauth._arguments import fits, kind_of
from busauth._callables import is_async, is_pure, short_name_of
from busauth._expiry.policies import DeclaredPolicy, Grace, Restrict, ValidWhenPublished
from busauth._expiry.renewing import Renewing
from busauth._expiry.verdicts import (
    Accept,
    DeadLetter,
    Discard,
    ExpiryPolicy,
    LateToken,
    OwnPolicy,
    Park,
    Renewed,
    Verdict,
)
from busauth._messages.provenance import BROKER_STAMP
from busauth.errors import ConfigurationError, Deferred, Refused

PolicyFunction = Callable[[LateToken], Awaitable[Verdict | None]]
Policies = ExpiryPolicy | PolicyFunction | Sequence[ExpiryPolicy | PolicyFunction]
"""What `on_expired` takes."""


_NOT_LATE = "no policy accepts it: Exchange has late tokens exchanged where late=True is said"
_WITHOUT_EFFECTS = frozenset({Grace, ValidWhenPublished, Restrict, Park, DeadLetter, Discard})
"""Of the policies that come with busauth, those that ask nobody: by name, so that one which does
is never among them by accident."""


class NotRun(Deferred):
    """Nobody has looked, as looking might have changed something."""


class PolicyFailed(Exception):  # noqa: N818 -- a policy did, and no rule of it
    """A policy raised an error, or returned what is no verdict.

    Attributes:
        found: what it did, for people, with its name.
        error: what it raised, None where it returned something.
    """

    def __init__(self, found: str, error: Exception | None = None) -> None:
        super().__init__(f"{found}: expected a verdict or None")
        self.found = found
        self.error = error


class PolicyChain:
    """Policies in order, under a hard maximum age.

    Args:
        on_expired: one policy or several.
        hard_max_age: seconds past `exp` after which nothing is accepted.
        trusted: whose word for a published instant can be had: publishers whose proofs are checked,
            and `BROKER_STAMP` where the broker stamps.
        audiences: for whom a guard's access tokens are, by their issuer; None where no guard asks.

    Attributes:
        parks: whether one of them is `Park`.
        renewing: those that have tokens anew, one for each issuer.
        keeper: for whom the first `DeadLetter` that keeps tokens does so, None where none does.
        keeps: whether one does.

    Raises:
        ConfigurationError: a policy could never be reached, needs what cannot be had, or is no
            policy at all.
    """

    def __init__(
        self,
        on_expired: Policies,
        *,
        hard_max_age: float,
        trusted: frozenset[str] = frozenset(),
        audiences: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        given: Sequence[object] = (on_expired,)
        if isinstance(on_expired, Sequence) and not isinstance(on_expired, str):
            given = on_expired
        self._policies = tuple(_at(_as_policy(policy), audiences) for policy in given)
        self._hard_max_age, self._trusted = hard_max_age, trusted
        self.renewing = tuple(each for each in self._policies if isinstance(each, Renewing))
        self.parks = any(isinstance(policy, Park) for policy in self._policies)
        letters = [each for each in self._policies if isinstance(each, DeadLetter)]
        self.keeper = next((each.keep_token for each in letters if each.keep_token), None)
        self.keeps = self.keeper is not None
        _check_reachable(self._policies)
        for policy in self._policies:
            # What the maximum cuts short would be accepted for less than what somebody reads here.
            if isinstance(policy, Grace) and policy.window.total_seconds() > hard_max_age:
                raise ConfigurationError(
                    f"on_expired: {policy} lasts longer than hard_max_age={hard_max_age:g} s; "
                    "GuardOptions(hard_max_age=...) says how old is too old"
                )
            _check_sources(policy, trusted)

    def without_effects(self) -> Self:
        """Return a chain for who only looks: where it comes to what may have effects, it stops.

        Its `decide` raises `NotRun` there.
        """
        policies = [
            each if _is_without_effects(each) else _unasked(each) for each in self._policies
        ]
        return type(self)(policies, hard_max_age=self._hard_max_age, trusted=self._trusted)

    @property
    def lateness(self) -> float:
        """Return for how many seconds past `exp` a token may be accepted; 0 for never."""
        longest = (_lateness(policy, self._hard_max_age) for policy in self._policies)
        return min(self._hard_max_age, max(longest))

    def check_demand(self, scopes: frozenset[str], roles: frozenset[str]) -> None:
        """Refuse a restriction under which nobody can do what is demanded of everybody.

        Args:
            scopes: what a caller must hold.
            roles: what a caller must hold.

        Raises:
            ConfigurationError: a `Restrict` takes one of them away from every caller.
        """
        for policy in self._policies:
            if isinstance(policy, Restrict):
                _check_left(policy, scopes, roles)

    async def decide(self, late: LateToken) -> tuple[Verdict, str]:
        """Return the verdict, and the name of the policy that gave it.

        An `Accept` says until when it holds: no longer than the hard maximum age lets it.

        Raises:
            PolicyFailed: a policy's own error, or what it returned is no verdict.
            Refused, Deferred: it says so.
        """
        verdict, name = await self._first_verdict(late)
        if not isinstance(verdict, Accept | Renewed):
            return verdict, name
        if not late.within(self._hard_max_age):
            why = f"beyond the hard maximum age of {self._hard_max_age:g} s"
            return DeadLetter(reason=why), "hard_max_age"
        until = min(verdict.until, late.end_of(self._hard_max_age))
        if late.now < until:  # asked this way round, what is no number at all is over as well
            return replace(verdict, until=until), name
        return DeadLetter(reason="accepted no longer"), name

    def renewing_of(self, issuer: str) -> Renewing | None:
        """Return who has tokens of an issuer anew, None where nobody does."""
        return next((each for each in self.renewing if each.issuer == issuer), None)

    def end_of(self, policy: Renewing, late: LateToken, *, is_voucher: bool) -> float:
        """Return the instant from which on nothing is had for a token: its hard lifetime's end."""
        end = late.end_of(0.0 if is_voucher else self._hard_max_age)
        return min(end, policy.end_of(late))

    async def _first_verdict(self, late: LateToken) -> tuple[Verdict, str]:
        for policy in self._policies:
            name = _name(policy)
            verdict = await _asked(name, policy.decide, late)
            if verdict is not None:
                return _checked(verdict, name), name
        if any(each.issuer == late.caller.issuer and not each.late for each in self.renewing):
            return DeadLetter(reason=_NOT_LATE), "default"
        return DeadLetter(), "default"


async def renewed(policy: Renewing, late: LateToken) -> tuple[Renewed, str]:
    """Return the token that a policy has for one, and the policy's name.

    Raises:
        PolicyFailed: its own error, or what it returned is no such verdict.
        Refused, Deferred: it says so.
    """
    name = _name(policy)
    verdict = await _asked(name, policy.renewed, late)
    if not isinstance(verdict, Renewed):
        raise PolicyFailed(f"{kind_of(verdict)} from {name}")
    return _readable(verdict, name), name


async def _asked(
    name: str, ask: Callable[[LateToken], Awaitable[object]], late: LateToken
) -> object:
    try:
        return await ask(late)
    except (Refused, Deferred):
        raise
    except Exception as error:  # a policy is the user's; one that fails accepts nothing
        raise PolicyFailed(f"{type(error).__name__} in {name}", error) from error


def _lateness(policy: ExpiryPolicy, hard_max_age: float) -> float:
    if isinstance(policy, DeadLetter | Discard | Park):
        return 0.0
    if isinstance(policy, Renewing) and not policy.late:
        return 0.0
    return policy.window.total_seconds() if isinstance(policy, Grace) else hard_max_age


@dataclass(frozen=True, slots=True)
class _FunctionPolicy:
    function: PolicyFunction

    async def decide(self, late: LateToken) -> Verdict | None:
        return await self.function(late)


@dataclass(frozen=True, slots=True)
class _Unasked:
    name: str

    async def decide(self, late: LateToken) -> Verdict | None:
        raise NotRun(
            f"it is late, and the policy {self.name} was not run: it does not say that it is pure"
        )


@dataclass(frozen=True, slots=True)
class _UnaskedRenewal(Renewing):
    """Admits what the policy does in whose place it stands, and has no token."""

    issuer: str
    late: bool
    vouchers: str | None
    lifetime: float
    name: str

    def at(self, audience: frozenset[str]) -> Self:
        return self

    async def renewed(self, late: LateToken) -> Renewed:
        raise NotRun(
            f"the policy {self.name} was not run, as it would have a token exchanged: what that "
            "one allows cannot be known without"
        )


def _unasked(policy: ExpiryPolicy) -> ExpiryPolicy:
    name = _name(policy)
    if not isinstance(policy, Renewing):
        return _Unasked(name)
    return _UnaskedRenewal(policy.issuer, policy.late, policy.vouchers, policy.lifetime, name)


def _at(policy: ExpiryPolicy, audiences: Mapping[str, frozenset[str]] | None) -> ExpiryPolicy:
    """Return a policy as a guard has it, whose access tokens are for somebody."""
    if audiences is None or not isinstance(policy, Renewing):
        return policy
    return policy.at(audiences.get(policy.issuer, frozenset()))


def _is_without_effects(policy: ExpiryPolicy) -> bool:
    if isinstance(policy, _FunctionPolicy):
        return is_pure(policy.function)
    return type(policy) in _WITHOUT_EFFECTS or is_pure(policy)


def _as_policy(policy: object) -> ExpiryPolicy:
    if isinstance(policy, ExpiryPolicy) and not isinstance(policy, type):
        return policy
    if is_async(policy) and callable(policy):
        return _FunctionPolicy(policy)
    raise ConfigurationError(
        f"on_expired={policy!r}: expected a policy such as Grace(minutes=10), or an `async def` "
        "that takes a LateToken and returns a verdict or None"
    )


def _checked(verdict: object, name: str) -> Verdict:
    """Hold a user's policy to its word: what is not a verdict never accepts."""
    if not isinstance(verdict, Verdict):
        raise PolicyFailed(f"{kind_of(verdict)} from {name}")
    return _readable(verdict, name) if isinstance(verdict, Accept | Renewed) else verdict


A = TypeVar("A", bound=Accept | Renewed)


def _readable(accept: A, name: str) -> A:
    """Return an acceptance whose names are names, and whose instants are numbers."""
    for what, value, wanted in _given(accept):
        if not fits(value, wanted):
            kind = type(accept).__name__
            raise PolicyFailed(f"{kind}({what}={kind_of(value)}) from {name}")
    return accept


def _given(accept: Accept | Renewed) -> Iterator[tuple[str, object, Any]]:
    if isinstance(accept, Accept):
        yield "scopes", accept.scopes, Iterable[str] | None
        yield "roles", accept.roles, Iterable[str] | None
    else:
        yield "token", accept.token, str
    yield "until", accept.until, float


def _name(policy: ExpiryPolicy) -> str:
    return short_name_of(policy.function if isinstance(policy, _FunctionPolicy) else type(policy))


def names(scopes: Iterable[str]) -> frozenset[str]:
    """Return names as a set; a lone string is one name, not its letters."""
    return frozenset((scopes,)) if isinstance(scopes, str) else frozenset(scopes)


def _check_reachable(policies: Sequence[ExpiryPolicy]) -> None:
    """Refuse policies that are never asked."""
    if not policies:
        raise ConfigurationError("on_expired is empty: expected a policy, such as DeadLetter()")
    for policy, later in combinations(policies, 2):
        if isinstance(policy, OwnPolicy | Renewing) and policy.covers(later):
            told = str if type(later) is type(policy) else _name
            raise ConfigurationError(
                f"on_expired: {told(later)} is never reached after {told(policy)}"
            )


def _check_left(policy: Restrict, scopes: frozenset[str], roles: frozenset[str]) -> None:
    lacking = {"scopes": sorted(scopes - policy.scopes), "roles": sorted(roles - policy.roles)}
    if any(lacking.values()):
        taken = " and ".join(f"{what} {names}" for what, names in lacking.items() if names)
        raise ConfigurationError(
            f"on_expired: Restrict takes away the {taken} that are demanded here, so that nobody "
            "could ever be accepted by it: name them in Restrict(scopes=..., roles=...), or say "
            "another on_expired for this consumer"
        )


def _check_sources(policy: ExpiryPolicy, trusted: frozenset[str]) -> None:
    """Refuse what would have to take a sender's bare word."""
    if isinstance(policy, Park) and not trusted - {BROKER_STAMP}:
        raise ConfigurationError(
            "on_expired: Park needs to know who published: expected "
            "proofs=Proofs([TrustedPublisher(...)]), [messages.proofs] in a settings file, not "
            "ignored by this consumer"
        )
    if isinstance(policy, Renewing) and policy.vouchers and not trusted - {BROKER_STAMP}:
        raise ConfigurationError(
            f"on_expired: vouchers={policy.vouchers!r}, which live long, would be anybody's who "
            "reads the queue: expected proofs=Proofs([TrustedPublisher(...)]), [messages.proofs] "
            "in a settings file, not ignored by this consumer"
        )
    if isinstance(policy, ValidWhenPublished) and (unknown := policy.sources - trusted):
        expected = " or ".join(sorted(trusted)) or (
            "proofs=Proofs([TrustedPublisher(...)]), [messages.proofs] in a settings file"
        )
        raise ConfigurationError(
            f"on_expired: ValidWhenPublished(sources={sorted(unknown)}): expected whose word can "
            f"be had here: {expected}; {BROKER_STAMP} needs GuardOptions(broker_stamps=True), "
            "broker_stamps = true under [guard]"
        )


def _check_declared(
    declared: DeclaredPolicy | tuple[DeclaredPolicy, ...],
) -> DeclaredPolicy | tuple[DeclaredPolicy, ...]:
    _check_reachable(declared if isinstance(declared, tuple) else (declared,))
    return declared


DeclaredPolicies = Annotated[
    DeclaredPolicy | tuple[DeclaredPolicy, ...], AfterValidator(_check_declared)
]
"""One policy or several, as they stand in a settings file; none of them out of reach."""
