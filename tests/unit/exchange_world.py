"""An issuer, a client of its exchange and a caller: what tests of an exchange share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from busauth import StaticKeys, Verifier, Verifiers
from busauth.delegation import (
    Exchanged,
    ExchangeOptions,
    Exchanger,
    ExchangeRequest,
    Subject,
    TokenExchange,
)
from busauth.errors import Deferred, Refused
from busauth.testing import Issuer, IssuerTransport, ManualClock
from busauth.testing.issuer import Request, Response
from busauth.tokens import ClientSecretBasic, Fetcher
from tests.unit.support import AUDIENCE, NOW, proven_by

Members = dict[str, Any]
Change = Callable[[Members], Members | bytes]


@dataclass
class World:
    """What a test of an exchange needs: `clock` is the issuer's and the client's."""

    issuer: Issuer
    clock: ManualClock
    transport: IssuerTransport
    idp: TokenExchange

    async def subject(self, name: str = "alice", **claims: Any) -> Subject:
        """Return somebody with a token of this issuer's, for the shop."""
        token = self.issuer.token(name, **{"scope": "orders:write payments:take", **claims})
        return await self.of(token)

    async def of(self, token: str) -> Subject:
        """Return whose token this is, proven."""
        keys = StaticKeys(self.issuer.jwks())
        verifier = Verifier(keys, issuer=self.issuer.url, audience=AUDIENCE)
        return Subject((await proven_by(Verifiers(verifier), token)).caller, token)

    def forms(self) -> list[dict[str, list[str]]]:
        """Return what was posted to the token endpoint, in order."""
        posted = (each for each in self.transport.received if each.path == "/token")
        return [parse_qs(each.body.decode()) for each in posted]

    def answering(self, change: Change, grant: str = "token-exchange", status: int = 200) -> None:
        """Have what the token endpoint gives changed: its members, or all of it, and its status."""

        def rewrite(request: Request, response: Response) -> Response:
            if request.path != "/token" or grant.encode() not in request.body:
                return response
            changed = change(json.loads(response.body))
            body = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
            return Response(status, response.headers, body)

        self.transport.rewrite = rewrite

    def claims_of(self, members: Members) -> Members:
        """Return what a token in an answer says."""
        claims = self.issuer.known(members["access_token"])
        assert claims is not None
        return claims


PAYMENTS = ExchangeRequest.of("payments", scopes="payments:take")


def make_world(
    acts: bool | str = False, options: ExchangeOptions | None = None, **named: Any
) -> World:
    """Return a world in which `orders` exchanges tokens."""
    clock = ManualClock(NOW)
    issuer = Issuer(algorithm="ES256", clock=clock)
    orders = issuer.register("orders")
    transport = issuer.transport()
    idp = TokenExchange(
        issuer.url,
        acts=acts,
        options=options,
        clock=clock,
        **{
            "client": ClientSecretBasic("orders", orders.secret),
            "fetcher": Fetcher(transport=transport),
            **named,
        },
    )
    return World(issuer, clock, transport, idp)


async def code_of(
    idp: Exchanger, subject: Subject, request: ExchangeRequest = PAYMENTS
) -> str | Exchanged:
    """Return what comes of an exchange: a token, a refusal's code, or "deferred"."""
    try:
        return await idp.exchange(subject, request)
    except Refused as refused:
        return refused.code
    except Deferred:
        return "deferred"
