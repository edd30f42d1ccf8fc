"""100,000 arbitrary messages: the consumer lives, each is accounted for, none runs without right.

A failure names messages as ``state-setting-seed``; ``-k running-bare-123`` throws that one alone.
"""

import pytest

from tests.exhaustive.throwing import SETTINGS, STATES, Throw, told

MESSAGES, QUICK = 100_000, 2_000
NAMES = frozenset({*STATES, *SETTINGS})
_BATCH = 250
_PAIRS = [(state, setting) for state in STATES for setting in SETTINGS]
_KINDS = [(state, setting, kind) for state, setting in _PAIRS for kind in ("readable", "any")]


def thrown(state: str, setting: str, kind: str, seeds: range) -> None:
    """Throw messages in batches; fail with what is wrong of the first that does not end well."""
    for first in range(seeds.start, seeds.stop, _BATCH):
        batch = range(first, min(first + _BATCH, seeds.stop))
        throw = Throw(state, setting, batch, kind == "readable").carried_out()
        if throw.wrong:
            wrong = len(throw.wrong)
            pytest.fail(f"{wrong} of {len(batch)} from {first}\n{told(throw)}", pytrace=False)


@pytest.mark.parametrize(("state", "setting", "kind"), _KINDS)
def test_some(state: str, setting: str, kind: str) -> None:
    """A consumer in any state gives an account of each of some arbitrary messages."""
    each = QUICK // len(_KINDS)
    turn = _KINDS.index((state, setting, kind))
    thrown(state, setting, kind, range(turn * each, (turn + 1) * each))


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("state", "setting", "kind"), _KINDS)
def test_all(state: str, setting: str, kind: str) -> None:
    """A consumer in any state gives an account of each of 100,000 arbitrary messages."""
    each = MESSAGES // len(_KINDS)
    first = 10**6 + _KINDS.index((state, setting, kind)) * each
    thrown(state, setting, kind, range(first, first + each))


@pytest.mark.parametrize("readable", [True, False])
def test_one(case: tuple[str, str, int], readable: bool) -> None:
    """One message, by its id, as each kind has it."""
    state, setting, seed = case
    throw = Throw(state, setting, [seed], readable).carried_out()
    print(throw.sent)  # noqa: T201 -- for who looks up a case
    assert throw.wrong == {}
