"""JSON that is read quickly is read as strictly as JSON that is read slowly."""

import json
from typing import Any, NoReturn

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from busauth._tokens.compact import MAX_DEPTH, json_object
from busauth.errors import NotGenuine
from tests.properties.strategies import json_values

FRAGMENTS = (
    *('{"a":1}', '"a"', '"b"', '"\\u0061"', '"\\ud800"', '"\\ud83d\\ude00"', '"\ud83d"', '"ä"'),
    *("{", "}", "[", "]", ":", ",", '"', "\\", " ", "\t", "\n", "\x00", "\ufeff", "\x0b"),
    *("1", "-0", "1.5", "1e5", "1e999", "01", "NaN", "Infinity", "-Infinity", "true", "null"),
)
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)
members = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), json_values), max_size=4)
blanks = st.text(" \t\r\n", max_size=2)


class OddError(ValueError):
    """What the rules refuse."""


def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in found]
    if sorted(set(names)) != sorted(names):
        raise OddError
    return dict(found)


def constant(_name: str) -> NoReturn:
    raise OddError


def held(value: Any, levels: int) -> None:
    """Hold each value to the rules, one after the other."""
    if isinstance(value, str):
        value.encode()
    if levels > MAX_DEPTH:
        raise OddError
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        held(item, levels + 1)
    for name in value if isinstance(value, dict) else ():
        name.encode()


def by_definition(raw: bytes) -> dict[str, Any] | None:
    """Read a JSON object with the standard library alone, and look at all of it."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=pairs, parse_constant=constant)
        held(value, 1)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def compared(raw: bytes) -> None:
    expected = by_definition(raw)
    event("refused" if expected is None else "an object")
    if expected is not None:
        assert repr(json_object(raw, "payload")) == repr(expected)
        return
    with pytest.raises(NotGenuine) as caught:
        json_object(raw, "payload")
    assert caught.value.code == "token.json"


@given(text=texts)
@example(text='{"a":1}{"a":1}')
@example(text='{"a":1}]')
@example(text='{"a":1,"a":1}')
@example(text='{"a":1} ')
@example(text=' {"a":1}')
@example(text='\ufeff{"a":1}')
@example(text="{")
@example(text="{}")
def test_any_text_is_read_as_the_rules_say(text: str) -> None:
    """Whatever stands around or inside: an object by the rules, or a refusal."""
    compared(text.encode("utf-8", "surrogatepass"))


@given(found=members, before=blanks, after=blanks, ascii_only=st.booleans())
def test_an_object_is_read_with_and_without_blanks(
    found: list[tuple[str, Any]], before: str, after: str, ascii_only: bool
) -> None:
    """Members that come twice are refused, on each level; blanks around it change nothing."""
    inside = ",".join(
        f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in found
    )
    compared(f"{before}{{{inside}}}{after}".encode("utf-8", "surrogatepass"))


@given(raw=st.binary(max_size=20))
def test_any_bytes_are_read_as_the_rules_say(raw: bytes) -> None:
    """What is no UTF-8 is no JSON."""
    compared(raw)
