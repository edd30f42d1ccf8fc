"""The first step: atlas looks for a flight. It may look, and hands on what the next steps need."""

from starlette.applications import Starlette

from busauth import Bus, Caller
from workers.agents.atlas import redeemed, tool, voucher
from workers.agents.jobs import HOLDS_DUE, SEARCHES_DUE, TO_HOLD, Job, Offer
from workers.place import Place


def search(place: Place, flights: Starlette) -> Bus:
    """Return the step."""
    holds = place.queue(HOLDS_DUE)
    bus = place.bus("search", audience="atlas", onward={holds: voucher(place, "atlas", TO_HOLD)})
    searching = tool(place, flights, "flights", "flights:search")

    @bus.consumer(
        place.queue(SEARCHES_DUE),
        scopes={"flights:search"},
        on_expired=redeemed(place, begins=True),
    )
    async def look(job: Job, user: Caller) -> None:
        """Ask one airline after the other; the user may withdraw between any two."""
        place.holds("search", user)
        for airline in job.airlines:
            found = await searching.get("/flights", params={"to": job.destination, "by": airline})
            found.raise_for_status()
        await bus.publish(holds, Offer(job=job.id, flight=found.json()["flight"]))

    return bus
