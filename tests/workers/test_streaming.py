"""Streaming, end to end: one transaction, whatever the device has, and nobody who asks about it."""

import pytest

from tests.workers.conftest import PAGE, played
from workers.demo.chains.streaming import A_PLAY, STREAMING
from workers.streaming.domain import DOMAIN

INSIDE = {"playback", "recommendations", "billing"}


@pytest.mark.timeout(60)
async def test_a_play_is_one_transaction_behind_the_door(url: str) -> None:
    """Every scene is equal; whoever is behind the door holds a transaction, which may be played."""
    hops = await played(STREAMING, url)
    for hop in hops:
        assert hop.scopes == {"play"}
        assert hop.audience == ((DOMAIN,) if hop.service in INSIDE else ("edge",))
        assert (hop.transaction is not None) == (hop.service in INSIDE)
    plays = {each: [hop.transaction for hop in hops if hop.service == each] for each in INSIDE}
    assert len(set(plays["playback"])) == len(plays["playback"])
    assert plays["recommendations"] == plays["billing"] == plays["playback"]


def test_the_page_shows_what_each_hop_of_a_play_holds() -> None:
    """What docs/chains.md says of streaming is what the scenes expect."""
    assert [fact for fact in A_PLAY if "; may " in fact and fact not in PAGE] == []
