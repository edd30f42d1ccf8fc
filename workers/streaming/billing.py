"""Counts plays against the plan that the viewer had when they pressed play, whatever it is now."""

from busauth import Bus, Caller
from workers.place import Place
from workers.streaming.domain import context, inner_bus
from workers.streaming.plays import PLAYS_BILLED, Play


def billing(place: Place) -> Bus:
    """Return the service; it sends nothing on."""
    bus = inner_bus(place, "billing")

    @bus.consumer(place.queue(PLAYS_BILLED), scopes={"play"})
    async def count(billed: Play, viewer: Caller) -> None:
        """Count it, by the plan in the transaction."""
        place.holds("billing", viewer)
        place.says("billing", f"on the {context(viewer).plan} plan")

    return bus
