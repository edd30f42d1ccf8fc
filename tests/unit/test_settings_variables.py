"""Names between commas in an environment variable."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth.settings.variables import names_in

_PLAIN = st.characters(exclude_categories=["Cs"], exclude_characters=",\"'[]{}")
NAMES = st.text(_PLAIN).map(str.strip).filter(bool)
"""What needs no JSON: no comma, no quotes and no brackets."""


@given(st.lists(NAMES, min_size=1))
def test_names_with_commas_between_are_these_names(names: list[str]) -> None:
    """What is joined by commas is told apart again, with blanks around them or without."""
    assert names_in(",".join(names)) == names
    assert names_in(" , ".join(names)) == names


@given(st.lists(st.text()))
def test_any_names_can_be_written_as_json(names: list[str]) -> None:
    """What has a comma, quotes or blanks itself stands in a JSON list."""
    assert names_in(json.dumps(names)) == names


@given(st.text(st.sampled_from("a, \"'[]{}:")))
def test_any_text_is_names_or_refused(text: str) -> None:
    """There is no third thing: no empty name, none with a comma, none that has kept its quotes."""
    try:
        found = names_in(text)
    except ValueError:
        return
    if not text.lstrip().startswith(("[", "{")):
        assert found
        for name in found:
            assert name
            assert "," not in name
            assert name[0] not in "\"'"
            assert name[-1] not in "\"'"


@pytest.mark.parametrize("text", ["", "a,", ",a", "a,,b", ",", "'a','b'", 'a,"b"', '"a,b"', "[a"])
def test_what_may_be_a_mistake_is_refused(text: str) -> None:
    """A name that is missing, and quotes that an env file has kept."""
    with pytest.raises(ValueError, match=r"empty name|quotes|Expecting"):
        names_in(text)
