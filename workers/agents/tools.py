"""What the agent works with, over HTTP: flights and a mailbox. Each takes tokens for itself alone.

They know nothing of agents, vouchers or queues, but for one thing: a flight is booked by people.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from busauth.delegation import NO_ACTOR
from busauth.integrations.starlette import authenticated, problems
from workers.place import Place


def flights(place: Place) -> Starlette:
    """Return the application where flights are looked for, held and booked."""
    guard = place.guard("flights")

    async def search(request: Request) -> Response:
        async with authenticated(guard, request, scopes={"flights:search"}) as user:
            place.holds("flights", user)
        return JSONResponse({"flight": "LX 1820"})

    async def hold(request: Request) -> Response:
        async with authenticated(guard, request, scopes={"flights:hold"}) as user:
            place.holds("flights", user)
        return JSONResponse({}, 201)

    async def book(request: Request) -> Response:
        booking = authenticated(guard, request, scopes={"flights:book"}, actors=NO_ACTOR)
        async with booking as user:
            place.holds("flights", user)
        return JSONResponse({}, 201)

    return Starlette(
        routes=[
            Route("/flights", search),
            Route("/holds", hold, methods=["POST"]),
            Route("/bookings", book, methods=["POST"]),
        ],
        exception_handlers=problems(),
    )


def mailbox(place: Place) -> Starlette:
    """Return the application that sends mails in somebody's name."""
    guard = place.guard("mailbox")

    async def send(request: Request) -> Response:
        async with authenticated(guard, request, scopes={"mail:send"}) as user:
            place.holds("mailbox", user)
        return JSONResponse({}, 201)

    return Starlette(
        routes=[Route("/mails", send, methods=["POST"])], exception_handlers=problems()
    )
