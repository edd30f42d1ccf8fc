"""What a core schema says of whether values come back from what is written of them.

It is asked once for each type. It names the fields that are lost whatever their values are, and
tells when only the values can say: custom serializers and validators, ``Any``, alternatives that
look alike in JSON. What it does not know is one of those. What a model holds was held to its
limits as it was made, but for defaults; dataclasses, lists and tables hold what they were given.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import SchemaError, SchemaValidator

Schema = Mapping[str, Any]

_KINDS = {
    **dict.fromkeys(("str", "date", "time", "datetime", "timedelta", "uuid", "decimal"), "string"),
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "deque"), "array"),
    **dict.fromkeys(("dict", "model", "dataclass", "typed-dict"), "object"),
    **dict.fromkeys(("int", "float"), "number"),
    "none": "null",
    "bool": "boolean",
    "bytes": "string",
}
"""What JSON has for values whose text is theirs alone."""

# kinds of schema that bring their values back, if what is in them does; an unknown one may not
_PLAIN = frozenset(
    (
        *(*_KINDS, "model-fields", "dataclass-args", "definitions", "definition-ref"),
        *("default", "nullable", "union", "tagged-union", "literal", "enum", "missing-sentinel"),
    )
)
# a member of a JSON object is named by text: values of these kinds come back from theirs
_KEYS = frozenset(("str", "int", "date", "uuid"))
# what schemas of values say that limits no value, nor changes one
_LIMITLESS = frozenset(
    (
        *("type", "ref", "metadata", "serialization", "microseconds_precision"),
        *("items_schema", "variadic_item_index", "keys_schema", "values_schema"),
    )
)
_LIMITED = frozenset(("str", "int", "float", "bytes", "date", "time", "datetime", "timedelta"))
_LIMITED |= {"uuid", "list", "tuple", "set", "frozenset", "deque", "dict"}
_PARTS = ("schema", "items_schema", "values_schema", "lax_schema", "strict_schema", "json_schema")
# what pydantic-core writes and reads alike, where a model's config says nothing else
_FIXED = {"inf_nan": "null", "bytes": "utf8", "timedelta": "iso8601", "temporal": "iso8601"}


class Survey:
    """Walks through a core schema.

    Args:
        schema: of the type.
        by_alias: how fields are named when they are written, None for as their models say.

    Attributes:
        names: of fields, by what they are written as.
        lost: what does not come back, by its place, and why.
        doubtful: whether values must be looked at.
        nulls: whether a number that JSON cannot say is written as null.
        exact: whether what is written must leave out what is computed, and keep JSON in strings.
        classes: in the type, whose subclasses would be written without what they add.
    """

    def __init__(self, schema: Schema, *, by_alias: bool | None) -> None:
        self._by_alias = by_alias
        self._whole = schema
        self.names: dict[str, str] = {}
        self.lost: dict[str, str] = {}
        self.doubtful = self.nulls = self.exact = False
        self.classes: set[type] = set()
        self._visit(schema, {}, "")

    def _visit(
        self,
        schema: Schema,
        config: Schema,
        place: str,
        tags: object = None,
        *,
        is_held: bool = False,
    ) -> None:
        kind, config = schema.get("type"), schema.get("config") or config
        serialization = schema.get("serialization")
        self.doubtful |= _is_doubtful(schema) or serialization is not None
        if kind in ("model", "dataclass"):
            is_held = kind == "model" or is_pydantic_dataclass(schema["cls"])
        elif kind == "default":
            is_held = is_held and _default_fits(schema, config)
        self.doubtful |= not is_held and _is_limited(schema, config)
        if serialization and serialization.get("type") != "function-wrap":
            return  # somebody else writes what is in it
        is_inside = schema is not self._whole and "schema" in schema
        if is_inside and isinstance(schema.get("cls"), type):
            self.classes.add(schema["cls"])
        self.nulls |= kind == "float" and schema.get("allow_inf_nan") is not False
        self.exact |= kind == "json"
        if "fields" in schema and kind != "dataclass":
            self._visit_fields(schema, config, place, tags, is_held=is_held)
        if kind == "tagged-union":
            tags = schema.get("discriminator")
        for part in _parts(schema):
            self._visit(part, config, place, tags, is_held=is_held)

    def _visit_fields(
        self, schema: Schema, config: Schema, place: str, tags: object, *, is_held: bool
    ) -> None:
        fields = dict(_named(schema["fields"]))
        written = {name: self._written(name, field, config) for name, field in fields.items()}
        self.names |= {key: name for name, key in written.items()}
        extra = schema.get("extra_behavior") or config.get("extra_fields_behavior", "ignore")
        self.doubtful |= extra == "allow"
        computed = [
            self._written(each["property_name"], {"serialization_alias": each.get("alias")}, config)
            for each in schema.get("computed_fields", ())
        ]
        read = {key for name, field in fields.items() for key in _read(name, field, config)}
        self.exact |= bool(computed) and (extra != "ignore" or not read.isdisjoint(computed))
        if tags is not None and read.isdisjoint(set(written.values()) & _heads(tags)):
            self.lost[place or next(iter(fields), "")] = (
                "its discriminator is written under a name that it is not read from; give it one "
                "alias= for both"
            )
        for name, field in fields.items():
            inner = f"{place}.{name}" if place else name
            why = _why_lost(name, field, config, written)
            if why is not None:
                self.lost[inner] = why
            self.doubtful |= not field.get("init", True) or bool(field.get("init_only"))
            self.doubtful |= field.get("serialization_exclude_if") is not None
            self._visit(field["schema"], config, inner, is_held=is_held)

    def _written(self, name: str, field: Schema, config: Schema) -> str:
        by_alias = self._by_alias
        if by_alias is None:
            by_alias = bool(config.get("serialize_by_alias"))
        return (field.get("serialization_alias") if by_alias else None) or name


def _is_doubtful(schema: Schema) -> bool:
    """Whether values of this schema may come back as others, whatever is in them."""
    kind, choices = schema.get("type"), schema.get("choices", ())
    # how a model's config has values written, or read, only they can be held against
    config = schema.get("config") or {}
    written = {name: config.get(f"ser_json_{name}", usual) for name, usual in _FIXED.items()}
    if written != _FIXED or config.get("val_json_bytes", "utf8") != "utf8":
        return True
    # a typed dict may hold more than its fields, and that is left out without a word
    return kind not in _PLAIN or bool(
        kind == "typed-dict"
        or (kind == "literal" and not _are_simple(schema["expected"]))
        or (kind == "enum" and not _are_simple(each.value for each in schema["members"]))
        or (kind == "dict" and (schema.get("keys_schema") or {}).get("type") not in _KEYS)
        or (kind == "union" and (schema.get("mode", "smart") != "smart" or not _distinct(choices)))
        or (kind == "tagged-union" and not _told_by_member(schema))
        or (kind == "model" and (schema.get("custom_init") or schema.get("post_init")))
    )


def _is_limited(schema: Schema, config: Schema) -> bool:
    """Whether a value of its type may be refused or changed as it is read."""
    kind, keys = schema.get("type"), schema.get("keys_schema")
    return (
        kind == "decimal"  # which is finite, unless it says otherwise
        or (kind in _LIMITED and not schema.keys() <= _LIMITLESS)
        or (kind == "str" and any(name.startswith("str_") for name in config))
        or (keys is not None and _is_limited(keys, config))
    )


def _default_fits(schema: Schema, config: Schema) -> bool:
    """Whether a default, which nobody validates as a rule, is within its own limits."""
    inner = schema["schema"]
    while inner.get("type") == "nullable":
        inner = inner["schema"]
    if "default" not in schema or not _is_limited(inner, config):
        return True  # what a factory makes is not known, and as a rule it is empty
    default = schema["default"]
    try:
        return bool(SchemaValidator(schema["schema"]).validate_python(default) == default)
    except (ValidationError, SchemaError):
        return False


def _are_simple(values: Iterable[object]) -> bool:
    return all(isinstance(each, str | int | None) for each in values)


def _told_by_member(schema: Schema) -> bool:
    kinds = {each.get("type") for each in schema["choices"].values()}
    return not callable(schema.get("discriminator")) and kinds == {"model"}


def _why_lost(name: str, field: Schema, config: Schema, written: Mapping[str, str]) -> str | None:
    if field.get("serialization_exclude"):
        return "it is excluded from what is written; publish a model without it"
    own, read = written[name], _read(name, field, config)
    if own not in (key for key in read if read[key]):
        wanted = " or ".join(map(repr, read))
        return f"it is written as {own!r} and read as {wanted}; give it one alias= for both"
    others = {key for other, key in written.items() if other != name}
    if not others.isdisjoint(read):
        return (
            "another field is written under a name that it is read from; give each an alias= of "
            "its own"
        )
    return None


def _read(name: str, field: Schema, config: Schema) -> dict[str, bool]:
    """Return the members that a field is read from; whether it is all that is in them."""
    alias = field.get("validation_alias")
    if alias is None or not config.get("validate_by_alias", True):
        return {name: True}
    paths = [[alias]] if isinstance(alias, str) else alias
    paths = [paths] if isinstance(paths[0], str) else paths
    by_name = {name: True} if config.get("validate_by_name") else {}
    # reversed: of paths that begin alike the first one counts, as it does for pydantic
    return {str(path[0]): len(path) == 1 for path in reversed(paths)} | by_name


def _heads(tags: object) -> set[str]:
    """Return the members that tell the alternatives of a union apart."""
    if isinstance(tags, str):
        return {tags}
    paths = tags if isinstance(tags, list) else []
    return {each if isinstance(each, str) else each[0] for each in paths}


def _distinct(choices: list[Any]) -> bool:
    kinds = [_KINDS.get(str(dict(each).get("type"))) for each in choices]
    return None not in kinds and len(set(kinds)) == len(kinds)


def _named(fields: Any) -> Iterator[tuple[str, Schema]]:
    if isinstance(fields, Mapping):
        yield from fields.items()
    else:  # as those of dataclasses are
        yield from ((field["name"], field) for field in fields)


def _parts(schema: Schema) -> Iterator[Schema]:
    """What is written by a schema of its own."""
    choices = schema.get("choices", ())
    held = [
        *map(schema.get, _PARTS),
        *(choices.values() if isinstance(choices, Mapping) else choices),
        *schema.get("definitions", ()),
    ]
    for each in held:
        several = each if isinstance(each, list | tuple) else [each]
        yield from (part for part in several if isinstance(part, Mapping))
