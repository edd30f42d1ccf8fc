"""An issuer of one's own: tokens, good and hostile, and everything that is asked over HTTP."""

from collections.abc import Iterable
from typing import Any

from busauth.clock import Clock
from busauth.testing.issuer import hostile, routes
from busauth.testing.issuer.endpoints import documents
from busauth.testing.issuer.endpoints.clients import Client, Clients
from busauth.testing.issuer.endpoints.introspection import introspected
from busauth.testing.issuer.http.messages import Request, Response
from busauth.testing.issuer.minting import CLIENT_ID, Mint
from busauth.testing.issuer.transport import IssuerTransport


class Issuer(Mint):
    """Mints access tokens, and answers what an authorization server is asked.

    `IssuerServer` serves it on a socket; in process, ``httpx.AsyncClient`` and `Fetcher` take
    `transport()`. Both can be slow, wrong or down: see `Front`.

    Args:
        url: its `iss`.
        audience: the `aud` of its tokens, unless told otherwise.
        algorithm: what it signs with.
        lifetime: seconds until its tokens expire.
        clock: where `iat` comes from.

    Attributes:
        client: who its tokens are issued to, and may use the endpoints; `register` adds others.
    """

    def __init__(
        self,
        url: str = "https://issuer.test",
        *,
        audience: str = "shop",
        algorithm: str = "RS256",
        lifetime: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            url, audience=audience, algorithm=algorithm, lifetime=lifetime, clock=clock
        )
        self._clients = Clients()
        self.client = self.register(CLIENT_ID)

    def register(
        self, client_id: str, secret: str | None = None, *, audiences: Iterable[str] | None = None
    ) -> Client:
        """Let a client use the endpoints.

        Args:
            client_id: its name.
            secret: None for one that nobody could guess.
            audiences: whose tokens it may introspect; None for everybody's.
        """
        return self._clients.register(client_id, secret, audiences)

    def forged(self, subject: str = "alice", **changes: Any) -> str:
        """Return a token that looks right, down to the `kid`, and is signed by somebody else."""
        return hostile.forged(self, subject, **changes)

    def verbatim(self, subject: str = "alice", **texts: str) -> str:
        """Return a signed token whose claims are spelled as these JSON texts, broken or not."""
        return hostile.verbatim(self, subject, **texts)

    def hostile(self) -> dict[str, str]:
        """Return tokens that must all be refused, each by what is wrong with it."""
        return hostile.hostile(self)

    def introspect(self, token: str) -> dict[str, Any]:
        """Return what introspection says of a token (RFC 7662, section 2.2)."""
        return introspected(self, token)

    def jwks(self) -> dict[str, Any]:
        """Return the published keys as a JWK set (RFC 7517, section 5)."""
        return documents.jwks(self)

    def metadata(self, **changes: Any) -> dict[str, Any]:
        """Return what discovery finds; `changes` replace members, None takes one away."""
        return documents.metadata(self, **changes)

    def answer(self, request: Request) -> Response:
        """Return the answer to a request, as every front gives it when nothing is wrong."""
        return routes.answer(self, self._clients, request)

    def transport(self) -> IssuerTransport:
        """Return a way to ask this issuer without a socket; each has faults of its own."""
        return IssuerTransport(self)
