"""What patterns match, and how values are compared and written."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth.testing.broker.model.exchanges.exchanges import Topic
from busauth.testing.broker.model.exchanges.matching import HeadersPattern, topic_fits, topic_words
from busauth.testing.broker.model.words import erlang

WORDS = st.lists(st.sampled_from(["a", "b", ""]), max_size=6)
PATTERNS = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=6)


def fits(pattern: list[str], words: list[str]) -> bool:
    """As the standard puts it, word by word."""
    if not pattern or not words:
        return not words and all(part == "#" for part in pattern)
    if pattern[0] == "#":
        return fits(pattern[1:], words) or fits(pattern, words[1:])
    return pattern[0] in ("*", words[0]) and fits(pattern[1:], words[1:])


@given(PATTERNS, WORDS)
def test_topic(pattern: list[str], words: list[str]) -> None:
    """A pattern matches as the standard says."""
    assert topic_fits(pattern, words) is fits(pattern, words)


def test_hostile_topic() -> None:
    """A pattern of many `#` is matched without trying every way to divide the key."""
    assert not topic_fits(["#", "a"] * 60, topic_words(".".join("a" * 120) + ".b"))


def test_many_keys() -> None:
    """A topic exchange keeps what many keys match, but not without an end."""
    exchange, other = Topic("x"), Topic("other")
    exchange.bind(other, "*.1", {})
    for number in range(10_000):
        assert list(exchange.matches(f"{number}.1", None)) == [other]
    assert len(exchange._known) <= 4096
    exchange.unbind(other, "*.1", {})
    assert list(exchange.matches("1.1", None)) == []


@pytest.mark.parametrize(
    ("mode", "headers", "matches"),
    [
        ("all", {"a": 1.0, "b": True}, True),
        ("all", {"a": True, "b": True}, False),
        ("any", {"a": 2, "b": 1}, False),
        ("any", {"b": True}, True),
    ],
)
def test_headers(mode: str, headers: dict[str, Any], matches: bool) -> None:
    """1 is 1.0, but not true."""
    pattern = HeadersPattern({"x-match": mode, "a": 1, "b": True})
    assert (
        pattern.fits({name: erlang.comparable(each) for name, each in headers.items()}) is matches
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "undefined"),
        ("", "<<>>"),
        ('a"\n', '<<"a\\"\\n">>'),
        (b"\0\xff", "<<0,255>>"),
        ([1, [True]], "[{byte,1},{array,[{bool,true}]}]"),
        ({"a": {"b": "c"}}, '[{<<"a">>,table,[{<<"b">>,longstr,<<"c">>}]}]'),
    ],
)
def test_term(value: object, text: str) -> None:
    """Values are written as Erlang writes them."""
    assert erlang.term(value) == text


@pytest.mark.parametrize(("data", "text"), [(b"x", '"x"'), (b"\x01\x7f", "[1,127]"), (b"", "[]")])
def test_string(data: bytes, text: str) -> None:
    """A string that cannot be printed is a list of numbers."""
    assert erlang.string(data) == text
