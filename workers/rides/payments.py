"""Takes the rider's money: that is all that its token is good for, and only here."""

from busauth import Bus, Caller
from workers.place import Place
from workers.rides.trips import PAYMENTS_DUE, Fare


def payments(place: Place) -> Bus:
    """Return the service; it sends nothing on."""
    bus = place.bus("payments")

    @bus.consumer(place.queue(PAYMENTS_DUE), scopes={"payments:take"}, roles={"rider"})
    async def take(fare: Fare, rider: Caller) -> None:
        """Take the fare from whoever the token says, not from whom a message names."""
        place.holds("payments", rider)

    return bus
