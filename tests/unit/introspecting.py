"""What the tests of introspection share: an issuer in process, and who asks it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from busauth.errors import Deferred, Refused
from busauth.testing import Issuer, ManualClock
from busauth.testing.issuer import IssuerTransport
from busauth.testing.trust import IssuerKeys
from busauth.tokens import ClientSecretBasic, Fetcher, Introspection, IntrospectionOptions, Verified
from tests.unit.issuer_fronts import make_issuer
from tests.unit.support import AUDIENCE, NOW, proven_by

PATH = "/introspect"
OPAQUE = "an-opaque-token"


def basic(issuer: Issuer) -> ClientSecretBasic:
    return ClientSecretBasic(issuer.client.client_id, issuer.client.secret)


def asks(idp: Issuer, fetcher: Fetcher, **settings: Any) -> Introspection:
    """Return who asks this issuer."""
    usual: dict[str, Any] = {
        "issuer": idp.url,
        "audience": AUDIENCE,
        "client": basic(idp),
        "leeway": 0,
        "fetcher": fetcher,
        "clock": idp.clock,
    }
    return Introspection(f"{idp.url}{PATH}", **usual | settings)


@dataclass(frozen=True)
class Asked:
    """An issuer in process, what it was asked, and who asks."""

    issuer: Issuer
    clock: ManualClock
    transport: IssuerTransport
    introspection: Introspection

    async def code(self, token: str) -> str:
        """Return what becomes of a token: whose it is, or why not."""
        return await outcome(self.introspection, token)

    def answers(self, body: object, status: int = 200) -> None:
        """Answer this from now on, whatever is asked."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.transport.replies[PATH] = (status, text)


async def outcome(asked: Any, token: str) -> str:
    """Return the subject, the code of the refusal, or that it is deferred."""
    try:
        verified: Verified = await proven_by(asked, token)
    except Refused as refused:
        return refused.code
    except Deferred:
        return "deferred"
    return verified.caller.subject


def asked(
    *, signed: bool = False, options: Mapping[str, Any] | None = None, **settings: Any
) -> Asked:
    """Return an issuer in process and who asks it."""
    clock = ManualClock(NOW)
    issuer = make_issuer(clock=clock)
    transport = issuer.transport()
    if signed:
        settings["keys"] = IssuerKeys(issuer)
    if options is not None:
        settings["options"] = IntrospectionOptions(**options)
    introspection = asks(issuer, Fetcher(transport=transport), **settings)
    return Asked(issuer, clock, transport, introspection)


def active(**changes: Any) -> dict[str, Any]:
    """Return an answer about a token that counts; `...` takes a member away."""
    usual: dict[str, Any] = {
        "active": True,
        "iss": "https://issuer.test",
        "sub": "alice",
        "aud": AUDIENCE,
        "client_id": "shop-web",
        "scope": "orders:read orders:write",
        "iat": int(NOW),
        "exp": int(NOW) + 300,
    }
    return {name: value for name, value in (usual | changes).items() if value is not ...}


class Scripted(httpx.AsyncBaseTransport):
    """Answers with what a function returns."""

    def __init__(self, respond: Any) -> None:
        self._respond = respond

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer: httpx.Response = await self._respond(request)
        return answer
