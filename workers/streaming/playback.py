"""Plays what the transaction says, at the quality that its plan allows. It asks nobody about it."""

from busauth import Bus, Caller
from workers.place import Place
from workers.streaming.domain import context, inner_bus
from workers.streaming.plays import PLAYS_BEGUN, PLAYS_BILLED, PLAYS_SEEN, Play

QUALITY = {"family": "4K", "basic": "HD"}


def playback(place: Place) -> Bus:
    """Return the service; the transaction goes on as it is, which is what it is for."""
    bus = inner_bus(place, "playback")

    @bus.consumer(place.queue(PLAYS_BEGUN), scopes={"play"})
    async def play(begun: Play, viewer: Caller) -> None:
        """Play, and let the others know."""
        place.holds("playback", viewer)
        place.says("playback", f"{QUALITY[context(viewer).plan]} for {context(viewer).title}")
        await bus.publish(place.queue(PLAYS_SEEN), begun)
        await bus.publish(place.queue(PLAYS_BILLED), begun)

    return bus
