"""The gateway's answers: 202, or problem details with the refusal's code."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from busauth import Guard
from busauth.testing import Issuer, IssuerServer
from tests.workers.conftest import Door, StubBus
from workers import edge, gateway, shop

TEAPOT = {"item": "teapot"}


@pytest.fixture
async def client(
    monkeypatch: pytest.MonkeyPatch, bus: StubBus, door: Door
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(gateway, "bus", bus)
    monkeypatch.setattr(gateway, "guard", door.guard)
    transport = httpx.ASGITransport(app=gateway.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


def check_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["code"]) == (status, code)


async def test_an_order_is_published_with_its_token(
    client: httpx.AsyncClient, bus: StubBus, door: Door
) -> None:
    """A good request is answered with 202, and its token goes onto the bus."""
    headers = door.bearer()
    answer = await client.post("/orders", json=TEAPOT, headers=headers)
    [(queue, order, token)] = bus.published
    assert (answer.status_code, answer.json()) == (202, {"order": str(order.id)})  # type: ignore[attr-defined]
    assert (queue, f"Bearer {token}") == (shop.ORDERS_PLACED, headers["authorization"])


async def test_permissions_are_not_the_gateways_question(
    client: httpx.AsyncClient, bus: StubBus, door: Door
) -> None:
    """A caller without the scope gets past the gateway; the orders worker judges it."""
    answer = await client.post("/orders", json=TEAPOT, headers=door.bearer("bob"))
    assert (answer.status_code, len(bus.published)) == (202, 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "bank"}, "token.audience"),
        ({"exp": 1}, "token.expired"),
        ({"iss": "https://elsewhere.test"}, "token.issuer"),
    ],
)
async def test_a_bad_token_is_answered_with_its_code(
    client: httpx.AsyncClient, bus: StubBus, door: Door, changes: dict[str, object], code: str
) -> None:
    """A refusal is a 401 with its code and a challenge, without evidence; nothing is published."""
    answer = await client.post("/orders", json=TEAPOT, headers=door.bearer("alice", **changes))
    check_problem(answer, 401, code)
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert set(answer.json()) == {"type", "title", "status", "code"}
    assert bus.published == []


async def test_no_token_is_a_401(client: httpx.AsyncClient) -> None:
    """A request without Authorization is told so."""
    check_problem(await client.post("/orders", json=TEAPOT), 401, "header.missing")


async def test_a_forbidden_request_is_a_403(door: Door) -> None:
    """What lacks a permission is answered with 403 wherever the edge asks for one."""

    async def guarded(request: Request) -> Response:
        await edge.authenticate(door.guard, request, scopes={"shop:close"})
        return Response()

    app = Starlette(routes=[Route("/", guarded)], exception_handlers=edge.ANSWERS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as other:
        answer = await other.get("http://shop/", headers=door.bearer())
    check_problem(answer, 403, "caller.scope")
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'


async def test_keys_out_of_reach_are_a_503(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, bus: StubBus
) -> None:
    """An issuer that is down is nobody's fault: the client may try again later."""
    with IssuerServer(Issuer()) as server:
        server.down = True
        issuer = server.issuer
        monkeypatch.setattr(gateway, "guard", Guard(issuer=issuer.url, audience="shop"))
        headers = {"authorization": f"Bearer {issuer.token()}"}
        answer = await client.post("/orders", json=TEAPOT, headers=headers)
    check_problem(answer, 503, "temporarily.unavailable")
    assert answer.headers["retry-after"] == "5"
    assert bus.published == []


async def test_an_unconfirmed_order_is_a_503(
    client: httpx.AsyncClient, bus: StubBus, door: Door
) -> None:
    """What the broker did not confirm was not taken."""
    bus.broken = True
    answer = await client.post("/orders", json=TEAPOT, headers=door.bearer())
    check_problem(answer, 503, "temporarily.unavailable")


@pytest.mark.parametrize("body", [b"", b"{", b'{"quantity": 2}', b'{"item": "x", "quantity": 0}'])
async def test_a_bad_body_is_a_400(
    client: httpx.AsyncClient, bus: StubBus, door: Door, body: bytes
) -> None:
    """A body that is no order is told so, after its sender was authenticated."""
    answer = await client.post("/orders", content=body, headers=door.bearer())
    check_problem(answer, 400, "body.invalid")
    assert bus.published == []
