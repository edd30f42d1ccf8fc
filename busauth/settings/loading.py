"""Reading settings, and telling what is wrong with them.

Errors name where a value came from, its key, the value and what was expected.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from busauth._amqp.guard import Guard
from busauth._amqp.options import ConsumerOptions, RetryOptions
from busauth._arguments import checked, closest
from busauth._knobs import dotted, expected
from busauth._redaction import redact
from busauth.audit import LOGGER
from busauth.errors import ConfigurationError, evidence
from busauth.settings.bus import BusSettings
from busauth.settings.model import Settings
from busauth.settings.places import PREFIX, Place, Source, no_password
from busauth.settings.shadows import SeenFile, ShadowFile, stamp_of
from busauth.settings.variables import WHOLE, Unreadable

_OF_COMMANDS = frozenset(
    {"amqp_url", "event_key", "transmitter", "feed_audience", "settings", "worker"}
)
"""What commands and tests read from the environment or write there, and no guard reads."""

SETTINGS = f"{PREFIX}SETTINGS"
"""The variable that names the file, where code names none."""

_KEYS = frozenset(
    {"seal", "encryption", "key_file", "key_files", "file_key_file", "keep_token", "bus"},
)
"""Under these stand paths of files with keys, or what was written in their place.

Of a bus it is a URL with a password, which may have been written under another of its keys.
"""

_SECRETIVE = _KEYS | {
    *("letters", "messages", "retired", "signer", "decryption", "publishers", "transmitters")
}
"""The tables that have such keys in them, too."""

_ELSEWHERE = {
    "feed": "it is said in code alone: FeedOptions",
    **dict.fromkeys(RetryOptions.model_fields, "it stands in [bus.retry]"),
    **dict.fromkeys(BusSettings.model_fields, "it stands in [bus]"),
    "retries": "a bus has it in [bus.retry], as limit",
    "concurrency": 'it stands in [guard], or in [consumers."<queue>"]',
}
"""Where what somebody may look for in another table is said."""

_SEARCHED = frozenset({"guard", "bus", "consumers"})
"""The tables, next to the file itself, in which they may."""

_NO_TABLE = frozenset({"model_attributes_type", "model_type", "dict_type", "mapping_type"})
"""What pydantic calls it where a table was expected."""

_TABLES = ("guard", "messages", "retired", "claims", "consumers", "bus", "audit", "console")
# What pydantic puts into a place for the member of a union that it tried: no key of a file.
_TAGS = frozenset(
    {"str", "grace", "valid-when-published", "restrict", "park", "dead-letter", "discard"}
)


class _Loaded(Settings):
    """Settings that know where they were read."""

    _source: Source = PrivateAttr(default=Source())
    _file: SeenFile | None = PrivateAttr(default=None)

    def said_in(self, source: Source, file: SeenFile | None) -> "_Loaded":
        """Note where they were read, and what was there."""
        self._source, self._file = source, file
        return self

    def _told(self, place: Place, why: str) -> str:
        return self._source.told(place, why)

    def _follow(self, guard: Guard) -> None:
        if self._file is not None:
            guard.core.shadows.follow(ShadowFile(self._file, _read))

    def _no_file(self) -> str:
        named = f"--settings, {SETTINGS} or load_settings(path)"
        return "" if self._source.path else f"; no settings file was named: {named} does so"


@checked
def load_settings(path: str | Path | None = None) -> Settings:
    """Read settings from a TOML file, if one is given, and from ``BUSAUTH_...`` variables.

    Args:
        path: the file; default: the one that ``BUSAUTH_SETTINGS`` names, if it does.

    Raises:
        ConfigurationError: a line for each problem, with file or variable, key, value and what was
            expected.
    """
    path = path or os.environ.get(SETTINGS) or None
    _warn_of_unknown_variables()
    settings, _ = _read(None if path is None else Path(path))
    return settings


def _read(path: Path | None) -> tuple[Settings, SeenFile | None]:
    """Read a file, and note what was there.

    Raises:
        ConfigurationError: as of `load_settings`.
    """
    stamp = None if path is None else stamp_of(path)  # first: what changes meanwhile is read again
    table = {} if path is None else _read_toml(path)
    seen = None if path is None else SeenFile.of(path, stamp, table)
    source = Source(None if path is None else str(path), frozenset(table))
    try:
        settings: _Loaded = type.__call__(_Loaded, **table)  # its error is told with its place
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problems(error, source))) from None
    return settings.said_in(source, seen), seen


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Yield variables that look like settings and are none, each with the one that was meant.

    Args:
        environment: variables.
    """
    for name in environment:
        first = name.upper().removeprefix(PREFIX).partition("__")[0].lower()
        known = first in Settings.model_fields or first in _OF_COMMANDS
        if name.upper().startswith(PREFIX) and not known:
            # In front of a table's key stand two underscores: one of them is easily forgotten.
            inside = [table for table in _TABLES if first.startswith(f"{table}_")]
            keys = [f"{table}__{first.removeprefix(f'{table}_')}" for table in inside]
            near = keys[0] if keys else closest(first, Settings.model_fields)
            yield name, f"{PREFIX}{near.upper()}" if near else None


def _warn_of_unknown_variables() -> None:
    """A misspelt policy is not in force; other software may own the variable, so it is no error."""
    for name, near in unknown_variables(os.environ):
        meant = f"; did you mean {near}?" if near else ""
        LOGGER.warning("environment variable %s is no setting of busauth's: ignored%s", name, meant)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        # a token that was given in place of a path is not shown
        raise ConfigurationError(f"{redact(str(path))}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None


def _problems(error: ValidationError, source: Source) -> Iterator[str]:
    """Tell each problem once: of a union's members, the one that was meant."""
    problems = [(_location(each), each) for each in error.errors(include_url=False)]
    unread = {location for location, each in problems if isinstance(each["input"], Unreadable)}
    seen: set[tuple[str, ...]] = set()
    for location, problem in problems:
        deeper = any(other[: len(location)] == location != other for other, _ in problems)
        if problem["type"] == "missing" and location[:-1] in unread:
            continue  # it may stand in what could not be read
        if (location in unread or not deeper) and location not in seen:
            seen.add(location)
            key = dotted(location) + _shown_at(location, problem)
            wanted = (
                _unread(location, problem)
                or _unquoted(location, problem)
                or _elsewhere(location, problem)
                or _in_toml(location, problem)
                or expected(Settings, problem)
            )
            yield no_password(f"{source.of(location)}: {key}: {wanted}")


def _unread(location: Sequence[str], problem: ErrorDetails) -> str | None:
    """Say what is wrong with a variable that could not be read."""
    found = problem["input"]
    if not isinstance(found, Unreadable):
        return None
    example = (
        "" if _may_be_secret(location) else f", such as {evidence(no_password(found.example))}"
    )
    return f"expected {found.expected}{example}: {found.why}"


def _unquoted(location: Sequence[str], problem: ErrorDetails) -> str | None:
    """Say what is the matter where a queue's name fell apart at its dots."""
    *outer, queue, rest = ("", "", *location)
    if outer[-1:] != ["consumers"] or not isinstance(problem["input"], Mapping):
        return None
    if rest in ConsumerOptions.model_fields:
        return None
    quoted = f'[consumers."{queue}.{rest}"]'
    return f"there is no such key; a queue's name with dots needs quotes: {quoted}"


def _elsewhere(location: Sequence[str], problem: ErrorDetails) -> str | None:
    """Say where else is said what cannot stand here."""
    if problem["type"] == "is_subclass_of":
        return "kinds of errors are said in code alone: make_guard(transient=(..., ))"
    *outer, name = location
    is_searched = not outer or outer[0] in _SEARCHED
    if problem["type"] != "extra_forbidden" or not is_searched or name not in _ELSEWHERE:
        return None
    return f"there is no such key; {_ELSEWHERE[name]}"


def _in_toml(location: Sequence[str], problem: ErrorDetails) -> str | None:
    """Say in a file's words what kind of value was expected."""
    kind, value = problem["type"], problem["input"]
    if kind in ("tuple_type", "set_type", "frozen_set_type"):
        is_shown = isinstance(value, str) and not _may_be_secret(location)
        return f"expected a list{f', such as {_shown([value])}' if is_shown else ''}"
    is_table = kind == "union_tag_not_found"  # of which kind, it does not say
    if kind not in _NO_TABLE and not is_table:
        return None
    if "on_expired" not in location:
        return "expected a table"
    policy = {"policy": value if isinstance(value, str) and value in _TAGS else "grace"}
    example = policy if policy != {"policy": "grace"} else {"policy": "grace", "minutes": 10}
    in_toml = ", ".join(f"{name} = {json.dumps(each)}" for name, each in example.items())
    wanted = "it names no policy: expected one" if is_table else "expected a table"
    return f"{wanted}, such as {{ {in_toml} }}; in a variable, {json.dumps(example)}"


def _location(problem: ErrorDetails) -> tuple[str, ...]:
    """Drop what pydantic adds to say which member of a union it tried; queues may be named so."""
    found = problem["loc"]
    if isinstance(problem["input"], Unreadable) and found[-1:] == (WHOLE,):
        found = found[:-1]
    before = ("", *found)
    return tuple(
        str(part)
        for part, parent in zip(found, before, strict=False)
        if parent == "consumers" or not (part in _TAGS or "[" in str(part))
    )


def _shown_at(location: Sequence[str], problem: ErrorDetails) -> str:
    """Show a value, unless it may be a key that was written in the place of its file's path.

    Text in the place of a table, or under a key that there is not, may be one; and a table that
    lacks something has others, which are not meant.
    """
    value, kind = problem["input"], problem["type"]
    if isinstance(value, Unreadable):
        return "" if _may_be_secret(location) else f" = {_shown(value.text)}"
    is_number = isinstance(value, int | float)
    is_table_expected = kind.startswith(("model_", "dict_", "mapping_"))
    unmeant = kind in ("missing", "extra_forbidden") or (
        is_table_expected and _may_be_secret(location)
    )
    if not is_number and (unmeant or _holds_secret(location, value)):
        return ""
    return f" = {_shown(value)}"


def _may_be_secret(location: Sequence[str]) -> bool:
    return not _SECRETIVE.isdisjoint(location)


def _holds_secret(location: Sequence[str], value: object) -> bool:
    if not _KEYS.isdisjoint(location):
        return True
    if isinstance(value, Mapping):
        return _may_be_secret(location) or any(
            _holds_secret([str(name)], each) for name, each in value.items()
        )
    several = value if isinstance(value, list | tuple) else ()
    return any(_holds_secret(location, each) for each in several)


def _shown(value: object) -> str | None:
    try:
        return evidence(no_password(json.dumps(value)))  # first: cut off, a URL looks like none
    except TypeError:  # TOML has instants, and JSON has none
        return evidence(no_password(repr(value)))
