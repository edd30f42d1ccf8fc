"""The policies that come with busauth.

They are frozen pydantic models: what stands in a settings file is the object in code.
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, TypeAdapter

from busauth._expiry.verdicts import (
    Accept,
    Drop,
    Hold,
    LateToken,
    Refuse,
    Verdict,
    check_keeper,
)
from busauth._files.keys import read_jwk
from busauth._tokens.encryption.encryption import TokenEncryption
from busauth.errors import ConfigurationError


class OwnPolicy(BaseModel):
    """What all of them have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def covers(self, later: object) -> bool:
        """Return whether a policy behind this one would never decide anything."""
        return False

    def __str__(self) -> str:
        return type(self).__name__


class Grace(OwnPolicy):
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
        window = _span("Grace", "a window", window, hours=hours, minutes=minutes, seconds=seconds)
        super().__init__(**fields, window=window)  # type: ignore[call-arg]  # the mypy plugin sees the base's fields only

    def covers(self, later: object) -> bool:
        """Return whether a later grace ends no later."""
        return isinstance(later, Grace) and later.window <= self.window

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept within the window; pass after it."""
        until = late.end_of(self.window.total_seconds())
        return Accept(until=until) if late.now < until else None

    def __str__(self) -> str:
        return f"Grace of {self.window.total_seconds():g} s"


class ValidWhenPublished(OwnPolicy):
    """Accept a token that counted when its message was published, for a while after that.

    Args:
        max_age: how long after the published instant; or `hours`, `minutes` and `seconds`.
        sources: whose word counts for that instant: names of publishers whose proofs the consumer
            checks, or ``"timestamp_in_ms"`` for a broker that stamps. In a chain of messages it is
            the instant of the first one, by the word of a publisher that is trusted to relay.
    """

    policy: Literal["valid-when-published"] = "valid-when-published"
    max_age: timedelta = Field(gt=timedelta(0))
    sources: frozenset[str] = Field(min_length=1)

    def __init__(
        self,
        *,
        sources: Iterable[str] = (),
        max_age: timedelta | None = None,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        **fields: Any,
    ) -> None:
        span = {"hours": hours, "minutes": minutes, "seconds": seconds}
        age = _span("ValidWhenPublished", "a max_age", max_age, **span)
        super().__init__(**fields, max_age=age, sources=_names(sources))  # type: ignore[call-arg]  # the mypy plugin sees the base's fields only

    def covers(self, later: object) -> bool:
        """Return whether a later one believes nobody else, and no longer."""
        return (
            isinstance(later, ValidWhenPublished)
            and later.sources <= self.sources
            and later.max_age <= self.max_age
        )

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept what was asked for in time, by a word that counts; pass without one."""
        published = late.origin.published
        max_age = self.max_age.total_seconds()
        for source in sorted(self.sources & published.keys()):
            at = published[source]
            if late.was_valid(at) and late.now < at + max_age:
                return Accept(published_at=at, until=at + max_age)
        return None

    def __str__(self) -> str:
        return f"ValidWhenPublished of {self.max_age.total_seconds():g} s"


class Restrict(OwnPolicy):
    """Accept with less authority: only what is named is left, and the token cannot be sent on.

    Args:
        scopes: what remains, as far as the token allowed it; default: none.
        roles: the same of roles.
    """

    policy: Literal["restrict"] = "restrict"
    scopes: frozenset[str]
    roles: frozenset[str]

    def __init__(
        self, scopes: Iterable[str] = (), *, roles: Iterable[str] = (), **fields: Any
    ) -> None:
        super().__init__(**fields, scopes=_names(scopes), roles=_names(roles))  # type: ignore[call-arg]  # the mypy plugin sees the base's fields only

    def covers(self, later: object) -> bool:
        """Return True: it decides always."""
        return True

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept, restricted."""
        return Accept(scopes=self.scopes, roles=self.roles)


class Park(OwnPolicy):
    """Let a message wait in ``<queue>.parked`` until its caller brings a fresh token: `release`.

    It passes where no proof of a trusted publisher names the message's caller: an old stolen token
    on a new body must not become somebody's work.
    """

    policy: Literal["park"] = "park"

    def covers(self, later: object) -> bool:
        """Return whether a later one parks, too."""
        return isinstance(later, Park)

    async def decide(self, late: LateToken) -> Verdict | None:
        """Hold what is proven to be this caller's; pass for anything else."""
        return Hold() if late.origin.names_caller else None


def _keeping(given: object) -> object:
    """A settings file names the file of the key."""
    if isinstance(given, str | Path):
        return TokenEncryption({"redrive": read_jwk(given)})
    if isinstance(given, TokenEncryption):
        check_keeper(given)
    return given


class DeadLetter(OwnPolicy):
    """Refuse: the message goes to ``<queue>.dead`` with its reason.

    Args:
        keep_token: for whom the letter keeps its token, encrypted, so that it can be sent again:
            a `TokenEncryption` with one recipient, or the path of a file with its public JWK.
            Without it the letter has no token.
    """

    policy: Literal["dead-letter"] = "dead-letter"
    keep_token: Annotated[
        InstanceOf[TokenEncryption] | None, BeforeValidator(_keeping), Field(repr=False)
    ] = None

    def covers(self, later: object) -> bool:
        """Return True: it decides always."""
        return True

    async def decide(self, late: LateToken) -> Verdict | None:
        """Refuse."""
        return Refuse(keep_token=self.keep_token)


class Discard(OwnPolicy):
    """Acknowledge and forget: for messages that mean nothing once they are late. Audited."""

    policy: Literal["discard"] = "discard"

    def covers(self, later: object) -> bool:
        """Return True: it decides always."""
        return True

    async def decide(self, late: LateToken) -> Verdict | None:
        """Drop."""
        return Drop()


_Any = Grace | ValidWhenPublished | Restrict | Park | DeadLetter | Discard
DeclaredPolicy = Annotated[_Any, Field(discriminator="policy")]
"""A policy as it stands in a settings file: a table with `policy` and its fields."""

declared_policy: TypeAdapter[_Any] = TypeAdapter(DeclaredPolicy)


def _span(name: str, what: str, given: timedelta | None, **parts: float) -> timedelta:
    """Return a span of time that is said in one way."""
    if given is not None and any(parts.values()):
        raise ConfigurationError(f"{name} takes {what}, or hours, minutes and seconds: not both")
    if given is not None:
        return given
    try:
        return timedelta(**parts)
    except (TypeError, ValueError, OverflowError):
        found = ", ".join(f"{part}={value!r}" for part, value in parts.items())
        raise ConfigurationError(f"{name} of {found}: expected numbers, a span of time") from None


def _names(given: Iterable[str]) -> Iterable[str]:
    """A lone string is one name, not its letters."""
    return (given,) if isinstance(given, str) else given
