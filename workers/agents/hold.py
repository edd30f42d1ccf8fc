"""The second step: atlas holds a seat for the user. To book it is for people."""

from starlette.applications import Starlette

from busauth import Bus, Caller
from workers.agents.atlas import redeemed, tool, voucher
from workers.agents.jobs import HOLDS_DUE, REPORTS_DUE, TO_REPORT, Offer, Report
from workers.place import Place


def hold(place: Place, flights: Starlette) -> Bus:
    """Return the step."""
    reports = place.queue(REPORTS_DUE)
    bus = place.bus("hold", audience="atlas", onward={reports: voucher(place, "atlas", TO_REPORT)})
    holding = tool(place, flights, "flights", "flights:hold")

    @bus.consumer(place.queue(HOLDS_DUE), scopes={"flights:hold"}, on_expired=redeemed(place))
    async def keep(offer: Offer, user: Caller) -> None:
        """Hold the seat, and have it told."""
        place.holds("hold", user)
        (await holding.post("/holds", json={"flight": offer.flight})).raise_for_status()
        await bus.publish(reports, Report(job=offer.job, text=f"{offer.flight} is held for you"))

    return bus
