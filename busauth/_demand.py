"""What a handler asks of its caller: scopes, roles, who acts for them, and a check of its own."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Annotated, Never, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from busauth._arguments import Range, checked, role_names, scope_names
from busauth._callables import is_async, name_of, short_name_of
from busauth._knobs import Knobs
from busauth.caller import MOST_ACTORS, Actor, Caller
from busauth.errors import ConfigurationError, Forbidden

Predicate = Callable[[Caller], bool]
"""A check of the user's. It must not block, nor ask anybody; any error in it refuses."""


def _names(given: object) -> object:
    """A lone string is one name, not its letters."""
    return (given,) if isinstance(given, str) else given


def _none_empty(given: frozenset[str] | None) -> frozenset[str] | None:
    if given is not None and "" in given:
        raise ConfigurationError("expected names of actors, none of them empty")
    return given


class Actors(Knobs):
    """Who may act for the caller: ``actors=`` of a consumer and at the edge.

    Only the outermost actor of a token is asked about, who acts now: the others are history (RFC
    8693, section 4.1). An actor whose issuer is another one is somebody else of the same name.

    Args:
        names: the actor's subject is one of them; None for whoever acts. With `or_nobody` none need
            be named: then nobody acts, which is `NO_ACTOR`.
        issuer: who knows the actor by that name; None for the issuer of the token, which is also
            meant where the actor's own is not said.
        or_nobody: whether a caller for whom nobody acts is welcome, too.
        at_most: actors in the whole chain.

    Raises:
        ConfigurationError: nothing is asked, or nobody could ever be welcome.
    """

    names: Annotated[
        frozenset[str] | None, BeforeValidator(_names), AfterValidator(_none_empty)
    ] = None
    issuer: str | None = Field(default=None, min_length=1)
    or_nobody: bool = Field(default=False, strict=True)
    at_most: Annotated[int, Range(unit="actors", least=1, most=MOST_ACTORS)] | None = None

    def __init__(
        self,
        names: str | Iterable[str] | None = None,
        *,
        issuer: str | None = None,
        or_nobody: bool = False,
        at_most: int | None = None,
        **fields: Never,
    ) -> None:
        said = {"names": names, "issuer": issuer, "or_nobody": or_nobody, "at_most": at_most}
        super().__init__(**{**fields, **said})

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as RootModel's: tables are read without it

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.names is None and self.issuer is None and self.at_most is None:
            raise ConfigurationError(
                "asks nothing: expected names of actors, issuer= or at_most=; NO_ACTOR says that "
                "nobody may act"
            )
        if self.names == frozenset() and not self.or_nobody:
            raise ConfigurationError(
                "names nobody: expected names of actors, or NO_ACTOR, which says that nobody may "
                "act; leave it out where it makes no difference who acts"
            )
        return self

    @classmethod
    def of(cls, given: "Actors | Iterable[str] | None") -> "Actors | None":
        """Return what was said of actors; None where nothing was.

        Raises:
            ConfigurationError: no actor is named.
        """
        return given if given is None or isinstance(given, Actors) else cls(given)

    def check(self, actors: tuple[Actor, ...], issuer: str) -> None:
        """Refuse a chain of actors.

        Args:
            actors: outermost first.
            issuer: who issued the token that names them.

        Raises:
            Forbidden: ``caller.actor``.
        """
        is_welcome = self._welcomes(actors[0], issuer) if actors else self.or_nobody
        if not is_welcome or (self.at_most is not None and len(actors) > self.at_most):
            raise Forbidden("caller.actor", found=_said(actors, issuer), expected=str(self))

    def _welcomes(self, actor: Actor, issuer: str) -> bool:
        knows = issuer if actor.issuer is None else actor.issuer
        is_known = knows == (self.issuer or issuer)
        return is_known and (self.names is None or actor.subject in self.names)

    def __str__(self) -> str:
        if self.names == frozenset():
            return "nobody who acts"
        who = "any actor" if self.names is None else f"actor {' or '.join(sorted(self.names))}"
        of = "" if self.issuer is None else f" of {self.issuer}"
        nobody = " or nobody" if self.or_nobody else ""
        depth = "" if self.at_most is None else f", at most {self.at_most} in the chain"
        return f"{who}{of}{nobody}{depth}"


NO_ACTOR = Actors((), or_nobody=True)
"""Nobody may act for the caller: ``actors=NO_ACTOR``."""


def _said(actors: tuple[Actor, ...], issuer: str) -> str:
    if not actors:
        return "nobody who acts"
    outermost = actors[0]
    is_ours = outermost.issuer in (None, issuer)
    of = "" if is_ours else f" of {outermost.issuer}"
    return f"actor {outermost.subject}{of}, {len(actors)} in the chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a handler asks of its caller.

    Attributes:
        scopes: all of them must be there.
        roles: all of them must be there.
        allow: must return True.
        actors: who may act for the caller; None where that is not asked.
    """

    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    allow: Predicate | None = None
    actors: Actors | None = None

    @classmethod
    @checked
    def of(
        cls,
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        allow: Predicate | None = None,
        actors: Actors | Iterable[str] | None = None,
    ) -> "Demand":
        """Return a demand; a lone string is one name, not its letters.

        Raises:
            ConfigurationError: `allow` is an ``async def``, whose answer nobody would await; a
                scope, a role or an actor has a name that none can have; or no actor is named.
        """
        if allow is not None and (is_async(allow) or not callable(allow)):
            raise ConfigurationError(
                f"allow={name_of(allow)}: expected a plain function of the caller, not async"
            )
        return cls(
            scopes=scope_names("scopes", scopes),
            roles=role_names("roles", roles),
            allow=allow,
            actors=Actors.of(actors),
        )

    def check(self, caller: Caller) -> None:
        """Refuse a caller who may not do this.

        Raises:
            Forbidden: ``caller.scope``, ``caller.role``, ``caller.actor`` or ``caller.predicate``.
            TypeError: `allow` returned what would have to be awaited: the program is wrong.
        """
        if not self.scopes <= caller.scopes:
            raise _lacking("caller.scope", "scopes", caller.scopes, self.scopes)
        if not self.roles <= caller.roles:
            raise _lacking("caller.role", "roles", caller.roles, self.roles)
        if self.actors is not None:
            self.actors.check(caller.actors, caller.issuer)
            if (first := caller.first) is not None:  # coming back gives no new authority
                self.actors.check(first.actors, first.issuer)
        if self.allow is not None:
            name = short_name_of(self.allow)
            try:
                answer: object = self.allow(caller)
            except Exception as error:  # it asks nobody, so that no fault of anybody else's is told
                found = f"{type(error).__name__} in {name}"
                refused = Forbidden("caller.predicate", found=found, expected="allowed")
                refused.mistake = error
                raise refused from error
            _check_allowed(name, answer)


def _check_allowed(name: str, answer: object) -> None:
    """Only True allows; what is neither True nor False is told, as it is a mistake most likely."""
    if answer is True:
        return
    if isinstance(answer, Awaitable):
        if isinstance(answer, Coroutine):
            answer.close()  # nobody will await it
        raise TypeError(
            f"allow={name} returned a {type(answer).__name__}: expected a plain function that "
            "returns True or False, and awaits nothing; look it up in the handler, and Reject"
        )
    found, expected = f"not allowed by {name}", "allowed"
    if answer is not False:
        found += f", which returned {'None' if answer is None else f'a {type(answer).__name__}'}"
        expected = "True, which alone allows"
    raise Forbidden("caller.predicate", found=found, expected=expected)


def _lacking(code: str, what: str, held: frozenset[str], wanted: frozenset[str]) -> Forbidden:
    found = f"{what} {' '.join(sorted(held)) or 'none'}"
    return Forbidden(code, found=found, expected=" ".join(sorted(wanted)))
