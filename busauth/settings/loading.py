"""Reading settings, and telling what is wrong with them.

Errors name where a value came from, its key, the value and what was expected.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError

from busauth._arguments import checked
from busauth._knobs import closest, expected
from busauth.audit import LOGGER
from busauth.errors import ConfigurationError, evidence
from busauth.settings.model import PREFIX, Settings

_OF_COMMANDS = frozenset({"amqp_url", "event_key", "transmitter", "feed_audience", "settings"})
"""What commands and tests read from the environment, and no guard does."""

_TAGS = frozenset(
    {"str", "grace", "valid-when-published", "restrict", "park", "dead-letter", "discard"}
)


@checked
def load_settings(path: str | Path | None = None) -> Settings:
    """Read settings from a TOML file, if one is given, and from ``BUSAUTH_...`` variables.

    Raises:
        ConfigurationError: a line for each problem, with file or variable, key, value and what was
            expected.
    """
    table = _read_toml(Path(path)) if path is not None else {}
    _warn_of_unknown_variables()
    try:
        return Settings(**table)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problems(error, table, path))) from None
    except SettingsError as error:
        raise ConfigurationError(_undecoded(error)) from None


def _warn_of_unknown_variables() -> None:
    """A misspelt policy is not in force; other software may own the variable, so it is no error."""
    for name in os.environ:
        first = name.upper().removeprefix(PREFIX).partition("__")[0].lower()
        known = first in Settings.model_fields or first in _OF_COMMANDS
        if name.upper().startswith(PREFIX) and not known:
            near = closest(first, Settings.model_fields)
            meant = f"; did you mean {PREFIX}{near.upper()}?" if near else ""
            LOGGER.warning(
                "environment variable %s is no setting of busauth's: ignored%s", name, meant
            )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None


def _problems(
    error: ValidationError, table: Mapping[str, Any], path: str | Path | None
) -> Iterator[str]:
    """Tell each problem once: of a union's members, the one that was meant."""
    problems = [(_location(each["loc"]), each) for each in error.errors(include_url=False)]
    told: set[tuple[str, ...]] = set()
    for location, problem in problems:
        deeper = any(other[: len(location)] == location != other for other, _ in problems)
        if not deeper and location not in told:
            told.add(location)
            source = _variable(location) or (str(path) if location[0] in table else "settings")
            key, value = ".".join(location), _shown(problem["input"])
            yield f"{source}: {key} = {value}: {expected(Settings, problem)}"


def _location(found: Sequence[str | int]) -> tuple[str, ...]:
    """Drop what pydantic adds to say which member of a union it tried; queues may be named so."""
    before = ("", *found)
    return tuple(
        str(part)
        for part, parent in zip(found, before, strict=False)
        if parent == "consumers" or not (part in _TAGS or "[" in str(part))
    )


def _undecoded(error: SettingsError) -> str:
    """Name the variable that holds what is not JSON."""
    text = getattr(error.__cause__, "doc", None)
    names = (name for name in os.environ if name.upper().startswith(PREFIX))
    name = next((name for name in names if os.environ[name] == text), "")
    return (
        f"environment variable {name} = {_shown(text)}: expected JSON, such as {_as_json(text)}: "
        f"{error.__cause__}"
    )


def _as_json(text: object) -> str:
    """Show how the same is written as a list, or what a table looks like."""
    if not isinstance(text, str) or set(text) & set("[]{}"):
        return '["one", "two"] or {"key": "value"}'
    return evidence(json.dumps([part.strip(" \"'") for part in text.split(",")])) or ""


def _variable(location: Sequence[str]) -> str | None:
    """Return the environment variable that said it, if one did: the most specific first."""
    names = {name.upper(): name for name in os.environ}
    for length in range(len(location), 0, -1):
        candidate = PREFIX + "__".join(location[:length]).upper()
        if candidate in names:
            return f"environment variable {names[candidate]}"
    return None


def _shown(value: object) -> str | None:
    try:
        return evidence(json.dumps(value))
    except TypeError:
        return evidence(value)
