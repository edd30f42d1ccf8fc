"""Where somebody hands work to the agent: with less than they may do themselves, and for a day.

Here they may book as well, in their own name. What the agent gets for them is a voucher, of which
nobody but atlas can make anything, with what the job needs: it may look and hold, never book.
"""

from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from busauth.integrations.starlette import authenticated, lifespan, problems
from workers.agents.atlas import tool, voucher
from workers.agents.jobs import SEARCHES_DUE, TO_SEARCH, Job
from workers.place import Place


def desk(place: Place, flights: Starlette) -> Starlette:
    """Return the application."""
    due = place.queue(SEARCHES_DUE)
    bus = place.bus("desk", onward={due: voucher(place, "desk", TO_SEARCH)})
    booking = tool(place, flights, "flights", "flights:book", by="desk")

    async def ask(request: Request) -> Response:
        async with authenticated(bus, request, scopes=TO_SEARCH) as user:
            place.holds("desk", user)
            job = Job.model_validate({"id": uuid4(), **await request.json()})
            await bus.publish(due, job)
        return JSONResponse({"job": str(job.id)}, 202)

    async def book(request: Request) -> Response:
        async with authenticated(bus, request, scopes={"flights:book"}) as user:
            place.holds("desk", user)
            answer = await booking.post("/bookings", json=await request.json())
        return JSONResponse(answer.json(), answer.status_code)

    return Starlette(
        routes=[
            Route("/jobs", ask, methods=["POST"]),
            Route("/bookings", book, methods=["POST"]),
        ],
        exception_handlers=problems(),
        lifespan=lifespan(bus),
    )
