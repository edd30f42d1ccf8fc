"""What an issuer publishes: its metadata and its keys."""

from typing import Any

from busauth._delegation.exchanging import EXCHANGE_GRANT, JWT_GRANT
from busauth.testing.issuer.endpoints.clients import METHODS
from busauth.testing.issuer.keys import present
from busauth.testing.issuer.minting import Mint

CLIENT_CREDENTIALS = "client_credentials"
GRANTS = (EXCHANGE_GRANT, CLIENT_CREDENTIALS, JWT_GRANT)
JWKS_PATH = "/jwks.json"
TOKEN_PATH = "/token"  # noqa: S105 -- a path
INTROSPECTION_PATH = "/introspect"
REVOCATION_PATH = "/revoke"


def jwks(mint: Mint) -> dict[str, Any]:
    """Return the published keys as a JWK set (RFC 7517, section 5)."""
    return {"keys": [key.public_jwk() for key in mint.published]}


def metadata(mint: Mint, **changes: Any) -> dict[str, Any]:
    """Return what discovery finds, one document for both ways of looking.

    It has the members of RFC 8414, section 2 and RFC 9701, section 7, and those of OpenID Connect
    Discovery 1.0, section 3, but for an authorization endpoint: nobody logs in here.
    """
    base = mint.url.rstrip("/")
    algorithms = sorted({key.algorithm for key in mint.published})
    usual = {
        "issuer": mint.url,
        "jwks_uri": f"{base}{JWKS_PATH}",
        "token_endpoint": f"{base}{TOKEN_PATH}",
        "introspection_endpoint": f"{base}{INTROSPECTION_PATH}",
        "revocation_endpoint": f"{base}{REVOCATION_PATH}",
        "grant_types_supported": [*GRANTS],
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": [mint.signing.algorithm],
        "token_endpoint_auth_methods_supported": [*METHODS],
        "introspection_endpoint_auth_methods_supported": [*METHODS],
        "revocation_endpoint_auth_methods_supported": [*METHODS],
    }
    return present(usual | changes)
