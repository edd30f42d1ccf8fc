"""Options that hold to their types, and say in a sentence what is wrong with one.

pydantic's own words name a link, of a misspelt key only that it is not permitted, and of a number
neither its unit nor the other end of its range.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, dataclass_transform, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic._internal._model_construction import ModelMetaclass  # it has no public name
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from busauth._arguments import Range, closest, kind_of, ranges
from busauth.errors import ConfigurationError, evidence

_ONE_OF = frozenset({"literal_error", "enum", "union_tag_invalid"})
_QUOTED = re.compile(r"'([^']*)'")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass_transform(kw_only_default=True, field_specifiers=(Field, PrivateAttr))
class _Sentences(ModelMetaclass):
    """What code makes raises a sentence; what a file holds is told with its place in the file."""

    if not TYPE_CHECKING:  # to checkers, it is called with its fields, as any model is

        def __call__(self, *given: Any, **named: Any) -> Any:
            if given:
                _check_unnamed(self, given)
            try:
                return super().__call__(*given, **named)
            except ValidationError as error:
                told = "; ".join(_told(self, each) for each in error.errors(include_url=False))
                raise ConfigurationError(f"{self.__name__}: {told}") from None


class Knobs(BaseModel, metaclass=_Sentences):
    """Frozen options; a key that there is not is an error.

    Attributes:
        also: keys by which fields are said in other words.
        holds_paths: paths of keys' files are among them: text is not shown, as it may be the key.

    Raises:
        ConfigurationError: with each key, what was found and what was expected.
    """

    # Built when the first is made: a service uses a few of them, and imports them all.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    also: ClassVar[tuple[str, ...]] = ()
    holds_paths: ClassVar[bool] = False


def _check_unnamed(kind: type[Knobs], given: Sequence[object]) -> None:
    """Refuse what is given without a name to what takes nothing so."""
    kind.model_rebuild()  # one that was not built yet has no signature of its own
    parameters = signature(kind).parameters.values()
    if not any(each.kind is Parameter.POSITIONAL_OR_KEYWORD for each in parameters):
        name = next(iter((*kind.also, *kind.model_fields)))
        raise ConfigurationError(
            f"{kind.__name__}: got {kind_of(given[0])} without a name: expected each by its name, "
            f"such as {name}=..."
        )


def _told(kind: type[Knobs], problem: ErrorDetails) -> str:
    if not problem["loc"]:  # of several that do not go together, which the sentence names
        return expected(kind, problem)
    # pydantic's own name of a union is no part of what anybody wrote.
    key = dotted(each for each in problem["loc"] if "[" not in str(each))
    found = f"{key}={evidence(problem['input'])}" if _is_shown(kind, problem) else key
    return f"{found}: {expected(kind, problem)}"


def dotted(place: Iterable[object]) -> str:
    """Return a place as its key is written in TOML; a queue's name with dots stands in quotes."""
    return ".".join(key if _BARE.fullmatch(key) else f'"{key}"' for key in map(str, place))


def _is_shown(kind: type[Knobs], problem: ErrorDetails) -> bool:
    if problem["type"] == "missing":
        return False  # what would be shown is all the others
    if kind.holds_paths or len(problem["loc"]) > 1:  # deeper, there may be keys among it
        return isinstance(problem["input"], int | float)
    field = kind.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
    return field is None or field.repr


def expected(kind: type[BaseModel], problem: ErrorDetails) -> str:
    """Say what a model expected where a problem was found; of a key, which there are.

    Args:
        kind: the outermost model.
        problem: one of pydantic's.
    """
    *place, name = map(str, problem["loc"] or ("",))  # a model's own validator names no place
    tables = _tables(kind, place)
    if problem["type"] in _ONE_OF:
        return _one_of(problem)
    if problem["type"] != "extra_forbidden":
        why = problem["msg"].removeprefix("Value error, ")
        fields = (table.model_fields.get(name) for table in tables)
        taken = {str(each) for field in fields if field for each in ranges_of(field)}
        return ": expected ".join([why, *sorted(taken)])
    also = {each for table in tables if issubclass(table, Knobs) for each in table.also}
    known = sorted(also.union(*(table.model_fields for table in tables)))
    if near := closest(name, known):
        return f"there is no such key; did you mean {near}?"
    return f"there is no such key; expected one of {', '.join(known)}"


def _one_of(problem: ErrorDetails) -> str:
    """Say which values there are, or which of them may have been meant."""
    context, given = problem.get("ctx", {}), problem["input"]
    known = _QUOTED.findall(str(context.get("expected_tags") or context.get("expected")))
    what = context.get("discriminator", "value").strip("'")
    value = given.get(what) if isinstance(given, Mapping) else given
    if isinstance(value, str) and (near := closest(value.lower(), known)):
        return f"there is no such {what}; did you mean {near!r}?"
    several = "one of " if len(known) > 1 else ""
    return f"there is no such {what}; expected {several}{', '.join(map(repr, known))}"


def ranges_of(field: FieldInfo) -> Iterator[Range]:
    """Yield which numbers a field takes; nothing where it takes none."""
    yield from (each for each in field.metadata if isinstance(each, Range))
    yield from ranges(field.annotation)


def _tables(kind: type[BaseModel], place: Sequence[str]) -> set[type[BaseModel]]:
    """Return the tables at a place; an index, a tag or a queue's name is no step."""
    kinds = {kind}
    for part in place:
        kinds = {each for each in kinds if _is_tagged(each, part)} or kinds
        fields: Iterable[Any] = [each.model_fields.get(part) for each in kinds]
        inner = {model for field in fields if field for model in _models(field.annotation)}
        kinds = inner or kinds
    return kinds


def _is_tagged(kind: type[BaseModel], tag: str) -> bool:
    """Return whether a model is the member of a union that goes by this tag."""
    return any(
        tag in get_args(field.annotation) and get_origin(field.annotation) is Literal
        for field in kind.model_fields.values()
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)
