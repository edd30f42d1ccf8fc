"""Where the rider's phone asks: it may ask for a ride in their name, and hand on what that takes.

What goes on is a token for matching alone. Whoever finds it in the queue can neither come back to
this door with it, nor go to payments past matching.
"""

from uuid import uuid4

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from busauth.delegation import Onward
from busauth.integrations.starlette import authenticated, lifespan, problems
from workers.place import Place
from workers.rides.trips import RIDES_REQUESTED, TO_MATCH, Trip


class Wish(BaseModel):
    """What a rider sends."""

    start: str
    end: str


def edge(place: Place) -> Starlette:
    """Return the application."""
    requested = place.queue(RIDES_REQUESTED)
    to_matching = Onward(place.exchange("edge"), audience="matching", scopes=TO_MATCH)
    bus = place.bus("edge", onward={requested: to_matching})

    async def ask(request: Request) -> Response:
        async with authenticated(bus, request, scopes={"rides:request"}) as rider:
            place.holds("edge", rider)
            wish = Wish.model_validate_json(await request.body())
            trip = Trip(id=uuid4(), start=wish.start, end=wish.end)
            await bus.publish(requested, trip)
        return JSONResponse({"trip": str(trip.id)}, 202)

    return Starlette(
        routes=[Route("/rides", ask, methods=["POST"])],
        exception_handlers=problems(),
        lifespan=lifespan(bus),
    )
