"""What an environment variable says: text, names between commas, or JSON.

Where a setting takes several names, a variable lists them with commas between, as operators write
them; a name that has a comma itself stands in a JSON list. What cannot be read takes its place
among the settings as `Unreadable`, which no setting takes: it is told with all that is wrong beside
it, and is never left out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

WHOLE = ""
"""The key under which stands what is wrong with a table's variable as a whole."""

_QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a variable's value would.

    Attributes:
        text: what the variable holds; it may be a secret, as the example, which is made of it.
        expected: what was expected, for people.
        example: how the same is written.
        why: what is wrong with it.
    """

    text: str
    expected: str
    example: str
    why: str


def names_in(text: str) -> list[str]:
    """Return the names in a variable: a JSON list, or the names themselves with commas between.

    Raises:
        ValueError: broken JSON; an empty name; or quotes, which an env file has kept.
    """
    if text.lstrip().startswith(("[", "{")):
        found: list[str] = json.loads(text)  # whatever it is: the setting says what it takes
        return found
    names = [name.strip() for name in text.split(",")] if "," in text else [text]
    if "" in names:
        raise ValueError("there is an empty name in it")
    if any(name[0] in _QUOTES or name[-1] in _QUOTES for name in names):
        raise ValueError("there are quotes in it")
    return names


class Variables(EnvSettingsSource):
    """Reads the environment as pydantic-settings does, names between commas included."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """Return what a variable holds; of one that cannot be read, that it cannot."""
        hint = None if field is None else field.annotation
        if _takes_names(hint):
            is_text = _takes_text(hint) and "," not in value and value.lstrip()[:1] not in "[{"
            return value if is_text else _read_names(value)
        try:
            return super().decode_complex_value(field_name, field, value)  # type: ignore[arg-type]
        except ValueError as error:
            if len(_members(hint)) != 1:  # of several kinds: text may be one, or is told as text
                raise
            if not _is_table(hint):
                return Unreadable(value, "JSON", '[{"key": "value"}]', str(error))
            # Beside what else is said of that table, which is looked at as well.
            return {WHOLE: Unreadable(value, "JSON", '{"key": "value"}', str(error))}

    def next_field(
        self,
        field: FieldInfo | Any | None,
        key: str,
        case_sensitive: bool | None = None,  # noqa: FBT001 -- as pydantic-settings has it
    ) -> FieldInfo | None:
        """Return the field below one; of a table with keys of anybody's choice, what it holds."""
        hint = field.annotation if isinstance(field, FieldInfo) else field
        tables = [each for each in _members(hint) if get_origin(each) is Mapping]
        if tables:
            return FieldInfo.from_annotation(get_args(tables[0])[-1])
        return super().next_field(field, key, case_sensitive)


def _read_names(text: str) -> list[str] | Unreadable:
    try:
        return names_in(text)
    except ValueError as error:
        stripped = (name.strip(f" {_QUOTES}[]{{}}") for name in text.split(","))
        names = [name for name in stripped if name] or ["one", "two"]
        example = f"{','.join(names)} or {json.dumps(names)}"
        return Unreadable(text, "names with commas between, or JSON", example, str(error))


def _members(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union but None, or the one that there is."""
    kind = get_origin(hint)
    if kind is Annotated:
        return _members(get_args(hint)[0])
    if kind in (Union, UnionType):
        return tuple(member for each in get_args(hint) for member in _members(each))
    return () if hint in (None, NoneType) else (hint,)


def _takes_names(hint: Any) -> bool:
    several = (each for each in _members(hint) if get_origin(each) in (tuple, frozenset))
    return any(_takes_text(get_args(each)[0], str, Path) for each in several)


def _takes_text(hint: Any, *kinds: type) -> bool:
    return any(each in (kinds or (str,)) for each in _members(hint))


def _is_table(hint: Any) -> bool:
    kind = _members(hint)[0]
    return get_origin(kind) is Mapping or (isinstance(kind, type) and issubclass(kind, BaseModel))
