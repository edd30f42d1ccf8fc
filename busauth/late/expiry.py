"""What to do about a token that is genuine and has expired while its message waited.

A policy is asked once the token is known to be genuine. It decides (`Verdict`) or passes (None);
policies in a list are asked in order, and what none decides goes to the dead letters. Each stands
under a hard maximum age that no policy, and no sender, can lift.

Policies are frozen pydantic models: what stands in a settings file is the object in code.
`ValidWhenPublished`, `Exchange` and `Park` will be further classes here, with the same one method:
`decide` is asynchronous because they will ask a token service, or move the message.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from busauth.caller import Caller
from busauth.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class LateToken:
    """What a policy may know: the caller is genuine, and `seconds` past `exp`.

    Attributes:
        caller: the verified caller.
        now: the instant of this decision, seconds since the epoch.
        leeway: seconds of clock skew that every comparison with `exp` tolerates.
    """

    caller: Caller
    now: float
    leeway: float

    @property
    def seconds(self) -> float:
        """Return seconds past `exp`."""
        return self.now - self.caller.expires_at

    def within(self, window: float) -> bool:
        """Return whether less than `window` seconds (and the leeway) have passed since `exp`."""
        return self.now < self.caller.expires_at + self.leeway + window


@dataclass(frozen=True, slots=True)
class Accept:
    """The message is handled; with `scopes`, the caller keeps only those of them."""

    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message goes to the dead letters, as ``token.expired``."""

    reason: str = "refused by policy"


@dataclass(frozen=True, slots=True)
class Drop:
    """The message is acknowledged and gone; it is counted and audited."""


Verdict = Accept | Refuse | Drop


@runtime_checkable
class ExpiryPolicy(Protocol):
    """Decides about late tokens."""

    async def decide(self, late: LateToken) -> Verdict | None:
        """Return a verdict, or None to let the next policy decide.

        Raises:
            Deferred: it cannot tell now; the message waits.
        """
        ...


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grace(_Policy):
    """Accept for a while after `exp`, with everything that the token allows.

    Args:
        window: how long; or `hours`, `minutes` and `seconds`, added up.
    """

    policy: Literal["grace"] = "grace"
    window: timedelta = Field(gt=timedelta(0))

    def __init__(
        self,
        *,
        window: timedelta | None = None,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        **fields: Any,
    ) -> None:
        if window is None:
            window = _span(hours, minutes, seconds)
        elif hours or minutes or seconds:
            raise ConfigurationError(
                "Grace takes a window, or hours, minutes and seconds: not both"
            )
        super().__init__(**fields, window=window)  # type: ignore[call-arg]  # the mypy plugin sees the base's fields only

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept within the window; pass after it."""
        return Accept() if late.within(self.window.total_seconds()) else None


def _span(hours: float, minutes: float, seconds: float) -> timedelta:
    try:
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except (TypeError, ValueError, OverflowError):
        found = f"hours={hours!r}, minutes={minutes!r}, seconds={seconds!r}"
        raise ConfigurationError(f"Grace of {found}: expected numbers, a span of time") from None


class Restrict(_Policy):
    """Accept with less authority: only these scopes are left, and the token cannot be sent on.

    Args:
        scopes: what remains, as far as the token allowed it.
    """

    policy: Literal["restrict"] = "restrict"
    scopes: frozenset[str]

    def __init__(self, scopes: Iterable[str] = (), **fields: Any) -> None:
        scopes = (scopes,) if isinstance(scopes, str) else scopes
        super().__init__(**fields, scopes=scopes)  # type: ignore[call-arg]  # the mypy plugin sees the base's fields only

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept, restricted."""
        return Accept(scopes=self.scopes)


class DeadLetter(_Policy):
    """Refuse: the message goes to ``<queue>.dead`` with its reason, without its token."""

    policy: Literal["dead-letter"] = "dead-letter"

    async def decide(self, late: LateToken) -> Verdict | None:
        """Refuse."""
        return Refuse()


class Discard(_Policy):
    """Acknowledge and forget: for messages that mean nothing once they are late. Audited."""

    policy: Literal["discard"] = "discard"

    async def decide(self, late: LateToken) -> Verdict | None:
        """Drop."""
        return Drop()


DeclaredPolicy = Annotated[Grace | Restrict | DeadLetter | Discard, Field(discriminator="policy")]
"""A policy as it stands in a settings file: a table with `policy` and its fields."""

PolicyFunction = Callable[[LateToken], Awaitable[Verdict | None]]
Policies = ExpiryPolicy | PolicyFunction | Sequence[ExpiryPolicy | PolicyFunction]
"""What `on_expired` takes."""

declared_policy: TypeAdapter[Grace | Restrict | DeadLetter | Discard] = TypeAdapter(DeclaredPolicy)


class PolicyChain:
    """Policies in order, under a hard maximum age.

    Args:
        on_expired: one policy or several.
        hard_max_age: seconds past `exp` after which nothing is accepted.

    Raises:
        ConfigurationError: a policy could never be reached, or is no policy at all.
    """

    def __init__(self, on_expired: Policies, *, hard_max_age: float) -> None:
        given: Sequence[object] = (on_expired,)
        if isinstance(on_expired, Sequence) and not isinstance(on_expired, str):
            given = on_expired
        self._policies = tuple(_as_policy(policy) for policy in given)
        self._hard_max_age = hard_max_age
        longest = _check_reachable(self._policies)
        if longest > hard_max_age:
            raise ConfigurationError(
                f"on_expired: Grace of {longest:g} s lasts longer than hard_max_age="
                f"{hard_max_age:g} s; GuardOptions(hard_max_age=...) says how old is too old"
            )

    async def decide(self, late: LateToken) -> tuple[Verdict, str]:
        """Return the verdict, and the name of the policy that gave it."""
        verdict, name = await self._first_verdict(late)
        if isinstance(verdict, Accept) and not late.within(self._hard_max_age):
            why = f"beyond the hard maximum age of {self._hard_max_age:g} s"
            return Refuse(why), "hard_max_age"
        return verdict, name

    async def _first_verdict(self, late: LateToken) -> tuple[Verdict, str]:
        for policy in self._policies:
            verdict = await policy.decide(late)
            if verdict is not None:
                return _checked(verdict, policy), _name(policy)
        return Refuse("no policy accepts it"), "default"


@dataclass(frozen=True, slots=True)
class _FunctionPolicy:
    function: PolicyFunction

    async def decide(self, late: LateToken) -> Verdict | None:
        return await self.function(late)


def _as_policy(policy: object) -> ExpiryPolicy:
    if isinstance(policy, ExpiryPolicy) and not isinstance(policy, type):
        return policy
    if inspect.iscoroutinefunction(policy):
        return _FunctionPolicy(policy)
    raise ConfigurationError(
        f"on_expired={policy!r}: expected a policy such as Grace(minutes=10), or an `async def` "
        "that takes a LateToken and returns a verdict or None"
    )


def _checked(verdict: object, policy: ExpiryPolicy) -> Verdict:
    """Hold a user's function to its word: what is not a verdict never accepts."""
    if isinstance(verdict, Accept | Refuse | Drop):
        return verdict
    raise TypeError(
        f"{_name(policy)} returned {type(verdict).__name__}: expected a verdict or None"
    )


def _name(policy: ExpiryPolicy) -> str:
    named = policy.function if isinstance(policy, _FunctionPolicy) else type(policy)
    return getattr(named, "__name__", type(policy).__name__)


def names(scopes: Iterable[str]) -> frozenset[str]:
    """Return names as a set; a lone string is one name, not its letters."""
    return frozenset((scopes,)) if isinstance(scopes, str) else frozenset(scopes)


_DECIDES_ALWAYS = (Restrict, DeadLetter, Discard)


def _check_reachable(policies: Sequence[ExpiryPolicy]) -> float:
    """Refuse policies that are never asked; return how long the longest grace lasts, in seconds."""
    if not policies:
        raise ConfigurationError("on_expired is empty: expected a policy, such as DeadLetter()")
    for policy, later in pairwise(policies):
        if isinstance(policy, _DECIDES_ALWAYS):
            first, never = _name(policy), _name(later)
            raise ConfigurationError(f"on_expired: {never} is never reached after {first}")
    windows = [policy.window.total_seconds() for policy in policies if isinstance(policy, Grace)]
    for shorter, longer in pairwise(windows):
        if longer <= shorter:
            raise ConfigurationError(
                f"on_expired: Grace of {longer:g} s is never reached after one of {shorter:g} s"
            )
    return max(windows, default=0.0)


def _check_declared(
    declared: DeclaredPolicy | tuple[DeclaredPolicy, ...],
) -> DeclaredPolicy | tuple[DeclaredPolicy, ...]:
    _check_reachable(declared if isinstance(declared, tuple) else (declared,))
    return declared


DeclaredPolicies = Annotated[
    DeclaredPolicy | tuple[DeclaredPolicy, ...], AfterValidator(_check_declared)
]
"""One policy or several, as they stand in a settings file; none of them out of reach."""
