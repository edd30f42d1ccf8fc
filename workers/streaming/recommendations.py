"""Remembers what was seen, by which profile: both are in the transaction, and in no message."""

from busauth import Bus, Caller
from workers.place import Place
from workers.streaming.domain import context, inner_bus
from workers.streaming.plays import PLAYS_SEEN, Play


def recommendations(place: Place) -> Bus:
    """Return the service; it sends nothing on."""
    bus = inner_bus(place, "recommendations")

    @bus.consumer(place.queue(PLAYS_SEEN), scopes={"play"})
    async def remember(seen: Play, viewer: Caller) -> None:
        """Remember it for this profile."""
        place.holds("recommendations", viewer)
        place.says("recommendations", f"{context(viewer).title} for {context(viewer).device}")

    return bus
