"""One application in two frameworks: a route that knows its caller and does what a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import BackgroundTasks, FastAPI, Request, Response, Security
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.routing import Route

from busauth import Bus, Caller, Guard
from busauth.caller import caller_in_scope
from busauth.integrations.fastapi import CallerBearer
from busauth.integrations.starlette import authenticated, lifespan, problems, readiness
from busauth.testing import Issuer

Job = Callable[[Caller, BackgroundTasks], Awaitable[Any]]
Make = Callable[..., Starlette]


def told(said: Any, tasks: BackgroundTasks) -> Response:
    """Return what a job said, and do its background tasks behind that."""
    response = said if isinstance(said, Response) else JSONResponse(said)
    response.background = tasks
    return response


async def whoever(_: Request) -> Response:
    """Ask nobody, and tell whether somebody is in scope."""
    return JSONResponse(caller_in_scope())


def in_starlette(guard: Guard | Bus, job: Job, *buses: Bus, **demands: Any) -> Starlette:
    """Return it as a Starlette application."""

    async def route(request: Request) -> Response:
        tasks = BackgroundTasks()
        async with authenticated(guard, request, scopes=["orders:write"], **demands) as caller:
            said = await job(caller, tasks)
        return told(said, tasks)

    ready = [Route("/ready", readiness(*buses))] if buses else []
    return Starlette(
        routes=[
            Route("/orders", route, methods=["POST"]),
            Route("/whoever", whoever),
            *ready,
        ],
        exception_handlers=problems(),
        lifespan=lifespan(*buses) if buses else None,
    )


def in_fastapi(guard: Guard | Bus, job: Job, *buses: Bus, **demands: Any) -> Starlette:
    """Return it as a FastAPI application."""
    app = FastAPI(lifespan=lifespan(*buses) if buses else None, exception_handlers=problems())
    bearer = CallerBearer(guard, **demands)

    @app.post("/orders")
    async def route(
        caller: Annotated[Caller, Security(bearer, scopes=["orders:write"])],
        tasks: BackgroundTasks,
    ) -> Response:
        return told(await job(caller, tasks), tasks)

    app.get("/whoever")(whoever)
    if buses:
        app.get("/ready")(readiness(*buses))
    return app


EDGES: tuple[Make, ...] = (in_starlette, in_fastapi)


@asynccontextmanager
async def living(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Let an application live, and ask it without sockets."""
    network = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=network, base_url="http://edge.test") as client,
    ):
        yield client


def bearer_of(issuer: Issuer, subject: str = "ann", **claims: Any) -> dict[str, str]:
    """Return the header of somebody who may write orders."""
    token = issuer.token(subject, **({"scope": "orders:write"} | claims))
    return {"authorization": f"Bearer {token}"}
