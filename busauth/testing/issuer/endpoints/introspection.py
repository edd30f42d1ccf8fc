"""Introspection (RFC 7662), and its answer as a JWT (RFC 9701)."""

from typing import Any

from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import NO_STORE, Request, Response, json_response
from busauth.testing.issuer.minting import Mint

JWT_TYPE = "application/token-introspection+jwt"
_TYP = "token-introspection+jwt"


def introspected(mint: Mint, token: str, client: Client | None = None) -> dict[str, Any]:
    """Return what a client may know of a token; of one that does not count, nothing else."""
    claims = mint.standing(token)
    if claims is None or not _intended(claims, client):
        return {"active": False}
    return {**claims, "active": True, "token_type": "Bearer"}


def introspect(mint: Mint, request: Request, form: Form, client: Client) -> Response:
    """Answer a client's question; `token_type_hint` is not needed, and ignored.

    Raises:
        OAuthError: ``invalid_request``, there is no token.
    """
    found = introspected(mint, form.required("token"), client)
    if not _wants_jwt(request):
        return json_response(found, headers=NO_STORE)
    # Without sub and exp it cannot be mistaken for an access token (RFC 9701, section 5).
    answer = {
        "iss": mint.url,
        "aud": client.client_id,
        "iat": int(mint.clock.now()),
        "token_introspection": found,
    }
    body = mint.sign(answer, {"typ": _TYP}).encode()
    return Response(200, {"Content-Type": JWT_TYPE, **NO_STORE}, body)


def _wants_jwt(request: Request) -> bool:
    accepted = request.headers.get("accept", "").lower().split(",")
    return any(media_type.partition(";")[0].strip() == JWT_TYPE for media_type in accepted)


def _intended(claims: dict[str, Any], client: Client | None) -> bool:
    """Whether the token is for this resource server (RFC 9701, section 5)."""
    if client is None or client.audiences is None:
        return True
    audience = claims.get("aud")
    names = audience if isinstance(audience, list) else [audience]
    return any(isinstance(name, str) and name in client.audiences for name in names)
