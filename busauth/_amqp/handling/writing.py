"""How a model becomes a body, and how it is refused where it would not come back equal.

What is lost whatever its value is, is decided once for each model. Where only values can tell, the
body is read as its consumer would read it, and compared.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Literal

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import PydanticSerializationError

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
    """Writes models of one class.

    Args:
        model: the class.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        schema = model.__pydantic_core_schema__
        surveys = {naming: Survey(schema, by_alias=naming) for naming in _NAMINGS}
        naming = min(surveys, key=lambda each: len(surveys[each].lost))
        survey = surveys[naming]
        self._model = model
        self._lost = survey.lost
        self._names = survey.names
        self._doubtful = survey.doubtful or any(_overridden(model, each) for each in _METHODS)
        self._nulls = survey.nulls
        # asked anew for each body: a subclass may be defined at any time
        self._subclasses: list[Callable[[], list[type]]] = [
            each.__subclasses__ for each in survey.classes
        ]
        self._dump = _dump_of(model, by_alias=naming, round_trip=survey.exact)

    def write(self, body: BaseModel) -> bytes:
        """Return the JSON of a model.

        Raises:
            PublishError: it would not come back equal; the field is named.
        """
        if self._lost:
            raise self._refusal(*next(iter(self._lost.items())))
        try:
            content = self._dump(body, "error")
            doubted = self._is_to_be_read(content)
        except PydanticSerializationError:  # also what pydantic else only warns of
            content, doubted = self._despite_warnings(body), True
        if doubted:
            self._compare(body, content)
        return content

    def _is_to_be_read(self, content: bytes) -> bool:
        if self._doubtful or (self._nulls and b"null" in content):
            return True
        return any(subclasses() for subclasses in self._subclasses)

    def _despite_warnings(self, body: BaseModel) -> bytes:
        """Write what pydantic warns of, which tells what is there; a comparison tells where."""
        try:
            return self._dump(body, "none")
        except PydanticSerializationError:
            place = next(filter(partial(_is_unwritable, body), type(body).model_fields), "")
            raise self._refusal(place, _UNWRITABLE) from None

    def _compare(self, body: BaseModel, content: bytes) -> None:
        try:
            back = self._model.model_validate_json(content)
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
        for place, ours, theirs in _differences(body, back, ""):
            raise self._refusal(place, _why_another(ours, theirs))

    def _refusal(self, place: str, why: str) -> PublishError:
        name = self._model.__name__
        return PublishError(f"the body {f'{name}.{place}' if place else name}: {why}")


# bounded, as it keeps classes alive, and some programs make them as they go
@lru_cache(maxsize=1024)
def writer_of(model: type[BaseModel]) -> BodyWriter:
    """Return what writes the models of a class; what is known of it is found out once."""
    return BodyWriter(model)


def _overridden(model: type[BaseModel], method: str) -> bool:
    return next(each for each in model.__mro__ if method in vars(each)) is not BaseModel


def _dump_of(
    model: type[BaseModel], *, by_alias: bool | None, round_trip: bool
) -> Callable[[BaseModel, Literal["none", "error"]], bytes]:
    """Return what writes a model; a method of its own is called as it always was."""
    if _overridden(model, "model_dump_json"):
        return lambda body, _warnings: body.model_dump_json().encode()
    to_json = model.__pydantic_serializer__.to_json
    return lambda body, warnings: to_json(
        body, by_alias=by_alias, round_trip=round_trip, warnings=warnings
    )


def _is_unwritable(body: BaseModel, field: str) -> bool:
    try:
        body.model_dump_json(include={field}, warnings="none")
    except PydanticSerializationError:
        return True
    return False


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


def _differences(sent: object, back: object, place: str) -> Iterator[_Difference]:
    """Tell what is not equal by its place; what is private to a model is no part of it."""
    if isinstance(sent, BaseModel):
        yield from _differences_of_models(sent, back, place)
    elif isinstance(sent, list | tuple) and type(sent) is type(back):
        yield from [(place, sent, back)] if len(sent) != len(back) else ()
        for ours, theirs in zip(sent, back, strict=False):
            yield from _differences(ours, theirs, place)
    elif isinstance(sent, Mapping) and isinstance(back, Mapping) and sent.keys() == back.keys():
        for key in sent:
            yield from _differences(sent[key], back[key], place)
    elif sent != back and (sent == sent or back == back):  # noqa: PLR0124 -- NaN is not itself
        yield place, sent, back


def _differences_of_models(sent: BaseModel, back: object, place: str) -> Iterator[_Difference]:
    if type(sent) is not type(back):
        yield place, sent, back
        return
    ours, theirs = sent.model_extra or {}, back.model_extra or {}
    if ours != theirs:
        extra = next(iter(ours), "")
        yield f"{place}.{extra}".strip("."), ours.get(extra), theirs.get(extra)
    for name in type(sent).model_fields:
        inner = f"{place}.{name}" if place else name
        yield from _differences(getattr(sent, name), getattr(back, name), inner)
