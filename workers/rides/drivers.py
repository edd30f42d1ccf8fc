"""The driver's service: it is told whom to fetch, and sees nothing of what else they may do.

With the token that it gets it could meet the rider. It cannot ask for a ride in their name, and the
money that is waiting for payments is none of the driver's business.
"""

from busauth import Bus, Caller
from workers.place import Place
from workers.rides.trips import RIDES_OFFERED, Trip


def drivers(place: Place) -> Bus:
    """Return the service; it sends nothing on."""
    bus = place.bus("drivers")

    @bus.consumer(place.queue(RIDES_OFFERED), scopes={"rides:meet"}, roles={"rider"})
    async def offer(trip: Trip, rider: Caller) -> None:
        """Offer the trip; whom to fetch is in the token."""
        place.holds("drivers", rider)

    return bus
