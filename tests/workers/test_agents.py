"""Agents, end to end: twenty hours of work for somebody, with less than they may do themselves."""

import pytest

from tests.workers.conftest import PAGE, played
from workers.agents.jobs import TO_HOLD, TO_REPORT, TO_SEARCH
from workers.demo.chains.agents import AGENTS, MAY, WORKED

AUDIENCE = {"search": "atlas", "hold": "atlas", "report": "atlas"}
NEEDS = {
    "desk": frozenset(MAY.split()),
    "search": TO_SEARCH,
    "hold": TO_HOLD,
    "report": TO_REPORT,
    "flights": frozenset({"flights:book", "flights:hold", "flights:search"}),
    "mailbox": frozenset({"mail:send"}),
}
"""What each one's work needs: a step hands on what those behind it need, a tool serves them all."""


@pytest.mark.timeout(60)
async def test_an_agent_works_with_less_than_its_user_may_and_stops_when_told(url: str) -> None:
    """Every scene is equal; each tool call has one scope, and nobody who acts may book."""
    hops = await played(AGENTS, url)
    for hop in hops:
        assert hop.audience == (AUDIENCE.get(hop.service, hop.service),)
        assert hop.scopes <= NEEDS[hop.service]
        assert len(hop.scopes) == 1 or hop.service not in ("flights", "mailbox")
        assert "flights:book" not in hop.scopes or not hop.actors
    assert {hop.service for hop in hops} == set(NEEDS)


def test_the_page_shows_what_each_hop_of_a_job_holds() -> None:
    """What docs/chains.md says of agents is what the scenes expect."""
    assert [fact for fact in WORKED if " for " in fact and fact not in PAGE] == []
