"""From a request to its answer, without a socket.

The endpoints are under the issuer's own path; each way of discovery has its place (RFC 8414,
section 3.1; OpenID Connect Discovery 1.0, section 4). `/healthz` is always at the root.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from busauth.testing.issuer.endpoints.clients import Client, Clients
from busauth.testing.issuer.endpoints.documents import (
    INTROSPECTION_PATH,
    JWKS_PATH,
    REVOCATION_PATH,
    TOKEN_PATH,
    jwks,
    metadata,
)
from busauth.testing.issuer.endpoints.introspection import introspect
from busauth.testing.issuer.endpoints.revocation import revoke
from busauth.testing.issuer.endpoints.token import token
from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import Request, Response, json_response
from busauth.testing.issuer.minting import Mint

Document = Callable[[Mint], Mapping[str, Any]]
Endpoint = Callable[[Mint, Request, Form, Client], Response]

_NOT_FOUND, _NOT_ALLOWED = 404, 405
_ENDPOINTS: Mapping[str, Endpoint] = {
    TOKEN_PATH: token,
    INTROSPECTION_PATH: introspect,
    REVOCATION_PATH: revoke,
}


def answer(mint: Mint, clients: Clients, request: Request) -> Response:
    """Return what this issuer answers."""
    base = urlsplit(mint.url).path.rstrip("/")
    document = _documents(base).get(request.path)
    if document is not None:
        return _allowed(request, "GET") or json_response(document(mint))
    endpoint = _ENDPOINTS.get(request.path.removeprefix(base))
    if endpoint is None or not request.path.startswith(base):
        return json_response({}, _NOT_FOUND)
    return _allowed(request, "POST") or _posted(endpoint, mint, clients, request)


def _documents(base: str) -> Mapping[str, Document]:
    return {
        f"{base}/.well-known/openid-configuration": metadata,
        f"/.well-known/oauth-authorization-server{base}": metadata,
        f"{base}{JWKS_PATH}": jwks,
        "/healthz": lambda _: {},
    }


def _allowed(request: Request, method: str) -> Response | None:
    """Return the refusal of another method, None for this one."""
    if request.method == method:
        return None
    return json_response({}, _NOT_ALLOWED, {"Allow": method})


def _posted(endpoint: Endpoint, mint: Mint, clients: Clients, request: Request) -> Response:
    try:
        form = Form.read(request)
        return endpoint(mint, request, form, clients.authenticate(request, form))
    except OAuthError as error:
        return error.response()
