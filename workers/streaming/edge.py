"""The door: whatever a device presents, it becomes one transaction token, and comes no further.

The transaction is for one thing, to be played. What is played, on which plan and with what goes
into it here, once, where all of that is known.
"""

from itertools import count

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from busauth import Caller
from busauth.delegation import TransactionTokens
from busauth.integrations.starlette import authenticated, lifespan, problems
from busauth.tokens import SessionStore
from workers.place import Place
from workers.streaming.devices import SESSIONS, devices
from workers.streaming.domain import inner_bus
from workers.streaming.plays import PLAYS_BEGUN, Play


def edge(place: Place, sessions: SessionStore, service: TransactionTokens) -> Starlette:
    """Return the application."""
    guard, bus, numbers = devices(place, sessions), inner_bus(place, "edge"), count(1)

    async def begun(viewer: Caller, title: str) -> str:
        """Begin a transaction; for a session the door signs itself, as no issuer knows it."""
        details = {"title": title, "plan": viewer.claims["plan"]}
        with_what = {"device": viewer.claims["device"]}
        if viewer.issuer == SESSIONS:
            had = await service.start(
                viewer.subject, scopes="play", context=with_what, details=details
            )
        else:
            had = await service.token_for(viewer, scopes="play", context=with_what, details=details)
        return had.token

    async def play(request: Request) -> Response:
        async with authenticated(guard, request, scopes={"play"}) as viewer:
            place.holds("edge", viewer)
            token = await begun(viewer, (await request.json())["title"])
        await bus.publish(place.queue(PLAYS_BEGUN), Play(id=next(numbers)), token=token)
        return JSONResponse({}, 202)

    return Starlette(
        routes=[Route("/plays", play, methods=["POST"])],
        exception_handlers=problems(),
        lifespan=lifespan(bus),
    )
