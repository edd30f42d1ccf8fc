"""When a worker that has ended is started again, and when that is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth.cli.run.lives import Lives, Pace

PACE = Pace(first=1, longest=30, stayed=60, tries=5)


def test_pauses_double_up_to_the_longest() -> None:
    """Short lives are followed by longer and longer pauses; a long one begins them anew."""
    lives = Lives(PACE)
    pauses = [lives.ended(1, was_ready=True) for _ in range(7)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert [lives.ended(60, was_ready=True), lives.ended(1, was_ready=True)] == [1, 1]


def test_one_that_never_comes_up_is_given_up() -> None:
    """Five in a row that were never ready are enough; one that was begins the count anew."""
    lives = Lives(PACE)
    assert None not in [lives.ended(1) for _ in range(4)]
    assert lives.ended(1, was_ready=True) is not None
    assert None not in [lives.ended(1) for _ in range(4)]
    assert (lives.ended(1), lives.unready) == (None, 5)


@pytest.mark.parametrize(("came_up", "pause"), [(False, None), (True, 1)])
def test_what_no_start_mends_is_given_up_at_once(came_up: bool, pause: float | None) -> None:
    """At the start; after a life that worked it may be mended meanwhile, and is tried again."""
    lives = Lives(PACE)
    if came_up:
        lives.came_up()
    assert lives.ended(1, is_hopeless=True) == pause


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans(), st.booleans()), max_size=80))
def test_a_pause_is_bounded(said: list[tuple[float, bool, bool]]) -> None:
    """Whatever lives there were, the next pause lies between the first and the longest."""
    lives = Lives(PACE)
    for seconds, was_ready, is_hopeless in said:
        pause = lives.ended(seconds, was_ready=was_ready, is_hopeless=is_hopeless)
        assert pause is None or PACE.first <= pause <= PACE.longest
