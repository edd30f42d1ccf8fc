"""How a value becomes a body, and how it is refused where it would not come back equal.

What is lost whatever its value is, is decided once for each type. Where only values can tell, the
body is read as its consumer would read it, and compared.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache, partial
from typing import Any, Literal, cast

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import PydanticSerializationError

from busauth._amqp.handling.kinds import (
    BODIES,
    Kind,
    bare_of,
    is_body,
    is_overridden,
    kind_of_body,
)
from busauth._amqp.handling.roundtrip import Survey
from busauth.errors import PublishError

_NAMINGS = (None, True, False)
"""By alias: as the model says, yes, no. The first that comes back is taken."""

_TO_AGREE = "what writes it (@field_serializer) and what reads it are to agree"
_UNWRITABLE = (
    "its value cannot be written as JSON; annotate it with a type that can, or give it a "
    "@field_serializer"
)
# overridden, they write and read what they like, whatever the schema says
_METHODS = ("model_dump_json", "model_validate_json")


class BodyWriter:
    """Writes values of one type as JSON.

    Args:
        hint: the type, as its consumer has it annotated.

    Raises:
        TypeError: pydantic can make nothing of it.
    """

    content_type = "application/json"

    def __init__(self, hint: Any) -> None:
        self._kind = kind = kind_of_body(hint)
        surveys = {naming: Survey(kind.schema, by_alias=naming) for naming in _NAMINGS}
        naming = min(surveys, key=lambda each: len(surveys[each].lost))
        survey = surveys[naming]
        self._lost = survey.lost
        self._names = survey.names
        self._doubtful = survey.doubtful or any(is_overridden(kind, each) for each in _METHODS)
        self._nulls = survey.nulls
        # asked anew for each body: a subclass may be defined at any time
        self._subclasses: list[Callable[[], list[type]]] = [
            each.__subclasses__ for each in survey.classes
        ]
        self._exactly: type | None = kind.schema.get("cls")
        self._dump = _dump_of(kind, by_alias=naming, round_trip=survey.exact)

    def write(self, body: Any) -> bytes:
        """Return the JSON of a value.

        Raises:
            PublishError: it would not come back equal; the field is named.
        """
        if self._lost:
            raise self._refusal(*next(iter(self._lost.items())))
        try:
            content = self._dump(body, "error")
            doubted = self._is_to_be_read(content) or self._is_another(body)
        except PydanticSerializationError:  # also what pydantic else only warns of
            content, doubted = self._despite_warnings(body), True
        if doubted:
            self._compare(body, content)
        return content

    def _is_to_be_read(self, content: bytes) -> bool:
        if self._doubtful or (self._nulls and b"null" in content):
            return True
        return any(subclasses() for subclasses in self._subclasses)

    def _is_another(self, body: Any) -> bool:
        """Return whether it is of a subclass, which would be written without what that adds."""
        return self._exactly is not None and type(body) is not self._exactly

    def _despite_warnings(self, body: Any) -> bytes:
        """Write what pydantic warns of, which tells what is there; a comparison tells where."""
        try:
            return self._dump(body, "none")
        except PydanticSerializationError:
            place = next(filter(partial(self._is_unwritable, body), self._kind.fields), "")
            raise self._refusal(place, _UNWRITABLE) from None

    def _is_unwritable(self, body: Any, field: str) -> bool:
        own = isinstance(body, BaseModel)  # which may have a method of its own
        dump = body.model_dump_json if own else partial(self._kind.to_json, body)
        try:
            dump(include={field}, warnings="none")
        except PydanticSerializationError:
            return True
        return False

    def _compare(self, body: Any, content: bytes) -> None:
        try:
            back = self._kind.validate_json(content)
        except ValidationError as error:
            # what its consumer would be told; by the names of fields, not of JSON's members
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(
                str(part) if isinstance(part, int) else self._names.get(part, "*")
                for part in first["loc"]
            )
            why = f"what is written of it is refused when read: {first['type']}; {_TO_AGREE}"
            raise self._refusal(place, why) from None  # pydantic's own words show what is in it
        if back == body:
            return
        for place, ours, theirs in _differences(body, back, "", frozenset(self._names.values())):
            raise self._refusal(place, _why_another(ours, theirs))

    def _refusal(self, place: str, why: str) -> PublishError:
        name = self._kind.name
        return PublishError(f"the body {f'{name}.{place}' if place else name}: {why}")


class RawWriter:
    """Writes `bytes` as they are, and `str` in UTF-8.

    Args:
        hint: one of both, perhaps with something said beside it.
    """

    def __init__(self, hint: Any) -> None:
        self._kind = kind_of_body(hint)
        is_text = bare_of(hint) is str
        self.content_type = "text/plain; charset=utf-8" if is_text else "application/octet-stream"

    def write(self, body: Any) -> bytes:
        """Return the bytes.

        Raises:
            PublishError: it would not come back equal.
        """
        try:
            if type(body) is bare_of(self._kind.hint) and self._kind.validate_python(body) == body:
                return body if isinstance(body, bytes) else body.encode()
            why = f"got a {type(body).__name__}, expected what comes back as it is"
        except (ValidationError, UnicodeEncodeError) as error:  # their words show what is in it
            why = f"it would be refused when it is read: {type(error).__name__}"
        raise PublishError(f"the body {self._kind.name}: {why}")


# bounded, as it keeps classes alive, and some programs make them as they go
@lru_cache(maxsize=1024)
def writer_of(hint: Any) -> BodyWriter | RawWriter:
    """Return what writes the values of a type; what is known of it is found out once.

    Raises:
        TypeError: no body is annotated so.
    """
    if not is_body(hint):
        raise TypeError(f"expected {BODIES}")
    return RawWriter(hint) if bare_of(hint) in (bytes, str) else BodyWriter(hint)


def _dump_of(
    kind: Kind, *, by_alias: bool | None, round_trip: bool
) -> Callable[[Any, Literal["none", "error"]], bytes]:
    """Return what writes a value; a method of a model's own is called as it always was."""
    if is_overridden(kind, "model_dump_json"):
        return lambda body, _warnings: body.model_dump_json().encode()
    to_json = kind.to_json
    return lambda body, warnings: to_json(
        body, by_alias=by_alias, round_trip=round_trip, warnings=warnings
    )


def _why_another(ours: object, theirs: object) -> str:
    """Say by types how a value comes back; values may be secrets."""
    if isinstance(ours, SecretStr | SecretBytes):
        return (
            "a secret is written as asterisks; publish it as plain text, if whoever reads the "
            "queue may know it, or a reference to where it is kept"
        )
    found, kind = type(ours).__name__, type(theirs).__name__
    if found != kind:
        return f"a {found} comes back as a {kind}; annotate it as what it is"
    return f"a {found} comes back as another {kind}; {_TO_AGREE}"


_Difference = tuple[str, object, object]
_Names = frozenset[str]


def _differences(sent: object, back: object, place: str, names: _Names) -> Iterator[_Difference]:
    """Tell what is not equal by its place; what is private to a model is no part of it.

    Members are told by the names of fields; by whatever else they are named, that is data.
    """
    if isinstance(sent, BaseModel) or (is_dataclass(sent) and not isinstance(sent, type)):
        yield from _differences_of_objects(sent, back, place, names)
    elif isinstance(sent, list | tuple) and type(sent) is type(back):
        yield from [(place, sent, back)] if len(sent) != len(back) else ()
        for ours, theirs in zip(sent, back, strict=False):
            yield from _differences(ours, theirs, place, names)
    elif isinstance(sent, Mapping) and isinstance(back, Mapping) and sent.keys() == back.keys():
        for key in sent:
            inner = _inside(place, key) if key in names else place
            yield from _differences(sent[key], back[key], inner, names)
    elif sent != back and (sent == sent or back == back):  # noqa: PLR0124 -- NaN is not itself
        yield place, sent, back


def _differences_of_objects(
    sent: Any, back: object, place: str, names: _Names
) -> Iterator[_Difference]:
    if type(sent) is not type(back):
        yield place, sent, back
        return
    if isinstance(sent, BaseModel):
        ours, theirs = sent.model_extra or {}, getattr(back, "model_extra", None) or {}
        if ours != theirs:
            extra = next(iter(ours), "")
            yield f"{place}.{extra}".strip("."), ours.get(extra), theirs.get(extra)
        own: Iterator[str] = iter(type(sent).model_fields)
    else:
        own = (each.name for each in fields(cast("Any", sent)))
    for name in own:
        yield from _differences(
            getattr(sent, name), getattr(back, name), _inside(place, name), names
        )


def _inside(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
