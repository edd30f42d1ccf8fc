"""Where a claim is: a name as it stands, or a JSON Pointer into it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth._tokens.profiles.places import MISSING, check_place, value_at
from busauth.errors import ConfigurationError
from busauth.tokens import Profile

NAMES = st.text(min_size=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def pointer(*names: str) -> str:
    """Write a JSON Pointer (RFC 6901, section 3)."""
    return "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in names)


@given(st.lists(NAMES, min_size=1, max_size=8), JSON)
def test_a_pointer_leads_to_what_is_inside(names: list[str], inside: Any) -> None:
    """Whatever the names are, dots, slashes and tildes included."""
    claims = inside
    for name in reversed(names):
        claims = {name: claims}
    assert value_at(claims, check_place(pointer(*names))) == inside


@given(NAMES.filter(lambda name: not name.startswith("/")), JSON)
def test_a_name_is_one_claims_name_as_it_stands(name: str, value: Any) -> None:
    """Nothing in it is a step: no dot, and no slash that is not its first character."""
    assert value_at({name: value}, check_place(name)) == value


@given(JSON, st.text(st.sampled_from("/~01ab.")))
def test_whatever_the_claims_are_a_place_is_found_or_missing(claims: Any, place: str) -> None:
    """What is no object on the way has nothing inside, and no text is a place that fails."""
    try:
        check_place(place)
    except ConfigurationError:
        return
    value_at(claims, place)


@pytest.mark.parametrize("inside", [None, 5, True, "roles", ["roles"], [{"roles": ["a"]}], {}])
def test_a_pointer_leads_through_objects_alone(inside: Any) -> None:
    """A list has no members, and text no letters to be led to."""
    assert value_at({"realm_access": inside}, "/realm_access/roles") is MISSING
    assert value_at({"realm_access": inside}, "/realm_access/0") is MISSING


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("", "a name is empty"),
        ("/", "a name is empty"),
        ("/a//b", "a name is empty"),
        ("/a/", "a name is empty"),
        ("/a~2b", "~0 for a tilde"),
        ("/a~", "~0 for a tilde"),
        ("/a/b/c/d/e/f/g/h/i", "leads through 9 names: expected 8 at most"),
    ],
)
@pytest.mark.parametrize("where", ["scopes", "roles", "role_keys", "client", "required"])
def test_a_place_that_leads_nowhere_is_refused(place: str, told: str, where: str) -> None:
    """It is found where the profile is made, and not missing in each token."""
    said: dict[str, Any] = {where: (place,)}
    with pytest.raises(ConfigurationError, match=told):
        Profile(name="own", types=frozenset(), **said)
