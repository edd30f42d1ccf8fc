"""Arguments are held to what they are annotated with, where a mistake would surface in the depth.

A wrong type that is found where it was said costs a minute; found as an AttributeError three rooms
away, an afternoon. What is shown of a value is its type, as it may be a secret.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache, wraps
from typing import Annotated, Any, Protocol, TypeVar, Union, cast, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le
from pydantic import BeforeValidator

from busauth._callables import is_async, name_of
from busauth.errors import ConfigurationError

Called = TypeVar("Called", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)

_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def checked(called: Called) -> Called:
    """Hold a function's arguments to their annotations, each time that it is called.

    The call raises a ConfigurationError that names the argument, the type that was found, and what
    was expected; one of an ``async def`` does so when it is awaited. An iterator is read first, so
    that what it yields is looked at as well.
    """
    signature = inspect.signature(called)
    several = {each.name for each in signature.parameters.values() if each.kind in _SEVERAL}
    name = name_of(called).removesuffix(".__init__").removesuffix(".__call__")

    def held(given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
        try:
            bound = signature.bind(*given, **named)
        except TypeError:
            _check_names(name, named, signature)
            return given, named  # the call says it in Python's own words
        for argument in bound.arguments.keys() - several:
            hint = _hints(called).get(argument, Any)
            value = bound.arguments[argument] = _read(bound.arguments[argument], hint)
            check(f"{name}({argument}=...)", value, hint)
        return bound.args, bound.kwargs

    @wraps(called)
    def call(*given: Any, **named: Any) -> Any:
        given, named = held(given, named)
        return called(*given, **named)

    @wraps(called)
    async def call_async(*given: Any, **named: Any) -> Any:
        given, named = held(given, named)
        return await called(*given, **named)

    return cast("Called", call_async if is_async(called) else call)


def _check_names(called: str, named: Iterable[str], signature: inspect.Signature) -> None:
    """Say which argument may have been meant by a name that there is not."""
    parameters = signature.parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    for name in named:
        if name not in parameters and (near := closest(name, parameters)):
            raise TypeError(
                f"{called}() got an unexpected keyword argument {name!r}; did you mean {near!r}?"
            )


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that may have been meant, None where none is close."""
    return next(iter(get_close_matches(name, sorted(known), 1)), None)


def decorator(usage: str) -> Callable[[Called], Called]:
    """Refuse a handler that is handed to what makes its decorator: parentheses were left out.

    Args:
        usage: what was expected, for people.

    Returns:
        A decorator for a method; the call raises a TypeError.
    """

    def around(called: Called) -> Called:
        @wraps(called)
        def call(this: object, *given: Any, **named: Any) -> Any:
            if given and callable(given[0]):
                raise TypeError(f"expected {usage}: got the handler itself, {name_of(given[0])}")
            return called(this, *given, **named)

        return cast("Called", call)

    return around


def checked_class(kind: Class) -> Class:
    """Do the same with what a class is made of."""
    cast("Any", kind).__init__ = checked(cast("Any", kind).__init__)
    return kind


@cache
def _hints(called: Callable[..., Any]) -> Mapping[str, Any]:
    return typing.get_type_hints(called, include_extras=True)


def _read(value: object, hint: Any) -> object:
    """Return what an iterator yields, where several are wanted that may be read; else the value."""
    wanted = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, Iterator) and any(get_origin(each) is Iterable for each in wanted):
        return tuple(value)
    return value


def check(what: str, value: object, hint: Any) -> None:
    """Hold a value to an annotation: what `checked` does, for one that it cannot be put around.

    Args:
        what: the argument, for people.
        value: what was given.
        hint: the annotation.

    Raises:
        ConfigurationError: with the type that was found, or the number, and what was expected.
    """
    if not fits(value, hint):
        found, kind = kind_of(value), get_origin(hint)
        inside = _inside(value, kind, get_args(hint))
        odd = [member for member, wanted in inside if not fits(member, wanted)]
        if odd and isinstance(kind, type) and isinstance(value, kind):
            found += f" that holds {kind_of(odd[0])}"  # "a list, expected a list" helps nobody
        raise ConfigurationError(f"{what}: got {found}, expected {told(hint)}")
    if isinstance(value, int | float):
        for each in ranges(hint):
            if not each.holds(value):
                raise ConfigurationError(f"{what}: got {value!r}, expected {each}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range(GroupedMetadata):
    """Which numbers an argument or an option may be, said in its annotation.

    Arguments are held to it by `checked`, options by pydantic.

    Attributes:
        unit: what is counted, for people.
        above: more than this; or
        least: no less than this.
        most: no more than this, None for any finite number.
        beyond: what serves who wants more, for people.
    """

    unit: str
    above: float | None = None
    least: float = 0
    most: float | None = None
    beyond: str = ""

    def holds(self, value: float) -> bool:
        """Return whether it may be this one; what is no number, or none that ends, may not."""
        is_enough = value >= self.least if self.above is None else value > self.above
        return is_enough and value < math.inf and (self.most is None or value <= self.most)

    def __iter__(self) -> Iterator[object]:
        """Yield the same bounds one by one, as pydantic reads them."""
        yield BeforeValidator(_no_bool)
        yield Ge(self.least) if self.above is None else Gt(self.above)
        if self.most is not None:
            yield Le(self.most)

    def __str__(self) -> str:
        least, to = f"from {_plain(self.least)}", " to"
        if self.above is not None:
            least, to = f"above {self.above:g}", ", at most"
        most = "" if self.most is None else f"{to} {_plain(self.most)}"
        return f"{self.unit} {least}{most}{self.beyond and f'; for more, {self.beyond}'}"


def _no_bool(value: object) -> object:
    """Python and pydantic count with them; nobody who says True means 1."""
    if isinstance(value, bool):
        raise ValueError(f"Input should be a number, not {str(value).lower()}")  # noqa: TRY004
    return value


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


Seconds = Annotated[float, Range(unit="seconds", above=0)]
SecondsOrNone = Annotated[float, Range(unit="seconds")]
"""A span that may be no time at all."""

Count = Annotated[int, Range(unit="a number", least=1)]
CountOrNone = Annotated[int, Range(unit="a number")]
Bytes = Annotated[int, Range(unit="bytes", least=1)]


def ranges(hint: Any) -> Iterator[Range]:
    """Yield what an annotation says of numbers, be it of one of several."""
    if get_origin(hint) is Annotated:
        yield from (each for each in get_args(hint)[1:] if isinstance(each, Range))
    elif get_origin(hint) in (Union, types.UnionType):
        for each in get_args(hint):
            yield from ranges(each)


def kind_of(value: object) -> str:
    """Name a value's type with its article, and nothing of the value."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__qualname__}, and no instance of it"
    article = "an" if type(value).__name__[0] in "aeiouAEIOU" else "a"
    return f"{article} {type(value).__name__}"


def fits(value: object, hint: Any) -> bool:
    """Return whether a value is what an annotation says, as far as that can be told by looking."""
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return fits(value, get_args(hint)[0])
    if hint is Any or isinstance(hint, TypeVar | str):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in get_args(hint))
    if origin is typing.Literal:
        return True  # whoever takes it knows which, and says so
    if origin in (None, types.NoneType):
        return value is None
    return not isinstance(origin, type) or _is_a(value, origin, get_args(hint))


def _is_a(value: object, kind: type, members: tuple[Any, ...]) -> bool:
    if getattr(kind, "_is_protocol", False) and issubclass(kind, Protocol):
        return not isinstance(value, type) and all(
            hasattr(value, member) for member in _members(kind)
        )
    if kind is cast("object", Callable):
        return True  # whoever calls it knows what for, and says so
    if kind in (int, float):
        numbers = (int, float) if kind is float else int  # True is an int, and no number here
        return isinstance(value, numbers) and not isinstance(value, bool)
    if not isinstance(value, kind) or _is_another_text(value, kind, members):
        return False
    return all(fits(member, hint) for member, hint in _inside(value, kind, members))


def _is_another_text(value: object, kind: type, members: tuple[Any, ...]) -> bool:
    """Text can be iterated, too: as several of anything but text, it is a mistake."""
    if isinstance(value, bytes):
        return kind is not bytes
    return isinstance(value, str) and not issubclass(kind, str) and members not in ((str,), (Any,))


def _members(protocol: type) -> Iterator[str]:
    """Yield what a protocol's objects have."""
    for name in {*vars(protocol), *protocol.__annotations__}:
        if not name.startswith("_"):
            yield name


def _inside(value: object, kind: object, members: tuple[Any, ...]) -> Iterator[tuple[object, Any]]:
    """Yield what a collection holds, and what it is to be; an iterator would be used up by that."""
    match value:
        case str() | bytes():
            return
        case Mapping() if len(members) == 2:  # noqa: PLR2004 -- key and value
            for name, member in value.items():
                yield name, members[0]
                yield member, members[1]
        case Mapping() if members:
            yield from ((name, members[0]) for name in value)
        case tuple() if kind is tuple and members and members[-1] is not ...:
            yield from zip(value, members, strict=False)
        case list() | tuple() | set() | frozenset() if members:
            yield from ((member, members[0]) for member in value)


def scope_names(what: str, given: Iterable[str]) -> frozenset[str]:
    """Return scopes as a set; a lone string is one of them, not its letters.

    Args:
        what: the argument, for people.
        given: what somebody named.

    Raises:
        ConfigurationError: one has what no scope can have (RFC 6749, section 3.3), so that no token
            could ever hold it.
    """
    scopes = frozenset((given,) if isinstance(given, str) else given)
    for scope in scopes:
        if isinstance(scope, str) and (not scope or scope.split() != [scope]):
            several = ", ".join(map(repr, scope.split())) or "'orders:write'"
            raise ConfigurationError(
                f"{what}={{{scope!r}}}: expected scopes without blanks, one by one: {{{several}}}"
            )
    return scopes


def role_names(what: str, given: Iterable[str]) -> frozenset[str]:
    """Return roles as a set, which may have any name but none.

    Raises:
        ConfigurationError: one is empty.
    """
    roles = frozenset((given,) if isinstance(given, str) else given)
    if "" in roles:
        raise ConfigurationError(f"{what}={{''}}: expected names of roles, none of them empty")
    return roles


def audience_names(given: str | Iterable[str]) -> frozenset[str]:
    """Return whom tokens are for; a lone string is one name.

    A name may have a comma in it, and hardly any has: text with one is a list that was written as
    an environment has it, and would be nobody's audience.

    Raises:
        ConfigurationError: says how several are written, and how one with a comma is.
    """
    if isinstance(given, str) and "," in given:
        parts = [part.strip() for part in given.split(",")]
        raise ConfigurationError(
            f"audience={given!r} has a comma: expected one name, or several as a list, {parts}; "
            f"one that has a comma stands in a list, too: {[given]}"
        )
    return frozenset((given,) if isinstance(given, str) else given)


def told(hint: Any) -> str:
    """Say in a few words what an annotation wants."""
    origin, members = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return told(members[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(told, members)))
    if origin in (None, types.NoneType):
        return "None"
    return "anything" if hint is Any or not isinstance(origin, type) else _told(origin, members)


def _told(kind: type, members: tuple[Any, ...]) -> str:
    if issubclass(kind, Enum):
        return " or ".join(f"{kind.__name__}.{each.name}" for each in kind)
    if members and issubclass(kind, Mapping):
        return f"a mapping of {' to '.join(map(told, members))}"
    if members and issubclass(kind, Iterable):
        return f"several of {told(members[0])}"
    if getattr(kind, "_is_protocol", False):
        return f"{kind.__name__} (an object with {', '.join(sorted(_members(kind)))})"
    return kind.__name__
