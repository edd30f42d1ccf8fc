"""The scenes of rides: who holds what on the way of a ride, and what a thief gets out of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette

from workers.demo.chains.town import Town, founded, open_for
from workers.demo.play import Chain, Scene
from workers.demo.timeline import Timeline
from workers.hop import LEGEND
from workers.rides.drivers import drivers
from workers.rides.edge import edge
from workers.rides.matching import matching
from workers.rides.payments import payments
from workers.rides.trips import PAYMENTS_DUE, RIDES_OFFERED, RIDES_REQUESTED

QUEUES = (RIDES_REQUESTED, PAYMENTS_DUE, RIDES_OFFERED)
TRIP = {"start": "Harbour", "end": "Museum"}
MAY = "payments:take rides:meet rides:request"

A_RIDE = (
    "edge: 202",
    f"edge: rosa as rider; for edge; may {MAY}; 300 s",
    f"matching: rosa by edge; as rider; for matching; may {MAY}; 300 s",
    "payments: rosa by matching, edge; as rider; for payments; may payments:take; 300 s",
    "drivers: rosa by matching, edge; as rider; for drivers; may rides:meet; 300 s",
    "matching: handled",
    "payments: handled",
    "drivers: handled",
)


@dataclass(frozen=True, slots=True)
class Rides(Town):
    """The town, and the door that riders knock at."""

    door: Starlette


@asynccontextmanager
async def set_up(amqp_url: str, timeline: Timeline, prefix: str) -> AsyncIterator[Rides]:
    """Start the four services."""
    services = ("edge", "matching")
    async with founded(amqp_url, timeline, prefix, services=services, queues=QUEUES) as town:
        place = town.place
        door = edge(place)
        async with open_for(town, drivers(place), payments(place), matching(place), door):
            yield Rides(place, town.idp, town.clock, town.broker, town.seen, door)


async def ride(stage: Rides) -> None:
    """Rosa wants to go to the museum."""
    await _ask(stage, _token(stage, "rosa"))


async def there_and_back(stage: Rides) -> None:
    """Rosa asks twice with one token; for the second ride the issuer is not asked again."""
    token = _token(stage, "rosa")
    await _ask(stage, token)
    await stage.record.until(*A_RIDE)
    asked = stage.asked()
    await _ask(stage, token)
    await stage.record.until(*A_RIDE, *A_RIDE)
    stage.record.add(f"issuer: asked {stage.asked() - asked} times")


async def without_money(stage: Rides) -> None:
    """Rob may ask for rides, and has nothing to pay them with: none is asked for."""
    await _ask(stage, _token(stage, "rob", scope="rides:meet rides:request"))


async def thief(stage: Rides) -> None:
    """Somebody in payments shows Rosa's token elsewhere: at the door, and in others' queues."""
    token = _token(stage, "rosa", aud="payments", scope="payments:take")
    await _ask(stage, token)
    for queue in (RIDES_REQUESTED, RIDES_OFFERED):
        await stage.broker.intrude(queue, b"{}", token)


async def edges_token(stage: Rides) -> None:
    """Somebody at the door goes to payments with what Rosa's phone sent, past matching."""
    await stage.broker.intrude(PAYMENTS_DUE, b"{}", _token(stage, "rosa"))


async def nothing_left(stage: Rides) -> None:
    """Look whether anything was forgotten."""
    await stage.nothing_waits()


def _token(stage: Rides, rider: str, *, aud: str = "edge", scope: str = MAY) -> str:
    return stage.token(rider, aud, scope=scope, roles=["rider"])


async def _ask(stage: Rides, token: str) -> None:
    await stage.ask(stage.door, "/rides", token=token, body=TRIP)


SCENES = (
    Scene("A ride", ride, A_RIDE),
    Scene("There and back", there_and_back, (*A_RIDE, *A_RIDE, "issuer: asked 0 times")),
    Scene(
        "A rider who cannot pay",
        without_money,
        (
            "edge: rob as rider; for edge; may rides:meet rides:request; 300 s",
            "edge: 403 exchange.refused",
        ),
    ),
    Scene(
        "What payments holds, elsewhere",
        thief,
        (
            "edge: 401 token.audience",
            "matching: refused token.audience",
            "rides.requested.rejected: token.audience",
            "drivers: refused token.audience",
            "rides.offered.rejected: token.audience",
        ),
    ),
    Scene(
        "What the door holds, at payments",
        edges_token,
        ("payments: refused token.audience", "payments.due.rejected: token.audience"),
    ),
    Scene("Afterwards", nothing_left, tuple(f"{queue}: 0 waiting" for queue in QUEUES)),
)

_STARTS = "Starting the ride: edge, matching, payments, drivers."
RIDES = Chain(f"{_STARTS}\n{LEGEND}", set_up, SCENES)
