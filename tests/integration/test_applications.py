"""The edge in docs/applications.md runs as it stands there, and answers as its table says."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from busauth.testing import Issuer, IssuerServer
from tests.support import Broker

PAGE = Path(__file__).parents[2] / "docs" / "applications.md"
(EDGE,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    if "Starlette(" in block
]


@pytest.fixture
def queue(broker: Broker) -> str:
    return broker.name("orders.placed")


async def test_the_edge_in_the_docs(broker: Broker, url: str, queue: str) -> None:
    """Unroutable until somebody has declared the queue; then accepted, refused or invalid."""
    with IssuerServer(Issuer()) as server:
        issuer = server.issuer
        names = {
            "https://idp.example": issuer.url,
            '"shop"': f'"{issuer.audience}"',
            "amqp://localhost/": url,
            "orders.placed": queue,
        }
        code = re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], EDGE)
        scope: dict[str, Any] = {"__name__": "edge"}
        exec(compile(code, PAGE.name, "exec"), scope)
        app = scope["app"]
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge")

        async def post(body: str, token: str | None) -> httpx.Response:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            return await client.post("/orders", content=body, headers=headers)

        may = issuer.token("ann", scope="orders:write")
        async with client:
            assert (await client.get("/ready")).status_code == 503
            async with app.router.lifespan_context(app):
                assert (await client.get("/ready")).text == "ready"
                assert (await post('{"id": 7}', may)).status_code == 503
                await broker.declare("orders.placed")
                assert (await post('{"id": 7}', may)).status_code == 202
                assert (await post("{}", may)).status_code == 422
                nobody = await post('{"id": 7}', None)
                assert (nobody.status_code, nobody.json()["code"]) == (401, "header.missing")
                may_not = await post('{"id": 7}', issuer.token("bob"))
                assert (may_not.status_code, may_not.json()["code"]) == (403, "caller.scope")
            assert (await post('{"id": 7}', may)).status_code == 503
        (message,) = await broker.take(queue)
        assert json.loads(message.body) == {"id": 7}
