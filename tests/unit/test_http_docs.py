"""The document's examples run as they stand there, and answer as its tables say."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from busauth.testing import Broker, Kit, ManualClock
from tests.unit.support import as_sent

PAGE = Path(__file__).parents[2] / "docs" / "http.md"
TEXT = PAGE.read_text("utf-8")
FASTAPI, STARLETTE, HTTPX, TEST = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
async def kit(clock: ManualClock) -> AsyncIterator[Kit]:
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        yield kit


def run(*blocks: str) -> dict[str, Any]:
    """Return what is defined by blocks that stand below each other."""
    names: dict[str, Any] = {"__name__": "web"}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)  # the document's own code
    return names


@pytest.mark.parametrize("blocks", [(FASTAPI,), (FASTAPI, STARLETTE)], ids=["fastapi", "starlette"])
async def test_an_order_goes_all_the_way(blocks: tuple[str, ...], kit: Kit) -> None:
    """The page's own test passes for both applications: asked, published, handled, sent on."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(as_sent(request))
        return httpx.Response(201)

    names = run(*blocks, HTTPX, TEST)
    auth = names["stock"].auth
    await names["stock"].aclose()
    async with httpx.AsyncClient(auth=auth, transport=httpx.MockTransport(answer)) as stock:
        names["stock"] = stock
        await names["test_an_order_over_http"](kit)
    (request,) = asked
    assert (str(request.url), request.content) == (
        "https://stock.example/reservations",
        b'{"order":7}',
    )
    assert request.headers["authorization"].startswith("Bearer ey")


def test_openapi_shows_what_the_page_says() -> None:
    """A bearer scheme, and the scopes of the route."""
    app: FastAPI = run(FASTAPI)["app"]
    shown = app.openapi()
    assert shown["paths"]["/orders"]["post"]["security"] == [{"bearer": ["orders:write"]}]
    assert shown["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_answers_are_those_of_the_table(kit: Kit) -> None:
    """What the rows about tokens tell is what a client gets, in their order."""
    rows = re.findall(r"^\| .+ \| (40\d) \| `(.+)`", TEXT, re.MULTILINE)
    (_, plain), *others = rows
    told = [(401, plain)]
    for status, error in others:
        told.append((int(status), plain.replace("scope=", f"{error}, scope=")))
    names = run(FASTAPI)
    network = httpx.ASGITransport(names["app"])
    found = []
    async with (
        kit.using(names["bus"]),
        httpx.AsyncClient(transport=network, base_url="http://web") as client,
    ):
        late, lacking = kit.issuer.token(exp=1), kit.issuer.token(scope="orders:read")
        for value in ("Basic YTpi", "Bearer a b", f"Bearer {late}", f"Bearer {lacking}"):
            headers = {"authorization": value}
            answer = await client.post("/orders", json={"id": 7}, headers=headers)
            found.append((answer.status_code, answer.headers["www-authenticate"]))
    assert found == told
