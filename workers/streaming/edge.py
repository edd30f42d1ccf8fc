"""The door: whatever a device presents, it becomes one transaction token, and comes no further.

Three kinds of credentials are told apart by who can prove them. From here on nobody has to know
which it was, and the transaction may do one thing: be played.
"""

from collections.abc import Mapping
from itertools import count

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from busauth import Caller, Guard, Verifier
from busauth.delegation import TransactionTokens
from busauth.integrations.starlette import authenticated, lifespan, problems
from busauth.tokens import (
    RFC9068,
    Authenticators,
    ClientSecretBasic,
    Introspection,
    Sessions,
    SessionStore,
)
from workers.place import Place
from workers.streaming.domain import inner_bus
from workers.streaming.plays import PLAYS_BEGUN, Play

SESSIONS = "sessions"
"""Whose word a session is; the identity provider knows nothing of them."""


def edge(place: Place, sessions: SessionStore, service: TransactionTokens) -> Starlette:
    """Return the application."""
    devices, bus = _devices(place, sessions), inner_bus(place, "edge")
    numbers = count(1)

    async def begun(viewer: Caller, title: str) -> str:
        """Have a transaction begin: of a session the door says itself whose it is."""
        details = {"title": title, "plan": viewer.claims["plan"]}
        rctx = {"device": viewer.claims["device"]}
        asked: Mapping[str, object] = {"scopes": "play", "context": rctx, "details": details}
        if viewer.issuer == SESSIONS:
            return (await service.start(viewer.subject, **asked)).token
        return (await service.token_for(viewer, **asked)).token

    async def play(request: Request) -> Response:
        async with authenticated(devices, request, scopes={"play"}) as viewer:
            place.holds("edge", viewer)
            token = await begun(viewer, (await request.json())["title"])
        await bus.publish(place.queue(PLAYS_BEGUN), Play(id=next(numbers)), token=token)
        return JSONResponse({}, 202)

    return Starlette(
        routes=[Route("/plays", play, methods=["POST"])],
        exception_handlers=problems(),
        lifespan=lifespan(bus),
    )


def _devices(place: Place, sessions: SessionStore) -> Guard:
    """Return who judges what devices present."""
    names = {"issuer": place.issuer, "audience": "edge"}
    return Guard(
        Authenticators(
            Verifier(place.keys, profile=RFC9068, leeway=0, **names),
            Sessions(sessions, issuer=SESSIONS, audience="edge", prefix="s_", clock=place.clock),
            Introspection(
                f"{place.issuer}/introspect",
                client=ClientSecretBasic("edge", place.secrets["edge"]),
                clock=place.clock,
                **names,
            ),
        ),
        clock=place.clock,
    )
