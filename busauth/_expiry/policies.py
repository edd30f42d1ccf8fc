"""The policies that accept, and all that come with busauth as they stand in a settings file.

They are frozen pydantic models: what stands in a settings file is the object in code.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Never

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from busauth._arguments import role_names, scope_names
from busauth._expiry.verdicts import (
    Accept,
    DeadLetter,
    Discard,
    LateToken,
    OwnPolicy,
    Park,
    Verdict,
)
from busauth.errors import ConfigurationError

_PARTS = ("hours", "minutes", "seconds")


def _names(given: object) -> object:
    """A lone string is one name, not its letters."""
    return (given,) if isinstance(given, str) else given


_Names = Annotated[frozenset[str], BeforeValidator(_names)]


class Grace(OwnPolicy):
    """Accept for a while after `exp`, with everything that the token allows.

    Args:
        window: how long; or `hours`, `minutes` and `seconds`, added up.
    """

    also: ClassVar = _PARTS
    policy: Literal["grace"] = "grace"
    window: timedelta = Field(gt=timedelta(0))

    def __init__(
        self,
        *,
        window: timedelta | None = None,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        **fields: Never,
    ) -> None:
        parts = {"hours": hours, "minutes": minutes, "seconds": seconds}
        super().__init__(**{**fields, "window": window, **parts})

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as RootModel's: tables are read without it

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return _spanned(cls, "window", given)

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
            the instant of the first one, by the word of a publisher that is trusted to relay; for a
            token that was had after that, on the way, the instant of the message that carries it.
    """

    also: ClassVar = _PARTS
    policy: Literal["valid-when-published"] = "valid-when-published"
    max_age: timedelta = Field(gt=timedelta(0))
    sources: _Names = Field(default=frozenset(), validate_default=True, min_length=1)

    def __init__(
        self,
        *,
        sources: Iterable[str] = (),
        max_age: timedelta | None = None,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        **fields: Never,
    ) -> None:
        parts = {"hours": hours, "minutes": minutes, "seconds": seconds}
        super().__init__(**{**fields, "max_age": max_age, "sources": sources, **parts})

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as above

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return _spanned(cls, "max_age", given)

    def covers(self, later: object) -> bool:
        """Return whether a later one believes nobody else, and no longer."""
        return (
            isinstance(later, ValidWhenPublished)
            and later.sources <= self.sources
            and later.max_age <= self.max_age
        )

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept what was asked for in time, by a word that counts; pass without one."""
        published = late.provenance.published
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
    scopes: Annotated[_Names, AfterValidator(partial(scope_names, "scopes"))] = frozenset()
    roles: Annotated[_Names, AfterValidator(partial(role_names, "roles"))] = frozenset()

    def __init__(
        self, scopes: Iterable[str] = (), *, roles: Iterable[str] = (), **fields: Never
    ) -> None:
        super().__init__(**{**fields, "scopes": scopes, "roles": roles})

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as above

    def covers(self, later: object) -> bool:
        """Return True: it decides always."""
        return True

    async def decide(self, late: LateToken) -> Verdict | None:
        """Accept, restricted."""
        return Accept(scopes=self.scopes, roles=self.roles)


DeclaredPolicy = Annotated[
    Grace | ValidWhenPublished | Restrict | Park | DeadLetter | Discard,
    Field(discriminator="policy"),
]
"""A policy as it stands in a settings file: a table with `policy` and its fields."""


def _spanned(kind: type[OwnPolicy], field: str, given: Any) -> Any:
    """Read what says a span in parts, and tell what says none.

    Raises:
        ConfigurationError: it is said in two ways or in none, or is no span above nothing.
    """
    if not isinstance(given, Mapping):
        return given
    said = {
        name: value for name, value in given.items() if name not in _PARTS and value is not None
    }
    parts = {name: given[name] for name in _PARTS if given.get(name, 0) != 0}
    if isinstance(said.get(field), bool):
        return _span(kind, field, {field: said[field]})
    if parts and field in said:
        raise ConfigurationError(
            f"{kind.__name__} takes a {field}, or hours, minutes and seconds: not both"
        )
    if not parts and said.keys() - kind.model_fields.keys():
        return {field: timedelta.max, **said}  # a misspelt key is told, which may be the span
    return {field: _span(kind, field, parts), **said} if field not in said else said


def _span(kind: type[OwnPolicy], field: str, parts: Mapping[str, float]) -> timedelta:
    found = ", ".join(f"{part}={value!r}" for part, value in parts.items()) or "nothing"
    wrong = ConfigurationError(f"{kind.__name__} of {found}: expected numbers, a span of time")
    if any(isinstance(value, bool) for value in parts.values()):
        raise wrong  # Python counts with them; nobody who says True means 1
    try:
        span = timedelta(**parts)
    except (TypeError, ValueError, OverflowError):  # text, NaN, more days than a span has
        raise wrong from None
    if span <= timedelta():
        raise ConfigurationError(
            f"{kind.__name__} of {found}: expected hours, minutes or seconds above 0, such as "
            f"minutes = 10, or a {field}"
        )
    return span
