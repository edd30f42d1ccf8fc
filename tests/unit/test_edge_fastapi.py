"""What is FastAPI's alone: scopes that add up, OpenAPI, and dependencies around a route."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket

from busauth import (
    Caller,
    CallerError,
    ConfigurationError,
    DeadLetter,
    Grace,
    Guard,
    Restrict,
    ValidWhenPublished,
)
from busauth.caller import current_lease
from busauth.integrations.fastapi import CallerBearer, problems
from busauth.testing import Issuer
from tests.support import Trail, guard_for
from tests.unit.edges import bearer_of, living

Found = list[str]


@pytest.fixture
def guard(issuer: Issuer) -> Guard:
    return guard_for(issuer, Trail())


@pytest.fixture
def bearer(guard: Guard) -> CallerBearer:
    return CallerBearer(guard)


@pytest.fixture
def app() -> FastAPI:
    return FastAPI(exception_handlers=problems())


def held() -> str:
    """Return what the lease in scope says."""
    try:
        return current_lease().token() and "open"
    except CallerError as error:
        return str(error)


async def test_scopes_of_nested_dependencies_add_up(
    app: FastAPI, bearer: CallerBearer, issuer: Issuer
) -> None:
    """All of them are demanded: the route's, those of what it depends on, and its router's."""

    def customer(caller: Annotated[Caller, Security(bearer, scopes=["profile"])]) -> str:
        return caller.subject

    router = APIRouter(dependencies=[Security(bearer, scopes=["shop"])])

    @router.get("/orders")
    async def orders(name: Annotated[str, Security(customer, scopes=["orders:read"])]) -> str:
        return name

    app.include_router(router)
    async with living(app) as client:
        for scope, status in (
            ("shop profile orders:read", 200),
            ("shop profile", 403),
            ("shop orders:read", 403),
            ("profile orders:read", 403),
        ):
            headers = bearer_of(issuer, scope=scope)
            answer = await client.get("/orders", headers=headers)
            assert answer.status_code == status, scope
        headers = bearer_of(issuer, scope="shop")
        challenge = (await client.get("/orders", headers=headers)).headers["www-authenticate"]
    assert challenge == (
        'Bearer realm="api", error="insufficient_scope", scope="orders:read profile"'
    )
    (security,) = app.openapi()["paths"]["/orders"]["get"]["security"]
    assert sorted(security["bearer"]) == ["orders:read", "profile", "shop"]


def test_openapi_shows_the_scheme(app: FastAPI, guard: Guard) -> None:
    """It is a bearer scheme of JWTs, under the name that the application gives it."""
    staff = CallerBearer(guard, roles=["clerk"], scheme_name="staff", description="Clerks.")

    @app.get("/orders")
    async def orders(caller: Annotated[Caller, Security(staff)]) -> None:
        """Nobody asks."""

    shown = app.openapi()
    assert shown["components"]["securitySchemes"] == {
        "staff": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Clerks.",
        }
    }
    assert shown["paths"]["/orders"]["get"]["security"] == [{"staff": []}]
    assert "requestBody" not in shown["paths"]["/orders"]["get"]
    assert "parameters" not in shown["paths"]["/orders"]["get"]


async def test_roles_are_demanded_of_every_caller(
    app: FastAPI, guard: Guard, issuer: Issuer
) -> None:
    """A bearer of its own for those who have a role."""
    staff = CallerBearer(guard, roles=["clerk"])

    @app.get("/orders")
    async def orders(caller: Annotated[Caller, Security(staff)]) -> str:
        return caller.subject

    async with living(app) as client:
        answers = [
            await client.get("/orders", headers=bearer_of(issuer, roles=roles))
            for roles in (["clerk"], ["guest"])
        ]
    assert [answer.status_code for answer in answers] == [200, 403]
    assert answers[1].json()["code"] == "caller.role"


async def test_a_dependency_around_the_route_is_nobody_behind_it(
    app: FastAPI, bearer: CallerBearer, issuer: Issuer
) -> None:
    """What a dependency does as it ends, once the answer is sent, is in nobody's name."""
    found: Found = []

    async def session(
        caller: Annotated[Caller, Security(bearer)],
    ) -> AsyncIterator[Caller]:
        found.append(held())
        yield caller
        found.append(held())

    @app.get("/orders")
    async def orders(caller: Annotated[Caller, Depends(session)]) -> None:
        found.append(held())

    async with living(app) as client:
        assert (await client.get("/orders", headers=bearer_of(issuer))).status_code == 200
    assert found[:2] == ["open", "open"]
    assert "no caller is in scope" in found[2]


async def test_a_route_in_a_thread_has_its_caller(
    app: FastAPI, bearer: CallerBearer, issuer: Issuer
) -> None:
    """A plain function, which runs in a thread, and what it hands to the loop, are its caller's."""
    loop = asyncio.get_running_loop()

    async def in_the_loop() -> str:
        return held()

    @app.get("/orders")
    def orders(caller: Annotated[Caller, Security(bearer)]) -> list[str]:
        return [held(), asyncio.run_coroutine_threadsafe(in_the_loop(), loop).result()]

    async with living(app) as client:
        answer = await client.get("/orders", headers=bearer_of(issuer))
    assert answer.json() == ["open", "open"]


async def test_a_body_that_is_wrong_is_told_to_callers_alone(
    app: FastAPI, bearer: CallerBearer, issuer: Issuer
) -> None:
    """A stranger learns nothing of what an order has to be."""

    @app.post("/orders")
    async def orders(number: int, caller: Annotated[Caller, Security(bearer)]) -> None:
        """Nobody gets here."""

    async with living(app) as client:
        stranger = await client.post("/orders")
        caller = await client.post("/orders", headers=bearer_of(issuer))
    assert (stranger.status_code, caller.status_code) == (401, 422)


@pytest.mark.parametrize(
    ("scopes", "told"),
    [("orders:write", "letter by letter"), (["orders:write profile"], "without blanks")],
)
async def test_scopes_that_are_written_wrongly_are_told(
    app: FastAPI, bearer: CallerBearer, issuer: Issuer, scopes: Any, told: str
) -> None:
    """One string is no list of scopes, and one with a blank is no scope."""

    @app.get("/orders")
    async def orders(caller: Annotated[Caller, Security(bearer, scopes=scopes)]) -> None:
        pytest.fail("somebody was let in")

    network = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=network, base_url="http://edge.test") as client:
        with pytest.raises(ConfigurationError, match=told):
            await client.get("/orders", headers=bearer_of(issuer))


def test_a_websocket_is_not_let_in(app: FastAPI, bearer: CallerBearer, issuer: Issuer) -> None:
    """A connection that would outlive its token is none that a bearer can speak for."""

    @app.websocket("/orders")
    async def orders(socket: WebSocket, caller: Annotated[Caller, Security(bearer)]) -> None:
        await socket.accept()
        pytest.fail("somebody was let in")

    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    header = bearer_of(issuer)["authorization"].encode()
    scope = {"type": "websocket", "path": "/orders", "query_string": b"", "subprotocols": []}
    scope["headers"] = [(b"authorization", header)]
    asyncio.run(app(scope, receive, send))
    assert said == [
        {
            "type": "websocket.close",
            "code": 1008,
            "reason": "callers are not let in here: a connection may outlive its caller's token",
        }
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"guard": "guard"},
        {"roles": 3},
        {"roles": [""]},
        {"on_expired": [DeadLetter(), Grace(minutes=5)]},
        {"on_expired": Grace(hours=9600)},
        {"on_expired": Restrict(roles=["guest"]), "roles": ["clerk"]},
        {"on_expired": ValidWhenPublished(minutes=5, sources=["web"])},
    ],
)
def test_a_bearer_that_is_declared_wrongly(guard: Guard, arguments: dict[str, Any]) -> None:
    """It is told where it is made."""
    with pytest.raises(ConfigurationError):
        CallerBearer(**({"guard": guard} | arguments))
