"""Revocation (RFC 7009)."""

from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import NO_STORE, Request, Response
from busauth.testing.issuer.minting import Mint


def revoke(mint: Mint, _request: Request, form: Form, client: Client) -> Response:
    """Take a client's token back; one that nobody knows counts as done (section 2.2).

    Raises:
        OAuthError: ``invalid_request`` without a token, ``unauthorized_client`` for a token that
            was issued to another client (section 2.1).
    """
    token = form.required("token")
    claims = mint.known(token)
    if claims is not None and claims.get("client_id") != client.client_id:
        raise OAuthError("unauthorized_client", "the token was issued to another client")
    mint.revoke(token)
    return Response(200, NO_STORE)
