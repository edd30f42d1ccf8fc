"""Both ways of asking the test kit's issuer, for tests that hold for both."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.testing.issuer import Client
from busauth.testing.issuer.http.front import Front
from tests.unit.support import NOW

INACTIVE = {"active": False}
FRONTS = ("in process", "on a socket")


def make_issuer(**settings: Any) -> Issuer:
    """Return an issuer whose keys cost nothing, at `NOW`."""
    return Issuer(**{"algorithm": "ES256", "clock": ManualClock(NOW), **settings})


@dataclass(frozen=True)
class Idp:
    """An issuer, one way of asking it, and somebody who asks."""

    issuer: Issuer
    front: Front
    http: httpx.AsyncClient

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(f"{self.issuer.url}{path}")

    async def post(
        self,
        path: str,
        form: Mapping[str, str | list[str]],
        *,
        client: Client | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Post a form as this client, the issuer's own unless told otherwise."""
        basic = {"Authorization": (client or self.issuer.client).basic()}
        url = f"{self.issuer.url}{path}"
        return await self.http.post(url, data=dict(form), headers={**basic, **headers})


@asynccontextmanager
async def asking(kind: str, issuer: Issuer, *, url: str | None = None) -> AsyncIterator[Idp]:
    """Put a front before an issuer, and ask through it."""
    if kind == "in process":
        transport = issuer.transport()
        async with httpx.AsyncClient(transport=transport) as http:
            yield Idp(issuer, transport, http)
        return
    with IssuerServer(issuer, url=url) as server:
        async with httpx.AsyncClient(trust_env=False) as http:
            yield Idp(issuer, server, http)


def check_error(answer: httpx.Response, code: str, status: int = 400) -> None:
    """Hold an answer to RFC 6749, section 5.2."""
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def introspected(idp: Idp, token: str, client: Client | None = None) -> dict[str, Any]:
    """Return what this client is told of a token."""
    answer = await idp.post("/introspect", {"token": token}, client=client)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found: dict[str, Any] = answer.json()
    return found
