"""What is Starlette's alone: lifespans of several buses, and what is declared wrongly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from busauth import Bus, ConfigurationError, Guard
from busauth.integrations.starlette import authenticated, lifespan, problems, readiness
from busauth.testing import Issuer
from tests.support import Trail, guard_for
from tests.unit.edges import living


class Noted(Bus):
    """A bus that notes its start and its end, and ends once all others do."""

    def __init__(self, name: str, notes: list[str], ends: asyncio.Barrier, **fails: bool) -> None:
        super().__init__("amqp://nowhere.invalid/", guard=guard(), service=name)
        self.name, self.notes, self.ends, self.fails = name, notes, ends, fails

    async def __aenter__(self) -> Self:
        if self.fails.get("start"):
            raise ConnectionError(self.name)
        self.notes.append(f"{self.name} starts")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ends.wait()
        self.notes.append(f"{self.name} ends")
        if self.fails.get("end"):
            raise RuntimeError(self.name)


def guard() -> Guard:
    return guard_for(Issuer(), Trail())


async def test_an_application_lives_inside_of_its_buses() -> None:
    """They start in order before its own lifespan, whose state it has, and end together after."""
    notes: list[str] = []
    ends = asyncio.Barrier(2)

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncIterator[dict[str, str]]:
        notes.append(f"{type(app).__name__} starts")
        yield {"stock": "warm"}
        notes.append("it ends")

    buses = lifespan(Noted("orders", notes, ends), Noted("web", notes, ends), own=own)
    app = Starlette(lifespan=buses)
    async with asyncio.timeout(5), app.router.lifespan_context(app) as state:
        assert state == {"stock": "warm"}
    assert notes[:4] == ["orders starts", "web starts", "Starlette starts", "it ends"]
    assert sorted(notes[4:]) == ["orders ends", "web ends"]


async def test_one_that_does_not_start_ends_the_others() -> None:
    """The application does not start either, and says why."""
    notes: list[str] = []
    first = Noted("orders", notes, asyncio.Barrier(1))
    second = Noted("web", notes, asyncio.Barrier(1), start=True)
    with pytest.raises(ConnectionError, match="web"):
        async with lifespan(first, second)(Starlette()):
            pytest.fail("it lives")
    assert notes == ["orders starts", "orders ends"]


async def test_one_that_ends_badly_does_not_keep_the_others() -> None:
    """All end, and the first fault is told."""
    notes: list[str] = []
    ends = asyncio.Barrier(2)
    buses = Noted("orders", notes, ends, end=True), Noted("web", notes, ends)
    with pytest.raises(RuntimeError, match="orders"):
        async with lifespan(*buses)(Starlette()):
            pass
    assert sorted(notes[2:]) == ["orders ends", "web ends"]


async def test_several_that_end_badly_are_all_told() -> None:
    """None of them is lost behind another one."""
    ends = asyncio.Barrier(2)
    buses = Noted("orders", [], ends, end=True), Noted("web", [], ends, end=True)
    with pytest.raises(ExceptionGroup) as failed:
        async with lifespan(*buses)(Starlette()):
            pass
    assert [str(each) for each in failed.value.exceptions] == ["orders", "web"]


@pytest.mark.parametrize("start", [True, False], ids=["start", "body"])
async def test_what_failed_first_is_told_first(
    start: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A bus that ends badly hides neither why another did not start nor the application's error."""
    first = Noted("orders", [], asyncio.Barrier(1), end=True)
    buses = [first, Noted("web", [], asyncio.Barrier(1), start=True)] if start else [first]
    with pytest.raises(ConnectionError, match="web"):
        async with lifespan(*buses)(Starlette()):
            raise ConnectionError("web")
    assert "RuntimeError: orders" in caplog.text


async def test_a_challenge_names_the_realm_and_what_can_be_quoted() -> None:
    """A scope that no challenge can name is left out alone; the realm is the application's."""

    async def route(request: Request) -> Response:
        async with authenticated(guard(), request, scopes=['"', "orders:write"]):
            pytest.fail("somebody was let in")

    app = Starlette(
        routes=[Route("/", route)], exception_handlers=problems(realm="shop", retry_after=60)
    )
    async with living(app) as client:
        assert (await client.get("/")).headers["www-authenticate"] == (
            'Bearer realm="shop", scope="orders:write"'
        )


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: problems(realm='a"b'), "realm="),
        (lambda: problems(realm=""), "realm="),
        (lambda: problems(realm="a\r\nx: y"), "realm="),
        (lambda: problems(retry_after=-1), "seconds from 0"),
        (lambda: lifespan(guard()), "expected"),  # type: ignore[arg-type]
        (lifespan, "got no bus"),
        (readiness, "got no bus"),
        (lambda: lifespan(Bus("amqp://x/", guard=guard(), service="web"), own=3), "own="),  # type: ignore[arg-type]
        (lambda: readiness("orders"), "expected"),  # type: ignore[arg-type]
        (lambda: authenticated("guard", Request({"type": "http"})), "expected"),  # type: ignore[arg-type]
    ],
)
def test_what_is_declared_wrongly_is_told(made: Any, told: str) -> None:
    """It is a sentence where it is said, before anybody asks."""
    with pytest.raises(ConfigurationError, match=told):
        made()


async def test_a_client_that_goes_away_while_it_is_read(issuer: Issuer) -> None:
    """What the route raises then ends its caller's scope, as any other error does."""
    found: list[str] = []

    async def route(request: Request) -> Response:
        async with authenticated(guard_for(issuer, Trail()), request) as caller:
            try:
                await request.body()
            finally:
                found.append(repr(caller._lease))
                leases.append(caller)
        pytest.fail("there was a body")

    leases: list[Any] = []
    app = Starlette(routes=[Route("/", route)])
    header = f"Bearer {issuer.token()}".encode()
    scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"",
        "headers": [(b"authorization", header)],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """Nobody hears it."""

    with pytest.raises(Exception, match=r"^$") as gone:
        await app(scope, receive, send)
    assert type(gone.value).__name__ == "ClientDisconnect"
    assert [*found, repr(leases[0]._lease)] == ["<Lease open>", "<Lease ended>"]
