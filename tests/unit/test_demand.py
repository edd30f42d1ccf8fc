"""Who may act for a caller: only the outermost actor is asked about."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import Caller
from busauth._demand import Demand
from busauth.caller import first_token, narrowed
from busauth.delegation import NO_ACTOR, Actor, Actors
from busauth.errors import ConfigurationError, Forbidden
from tests.unit.support import ISSUER, caller

X, Y, ABROAD = Actor("agent-x"), Actor("agent-y"), Actor("agent-x", "https://other.test")
HOME, NOWHERE = Actor("agent-x", ISSUER), Actor("agent-x", "")


def may(actors: Any, *chain: Actor, who: Caller | None = None) -> bool:
    """Return whether a caller may, for whom these act."""
    try:
        Demand.of(actors=actors).check(replace(who or caller(), actors=chain))
    except Forbidden:
        return False
    return True


def test_a_caller_has_the_outermost_of_their_actors() -> None:
    """Who acts now is the first of the chain; where nobody does, there is none."""
    assert replace(caller(), actors=(X, Y)).actor == X
    assert caller().actor is None


@pytest.mark.parametrize(
    ("actors", "welcome", "refused"),
    [
        (None, [(), (X,), (ABROAD, Y)], []),
        ({"agent-x"}, [(X,), (HOME,), (X, Y)], [(), (Y,), (Y, X), (ABROAD,), (NOWHERE,)]),
        ("agent-x", [(X,)], [(), (Y,), (Actor("a"),)]),
        (NO_ACTOR, [()], [(X,), (ABROAD,), (Y, X), (Actor(""),)]),
        (Actors({"agent-x"}, or_nobody=True), [(), (X,)], [(Y,), (ABROAD,)]),
        (Actors("agent-x", issuer="https://other.test"), [(ABROAD,)], [(), (X,), (HOME,)]),
        (Actors("agent-x", issuer=ISSUER), [(X,), (HOME,)], [(ABROAD,)]),
        (Actors(issuer="https://other.test"), [(ABROAD,), (ABROAD, Y)], [(), (Y,), (Y, ABROAD)]),
        (Actors(at_most=1), [(X,), (Y,)], [(), (ABROAD,), (X, Y)]),
        (Actors("agent-x", at_most=2, or_nobody=True), [(), (X, Y)], [(X, Y, Y), (Y,)]),
    ],
    ids=str,
)
def test_what_is_said_of_actors_is_held(
    actors: Any, welcome: list[tuple[Actor, ...]], refused: list[tuple[Actor, ...]]
) -> None:
    """Names, issuer, depth and nobody: each is asked of the outermost actor, and fails closed."""
    assert [may(actors, *chain) for chain in welcome] == [True] * len(welcome)
    assert [may(actors, *chain) for chain in refused] == [False] * len(refused)


@pytest.mark.parametrize(
    ("actors", "chain", "found", "expected"),
    [
        ({"a", "b"}, (), "nobody who acts", "actor a or b"),
        (NO_ACTOR, (X, Y), "actor agent-x, 2 in the chain", "nobody who acts"),
        ("a", (ABROAD,), "actor agent-x of https://other.test, 1 in the chain", "actor a"),
        (
            Actors("a", issuer=ISSUER, or_nobody=True, at_most=1),
            (X, X),
            "actor agent-x, 2 in the chain",
            f"actor a of {ISSUER} or nobody, at most 1 in the chain",
        ),
    ],
)
def test_a_refusal_says_who_acts(
    actors: Any, chain: tuple[Actor, ...], found: str, expected: str
) -> None:
    """The evidence names the outermost actor, the length of the chain, and who is welcome."""
    with pytest.raises(Forbidden) as caught:
        Demand.of(actors=actors).check(replace(caller(), actors=chain))
    refused = caught.value
    assert (refused.code, refused.found, refused.expected) == ("caller.actor", found, expected)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (lambda: Demand.of(actors=()), "names nobody"),
        (lambda: Actors([]), "NO_ACTOR"),
        (Actors, "asks nothing"),
        (lambda: Actors(or_nobody=True), "asks nothing"),
        (lambda: Actors({""}), "none of them empty"),
        (lambda: Actors("a", issuer=""), "issuer"),
        (lambda: Actors("a", at_most=0), "at_most=0.*from 1 to 8"),
        (lambda: Actors("a", at_most=9), "at_most=9.*from 1 to 8"),
        (lambda: Demand.of(actors=3), "expected Actors or several of str or None"),  # type: ignore[arg-type]  # that is the point
        (lambda: Actors("a", depth=3), "depth"),  # type: ignore[arg-type]  # and this
    ],
)
def test_what_could_be_misread_is_refused(said: Any, told: str) -> None:
    """An empty set is neither everybody nor nobody, and what asks nothing is a mistake."""
    with pytest.raises(ConfigurationError, match=told):
        said()


@given(st.lists(st.sampled_from([X, Y, ABROAD, HOME]), max_size=4), st.integers(1, 4))
def test_an_inner_actor_changes_nothing(inner: list[Actor], most: int) -> None:
    """Whoever stands behind the outermost actor, the answer is the same but for the depth."""
    for outer in (X, Y, ABROAD):
        assert may("agent-x", outer, *inner) == may("agent-x", outer)
        assert may(Actors("agent-x", at_most=most), outer, *inner) == (
            outer == X and 1 + len(inner) <= most
        )


@pytest.mark.parametrize(
    ("first", "fresh", "actors", "is_welcome"),
    [
        ((), (X,), "agent-x", False),
        ((X,), (), "agent-x", False),
        ((X,), (), NO_ACTOR, False),
        ((Y,), (X,), "agent-x", False),
        ((X,), (X,), "agent-x", True),
        ((), (), NO_ACTOR, True),
    ],
)
def test_what_comes_back_is_asked_about_both_tokens(
    first: tuple[Actor, ...], fresh: tuple[Actor, ...], actors: Any, is_welcome: bool
) -> None:
    """A fresh token with another actor gives no authority that the first one had not."""
    record = first_token(replace(caller(), actors=first), "sid")
    back = narrowed(replace(caller(), actors=fresh), record)
    assert may(actors, *fresh, who=back) == is_welcome
    assert back.restricted == (first != fresh)
