"""What a body may be annotated as, and what pydantic makes of that.

Models, dataclasses, typed dicts, lists, tables and unions of them are JSON; `bytes` and `str`, each
alone, are the body itself. A single number is none: what is annotated so is a setting more often.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import SchemaError

BODIES = (
    "a pydantic model, a dataclass, a TypedDict, list[...], dict[...], a union of those, str or "
    "bytes"
)
"""What a body may be annotated as, for people."""

_OPEN = (dict, list, tuple, set, frozenset)
_ABSTRACT = (Mapping, Sequence)


@dataclass(frozen=True, slots=True)
class Kind:
    """What bodies are read and written as.

    Attributes:
        hint: the annotation.
        name: what to call it in a sentence.
        model: the pydantic model that it is; None where it is something else.
        adapter: what reads and writes it where it is no model.
    """

    hint: Any
    name: str
    model: type[BaseModel] | None
    adapter: TypeAdapter[Any] | None

    @property
    def schema(self) -> Mapping[str, Any]:
        """Return what pydantic has made of it; of a model, as far as it is defined by now."""
        return self._made.core_schema if self.model is None else self.model.__pydantic_core_schema__

    @property
    def validate_json(self) -> Callable[[bytes], Any]:
        """Return what reads JSON; a model's own method, where it has one."""
        return self._made.validate_json if self.model is None else self.model.model_validate_json

    @property
    def validate_python(self) -> Callable[[Any], Any]:
        """Return what holds a text or bytes to what is said beside them."""
        return self._made.validate_python

    @property
    def to_json(self) -> Callable[..., bytes]:
        """Return what writes JSON."""
        maker = self._made.serializer if self.model is None else self.model.__pydantic_serializer__
        return maker.to_json

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of its fields."""
        if self.model is not None:
            return tuple(self.model.model_fields)
        return tuple(getattr(self.hint, "__annotations__", ()))

    def json_schema(self) -> Mapping[str, Any]:
        """Return its JSON schema; what a model says of that may be its own code."""
        if self.model is None:
            return self._made.json_schema()
        return self.model.model_json_schema()

    @property
    def _made(self) -> TypeAdapter[Any]:
        if self.adapter is None:
            raise TypeError(f"{self.name}: a model writes and reads itself")
        return self.adapter


def kind_of_body(hint: Any) -> Kind:
    """Return how a body is read and written that is annotated so.

    Raises:
        TypeError: pydantic can make nothing of it; says why.
    """
    name = told(hint)
    if _is_model(hint):
        return Kind(hint, name, hint, None)
    try:
        adapter = TypeAdapter(hint)
    except (PydanticUserError, PydanticUndefinedAnnotation, SchemaError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise TypeError(f"{name}: pydantic can make no body of it: {why}") from error
    bare = bare_of(hint)
    schema = adapter.core_schema
    if _is_model(bare) and schema["type"] == "model" and schema["cls"] is bare:
        return Kind(bare, name, bare, None)  # what is said beside it is for others
    return Kind(hint, name, None, adapter)


def is_overridden(kind: Kind, method: str) -> bool:
    """Return whether a model has a method of its own that does what `BaseModel`'s does."""
    if kind.model is None:
        return False
    return next(each for each in kind.model.__mro__ if method in vars(each)) is not BaseModel


def is_body(hint: Any, others: frozenset[Any] = frozenset()) -> bool:
    """Return whether an annotation says that something is the body.

    Args:
        hint: the annotation.
        others: what is injected from elsewhere, and never made of what a sender has written.
    """
    return (bare_of(hint) in (bytes, str) or _is_json(hint)) and others.isdisjoint(_named(hint))


def bare_of(hint: Any) -> Any:
    """Return an annotation without what is said beside it, and without a name of its own."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__value__"):  # as ``type Lines = list[Line]`` gives it
            hint = hint.__value__
        else:
            return hint


def _is_json(hint: Any) -> bool:
    hint = bare_of(hint)
    base = get_origin(hint) or hint
    if base in (Union, UnionType):
        members = [each for each in get_args(hint) if each is not NoneType]
        return all(map(_is_json, members))
    # BaseModel itself has no fields: any body at all would be one
    return base in _ABSTRACT or (
        isinstance(base, type)
        and base is not BaseModel
        and (issubclass(base, (BaseModel, *_OPEN)) or is_dataclass(base))
    )


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _named(hint: Any) -> set[type]:
    """Return all types that an annotation names."""
    left, seen, found = [hint], set(), set()
    while left:
        each = bare_of(left.pop())
        if id(each) in seen:  # an alias may name itself
            continue
        seen.add(id(each))
        left.extend(each if isinstance(each, list) else get_args(each))
        if isinstance(each, type):
            found.add(each)
    return found


def told(hint: Any) -> str:
    """Return a type as people write it, without where it is defined."""
    hint = bare_of(hint)
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return re.sub(r"(?:<locals>|\w)+\.", "", str(hint))
