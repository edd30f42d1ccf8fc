"""The token endpoint: what is given depends on what is shown (RFC 6749, section 4).

A client may have a token of its own (section 4.4), one for somebody's token (RFC 8693), or one for
a JWT that a trusted issuer gave for this one (RFC 7523, section 2.1).
"""

from collections.abc import Callable, Mapping
from typing import Any

from busauth._delegation.exchanging import EXCHANGE_GRANT, JWT_GRANT
from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.endpoints.documents import CLIENT_CREDENTIALS
from busauth.testing.issuer.endpoints.exchange import exchange, kept, scope_for, targets
from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import NO_STORE, Request, Response, json_response
from busauth.testing.issuer.keys import present
from busauth.testing.issuer.minting import Mint

Grant = Callable[[Mint, Form, Client], Response]


def token(mint: Mint, _request: Request, form: Form, client: Client) -> Response:
    """Answer with a token.

    Raises:
        OAuthError: ``unsupported_grant_type``, or as the grant.
    """
    grant = _GRANTS.get(form.required("grant_type"))
    if grant is None:
        raise OAuthError("unsupported_grant_type", f"expected {' or '.join(_GRANTS)}")
    return grant(mint, form, client)


def _own(mint: Mint, form: Form, client: Client) -> Response:
    claims = {
        "aud": targets(mint, form) or mint.url,
        "client_id": client.client_id,
        "scope": form.one("scope"),
    }
    return _answer(mint, mint.claims(client.client_id, **claims))


def _for_a_grant(mint: Mint, form: Form, client: Client) -> Response:
    assertion = mint.granted_by(form.required("assertion"))
    audience = {} if assertion is None else assertion.get("aud")
    if assertion is None or mint.url not in (
        audience if isinstance(audience, list) else [audience]
    ):
        raise OAuthError("invalid_grant", "expected a JWT of a trusted issuer, for this one")
    changed = {
        "act": assertion.get("act"),
        "aud": targets(mint, form) or mint.audience,
        "client_id": client.client_id,
        "scope": scope_for(assertion, form),
    }
    return _answer(mint, present(mint.claims(sub=None) | kept(assertion) | changed))


def _answer(mint: Mint, claims: Mapping[str, Any]) -> Response:
    answer = {
        "access_token": mint.sign(claims),
        "token_type": "Bearer",
        "expires_in": int(mint.lifetime),
        "scope": claims.get("scope"),
    }
    return json_response(present(answer), headers=NO_STORE)


_GRANTS: Mapping[str, Grant] = {
    EXCHANGE_GRANT: exchange,
    CLIENT_CREDENTIALS: _own,
    JWT_GRANT: _for_a_grant,
}
