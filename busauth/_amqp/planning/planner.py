"""What a consumer would decide about letters if they were sent again now; none of them is.

Each copy is made as a redrive makes it (`authorities`), and is then looked at by its consumer's own
course (`Bus.foresee`). The letters are held for as long as it takes to read them, and no longer.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from busauth._amqp.connecting.connect import connected
from busauth._amqp.connecting.patience import leaving
from busauth._amqp.judging.foreseen import Foreseen, ForeseenEnd
from busauth._amqp.judging.received import Received
from busauth._amqp.planning.planned import STAYS, Plan, Planned
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.resending.authorities import Authority, Errand, Renewing, renewing
from busauth._amqp.resending.letters import Letter, taken
from busauth._amqp.resending.wanted import Census, Wanted
from busauth._amqp.topology import parked_queue
from busauth._messages.provenance import BROKER_STAMP
from busauth._messages.seal import Purpose
from busauth.errors import Deferred, Refused

_NO_TOKEN = "it kept no token"  # noqa: S105 -- a sentence
_NOT_THEIRS = "it is not of the caller whose token this is"
_NO_STATEMENT = "it takes an operator's statement, which a desk signs as letters are sent"

Foresee = Callable[[str, Received], Awaitable[Foreseen]]
"""Tells what the consumer of a queue would decide; `Bus.foresee` is one."""


async def plan(
    url: str | URL,
    sources: Iterable[str],
    planner: "Planner",
    wanted: Wanted | None = None,
    *,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> Plan:
    """Return what would become of letters, and leave them all where they are, in their order.

    Args:
        url: the broker.
        sources: the queues to look at.
        planner: says what would become of each.
        wanted: which letters; None for all.
        told: is told how many are done, of how many.

    Raises:
        ConnectionError: the broker is out of reach.
        Deferred: the broker has taken the letters back before all had come.
        ConfigurationError: there is no such queue, the URL could never connect, or a right is
            missing; or the authority is none.
        Refused: a fresh token is not genuine, late, or revoked.
    """
    census, chosen = Census(wanted or Wanted()), list[tuple[AbstractIncomingMessage, Letter]]()
    for source in sources:
        # a connection for each: that it is closed gives a queue back, before the next one is held
        async with leaving(await connected(url)) as connection:
            async for message in await taken(connection, source):
                letter = Letter.of(message, source, with_body=False)
                if census.asks(letter):
                    chosen.append((message, letter))
    chosen.sort(key=lambda each: each[1].at or "")
    planned, unasked = list[Planned](), dict[str, None]()
    for done, (message, letter) in enumerate(chosen):
        told(done, len(chosen))
        found = await planner.of(message, letter)
        if found.foreseen is not None:
            unasked |= dict.fromkeys(found.foreseen.unasked)
        planned.append(found)
    return Plan(
        letters=tuple(planned), total=census.total, missed=census.missed(), unasked=tuple(unasked)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Says what would become of letters of one queue, one after the other.

    Attributes:
        queue: the consumer's queue.
        foresee: what its consumer would decide.
        renews: makes the copies; None where an operator's statement is needed for each.
        releases: the same of what was parked.
        frame_max: bytes of a frame on the connection on which they would be sent.
        stamps: whether the broker stamps what is published; by whose clock.
    """

    queue: str
    foresee: Foresee
    renews: Renewing | None
    releases: Renewing | None
    frame_max: int
    stamps: Callable[[], float] | None = None

    @classmethod
    async def of_authority(
        cls, errand: Errand, authority: Authority | None, foresee: Foresee, *, frame_max: int
    ) -> "Planner":
        """Return one for an authority; None for an operator's, who has bought no statement yet.

        Raises:
            Refused: a fresh token is not genuine, late, or revoked.
            Deferred: keys are out of reach.
            ConfigurationError: nobody could sign what goes with a fresh token.
        """
        guard, parked = errand.guard, replace(errand, purpose=Purpose.PARKED)
        return cls(
            queue=errand.queue,
            foresee=foresee,
            renews=None if authority is None else await renewing(authority, errand),
            releases=None if authority is None else await renewing(authority, parked),
            frame_max=frame_max,
            stamps=guard.clock.now if guard.options.broker_stamps else None,
        )

    async def of(self, message: AbstractIncomingMessage, letter: Letter) -> Planned:
        """Return what would become of one letter."""
        is_parked = letter.source == parked_queue(self.queue)
        renews = self.releases if is_parked else self.renews
        if renews is None:
            return Planned(letter=letter, outcome=ForeseenEnd.UNKNOWN, detail=_NO_STATEMENT)
        if not renews.concerns(message):
            why = _NO_TOKEN if renews.caller is None else _NOT_THEIRS
            return Planned(letter=letter, outcome=STAYS, detail=why)
        try:
            outgoing = await renews.renewed(message, self.frame_max)
        except Refused as refused:
            code, detail = refused.code, refused.detail
            return Planned(letter=letter, outcome=STAYS, code=code, detail=detail)
        except Deferred as deferred:
            return Planned(letter=letter, outcome=ForeseenEnd.DEFERRED, detail=deferred.reason)
        foreseen = await self.foresee(self.queue, self._delivered(outgoing))
        return Planned(
            letter=letter,
            outcome=foreseen.end.value,
            code=foreseen.code,
            detail=foreseen.detail,
            foreseen=foreseen,
        )

    def _delivered(self, outgoing: Outgoing) -> Received:
        """Return the copy as it would be delivered: on the default exchange, for the first time."""
        received = as_received(outgoing, self.queue)
        if self.stamps is None:
            return received
        stamped = {**(received.headers or {}), BROKER_STAMP: int(self.stamps() * 1000)}
        return replace(received, headers=stamped)


def as_received(outgoing: Outgoing, queue: str) -> Received:
    """Return what is about to be published to a queue as its consumer would receive it."""
    said: dict[str, Any] = {
        {"message_type": "type"}.get(name, name): value
        for name, value in outgoing.properties
        if name != "headers"
    }
    return Received(
        body=outgoing.body,
        exchange="",
        routing_key=queue,
        redelivered=False,
        headers=outgoing.properties.headers,
        **said,
    )
