"""The last step: atlas tells the user. It may send a mail in their name, and nothing else."""

from starlette.applications import Starlette

from busauth import Bus, Caller
from workers.agents.atlas import redeemed, tool
from workers.agents.jobs import REPORTS_DUE, Report
from workers.place import Place


def report(place: Place, mailbox: Starlette) -> Bus:
    """Return the step; it sends nothing on over the bus."""
    bus = place.bus("report", audience="atlas")
    mailing = tool(place, mailbox, "mailbox", "mail:send")

    @bus.consumer(place.queue(REPORTS_DUE), scopes={"mail:send"}, on_expired=redeemed(place))
    async def tell(done: Report, user: Caller) -> None:
        """Send the mail, by the user's own mailbox."""
        place.holds("report", user)
        (await mailing.post("/mails", json={"text": done.text})).raise_for_status()

    return bus
