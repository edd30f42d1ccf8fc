"""What a topic's pattern and a headers exchange's arguments match."""

from collections.abc import Mapping
from typing import Any, Final

from busauth.testing.broker.model.words import erlang
from busauth.testing.broker.model.words.errors import PRECONDITION_FAILED, AMQPError
from busauth.testing.broker.model.words.judging import type_name

_X_MATCH: Final = "x-match"
_MODES: Final = ("all", "any", "all-with-x", "any-with-x")


def topic_words(key: str) -> list[str]:
    """Part a routing key or a pattern; the empty one has no words."""
    return key.split(".") if key else []


def topic_fits(pattern: list[str], words: list[str]) -> bool:
    """Whether a pattern matches, in time proportional to the product of the lengths."""
    reachable = {0}
    for part in pattern:
        if part == "#":
            reachable = set(range(min(reachable), len(words) + 1)) if reachable else set()
        else:
            reachable = {at + 1 for at in reachable if at < len(words) and part in ("*", words[at])}
    return len(words) in reachable


def check_x_match(arguments: Mapping[str, Any]) -> None:
    """Refuse an x-match that is unknown.

    Raises:
        AMQPError: 406, with what was found and what is expected.
    """
    mode = arguments.get(_X_MATCH, "all")
    if _X_MATCH in arguments and not isinstance(mode, str | bytes):
        fault = f"type {type_name(mode)} (value {erlang.term(mode)}); expected longstr"
    elif mode not in _MODES:
        fault = f"value {erlang.term(mode)}; expected all, any, all-with-x, or any-with-x"
    else:
        return
    raise AMQPError(PRECONDITION_FAILED, f"Invalid x-match field {fault}")


class HeadersPattern:
    """A binding's arguments, ready to be compared with headers; one without a value matches any.

    Args:
        arguments: as they passed `check_x_match`.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        mode = arguments.get(_X_MATCH, "all")
        self._any = mode.startswith("any")
        self._wanted = {
            name: None if value is None else erlang.comparable(value)
            for name, value in arguments.items()
            if name != _X_MATCH and (mode.endswith("-with-x") or not name.startswith("x-"))
        }

    def fits(self, headers: Mapping[str, Any]) -> bool:
        """Whether headers, made comparable, match."""
        tests = (
            name in headers and (value is None or headers[name] == value)
            for name, value in self._wanted.items()
        )
        return any(tests) if self._any else all(tests)
