"""Rides, end to end: who holds what at each hop, and that it is no more than its work needs."""

import pytest

from tests.workers.conftest import PAGE, played
from workers.demo.chains.rides import A_RIDE, RIDES

NEEDS = {
    "edge": {"rides:request", "rides:meet", "payments:take"},
    "matching": {"rides:request", "rides:meet", "payments:take"},
    "payments": {"payments:take"},
    "drivers": {"rides:meet"},
}
"""What each one's work needs: the door and matching hand on what those behind them need."""


@pytest.mark.timeout(60)
async def test_a_ride_goes_as_expected_and_no_hop_holds_too_much(url: str) -> None:
    """Every scene is equal; whoever works holds what its work needs, for itself alone."""
    hops = await played(RIDES, url)
    for hop in hops:
        assert hop.audience == (hop.service,)
        assert hop.scopes <= NEEDS[hop.service]
    assert {hop.service for hop in hops} == set(NEEDS)


def test_the_page_shows_what_each_hop_of_a_ride_holds() -> None:
    """What docs/chains.md says of rides is what the scenes expect."""
    assert [fact for fact in A_RIDE if "; for " in fact and fact not in PAGE] == []
