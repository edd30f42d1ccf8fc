"""Every outcome, broken off at every await of its way, in every manner: where is the message?

A case is ``scenario-fault-number``; ``-k late_park-cut-3`` carries out that one alone, and fails
with its story. The points of a way, by number, are what ``test_undisturbed`` prints (``-rP``).
"""

from functools import cache

import pytest

from tests.exhaustive.faults import FAULTS, Account, Case, Fault, wrongs
from tests.exhaustive.scenarios import SCENARIOS, Scenario

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_FAULTS = {fault.name: fault for fault in FAULTS}
NAMES = frozenset({*_BY_NAME, *_FAULTS})


@cache
def way(name: str) -> Account:
    """Return what is seen of a scenario in which nothing happens."""
    return Case(_BY_NAME[name]).seen()


def numbers(scenario: Scenario, fault: Fault) -> list[int]:
    """Return the points of its way at which a fault can happen.

    A plain consumer is nobody's to stop: whoever closes its connection cuts it.
    """
    if fault.stops and scenario.setting.plain:
        return []
    points = way(scenario.name).points
    return [number for number, point in enumerate(points) if fault.hits(point)]


def told(case: Case) -> str | None:
    """Carry out a case; return what is wrong, None where nothing is."""
    assert case.fault is not None
    assert case.number is not None
    points = way(case.scenario.name).points
    if case.number >= len(points):
        return f"{case}: its way has {len(points)} points"
    try:
        account = case.seen()
    except Exception as error:
        return f"{case}: {type(error).__name__}: {error}"
    expected = points[case.number]
    if account.at != expected:
        return f"{case}: came to {account.at}, where {expected} was before: no two runs are alike"
    wrong = wrongs(case.scenario, case.fault, account)
    if not wrong:
        return None
    return (
        f"{case}, at {account.at}: {'; '.join(wrong)}\n"
        f"    it was then: {account.then}; it is now: {account.stocks[0]}"
    )


def carry_out(scenario: Scenario, fault: Fault, chosen: list[int]) -> None:
    """Fail with each case that is wrong."""
    found = [told(Case(scenario, fault, number)) for number in chosen]
    wrong = [each for each in found if each is not None]
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(found)} cases\n" + "\n".join(wrong), pytrace=False)


@pytest.mark.parametrize("name", sorted(_BY_NAME))
def test_undisturbed(name: str) -> None:
    """Where nothing happens, each outcome is what it is meant to be, and the others are handled."""
    account = way(name)
    for number, point in enumerate(account.points):
        print(f"{number:4} {point}")  # noqa: T201 -- for who looks up a case
    assert wrongs(_BY_NAME[name], None, account) == []
    assert all(point.stack for point in account.points)


def test_fault_that_fails() -> None:
    """A fault that could not happen is told, although what it was to happen in takes its error."""

    def broken() -> Exception:
        raise LookupError("no such fault")

    found = told(Case(_BY_NAME["handled"], Fault("broken", error=broken), 0))
    assert found == "handled-broken-0: LookupError: no such fault"


@pytest.mark.parametrize("fault", sorted(_FAULTS))
@pytest.mark.parametrize("name", sorted(_BY_NAME))
def test_sampled(name: str, fault: str) -> None:
    """At one point of each way, the message is where it may be, and the consumer goes on."""
    scenario, what = _BY_NAME[name], _FAULTS[fault]
    points = numbers(scenario, what)
    turn = sorted(_BY_NAME).index(name) + sorted(_FAULTS).index(fault)
    if points and turn % 2 == 0:
        carry_out(scenario, what, [points[7 * turn % len(points)]])


@cache
def firsts(fault: str) -> frozenset[tuple[str, int]]:
    """Return each place in which a message's way can wait once: the scenario, and the point."""
    found: dict[tuple[str, ...], tuple[str, int]] = {}
    for name in sorted(_BY_NAME):
        for number in numbers(_BY_NAME[name], _FAULTS[fault]):
            found.setdefault(way(name).points[number].stack, (name, number))
    return frozenset(found.values())


@pytest.mark.long
@pytest.mark.parametrize("fault", sorted(_FAULTS))
@pytest.mark.parametrize("name", sorted(_BY_NAME))
def test_each_await(name: str, fault: str) -> None:
    """Wherever a way can wait, in one that does, the message is where it may be."""
    chosen = sorted(number for scenario, number in firsts(fault) if scenario == name)
    carry_out(_BY_NAME[name], _FAULTS[fault], chosen)


@pytest.mark.long
@pytest.mark.thorough
@pytest.mark.parametrize("fault", sorted(_FAULTS))
@pytest.mark.parametrize("name", sorted(_BY_NAME))
def test_every_await(name: str, fault: str) -> None:
    """At every point of each way, the message is where it may be, and the consumer goes on."""
    scenario, what = _BY_NAME[name], _FAULTS[fault]
    carry_out(scenario, what, numbers(scenario, what))


def test_one(case: tuple[str, str, int]) -> None:
    """One case, by its id."""
    name, fault, number = case
    carry_out(_BY_NAME[name], _FAULTS[fault], [number])
