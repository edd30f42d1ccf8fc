"""Finds a driver. It holds the rider's payment only to hand it on, and hands on one thing to each.

Payments gets what takes the money. The driver's service gets who the rider is, and that they may be
met: it is another company's, perhaps, and sees nothing else that they may do.
"""

from busauth import Bus, Caller
from busauth.delegation import Onward
from workers.place import Place
from workers.rides.trips import PAYMENTS_DUE, RIDES_OFFERED, RIDES_REQUESTED, Fare, Trip

CENTS = 1250


def matching(place: Place) -> Bus:
    """Return the service."""
    idp = place.exchange("matching")
    due, offered = place.queue(PAYMENTS_DUE), place.queue(RIDES_OFFERED)
    bus = place.bus(
        "matching",
        onward={
            due: Onward(idp, audience="payments", scopes={"payments:take"}),
            offered: Onward(idp, audience="drivers", scopes={"rides:meet"}),
        },
    )

    @bus.consumer(place.queue(RIDES_REQUESTED), scopes={"rides:request"}, roles={"rider"})
    async def match(trip: Trip, rider: Caller) -> None:
        """Ask for the fare, and offer the trip to drivers."""
        place.holds("matching", rider)
        await bus.publish(due, Fare(trip=trip.id, amount=CENTS))
        await bus.publish(offered, trip)

    return bus
