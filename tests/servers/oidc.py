"""What is asked of an oidc-provider: tokens by real grants, other keys."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from busauth._tokens.keys.signing import SigningKey, b64url
from scripts.broker.ports import LOOPBACK, free_ports
from scripts.servers.installing import ServerError
from scripts.servers.running import oidc_provider
from tests.unit.test_tls_docs import certify

WEB, ORDERS, SIGNED, SHOWN = "web", "orders", "orders-signed", "orders-shown"
SECRET = "of nobody else, and long enough: + % :"
LASTS = 600
JWT, OPAQUE, ELSEWHERE = "urn:shop:jwt", "urn:shop:opaque", "urn:elsewhere"
KEY = ec.generate_private_key(ec.SECP256R1())
_BACK, _VERIFIER = "http://127.0.0.1/back", "v" * 43


@dataclass(frozen=True)
class Provider:
    """A server that runs.

    Attributes:
        issuer: its `iss`.
        over_tls: where else it listens, and asks for a certificate.
        certificate, key: files of the certificate by which it and a client of its are known.
    """

    issuer: str
    over_tls: str
    certificate: Path
    key: Path

    async def own(self, resource: str = JWT) -> str:
        """Return a token that the client has for itself."""
        asked = {"grant_type": "client_credentials", "resource": resource, "scope": "orders:write"}
        return str((await self._token(asked))["access_token"])

    async def login(self, user: str, resource: str = JWT) -> tuple[str, str]:
        """Log somebody in; return the access token and the ID token."""
        challenge = b64url(hashlib.sha256(_VERIFIER.encode()).digest()).decode()
        asked = {
            "client_id": WEB,
            "redirect_uri": _BACK,
            "response_type": "code",
            "scope": "openid orders:write",
            "resource": resource,
            "login_hint": user,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        async with httpx.AsyncClient() as browser:
            answer = await browser.get(f"{self.issuer}/auth", params=asked)
            while not (at := answer.headers["location"]).startswith(_BACK):
                answer = await browser.get(httpx.URL(self.issuer).join(at))
        (code,) = parse_qs(urlsplit(at).query)["code"]
        asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": _BACK}
        got = await self._token({**asked, "code_verifier": _VERIFIER, "resource": resource})
        return got["access_token"], got["id_token"]

    async def revoke(self, token: str) -> None:
        await self._post("/token/revocation", {"token": token})

    async def new_key(self, *, retire: bool = False) -> None:
        """Have it sign with a new key; the ones before count on, or are gone."""
        await self._post("/test/replace" if retire else "/test/rotate", {})

    async def _token(self, asked: dict[str, str]) -> dict[str, Any]:
        return dict((await self._post("/token", asked)).json())

    async def _post(self, path: str, form: dict[str, str]) -> httpx.Response:
        own = {"client_id": WEB, "client_secret": SECRET}
        async with httpx.AsyncClient(base_url=self.issuer) as client:
            return (await client.post(path, data={**form, **own})).raise_for_status()


def _resource(audience: str, **settings: Any) -> dict[str, Any]:
    return {"audience": audience, "scope": "orders:write", "accessTokenTTL": LASTS, **settings}


def _client(client_id: str, method: str, **settings: Any) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "token_endpoint_auth_method": method,
        "grant_types": [],
        "response_types": [],
        "redirect_uris": [],
        **({"client_secret": SECRET} if method.startswith("client_secret") else {}),
        **settings,
    }


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    return SigningKey(key, algorithm="ES256").verification_jwk()


def _certified(certificate: Path, key: Path) -> dict[str, Any]:
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    shown = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
    return {"keys": [{**_jwk(private), "x5c": [b64encode(shown).decode()]}]}


def _settings(certificate: Path, key: Path) -> dict[str, Any]:
    signed = {"accessTokenFormat": "jwt", "jwt": {"sign": {"alg": "ES256"}}}
    grants = {"grant_types": ["client_credentials", "authorization_code"]}
    back = {"response_types": ["code"], "redirect_uris": [_BACK]}
    return {
        "resources": {
            JWT: _resource("shop", **signed),
            ELSEWHERE: _resource("elsewhere", **signed),
            OPAQUE: _resource("shop", accessTokenFormat="opaque"),
        },
        "clients": [
            _client(WEB, "client_secret_post", **grants, **back),
            _client(ORDERS, "client_secret_basic"),
            _client(
                SIGNED,
                "private_key_jwt",
                jwks={"keys": [_jwk(KEY)]},
                token_endpoint_auth_signing_alg="ES256",
            ),
            _client(SHOWN, "self_signed_tls_client_auth", jwks=_certified(certificate, key)),
        ],
    }


@contextmanager
def serving(folder: Path) -> Iterator[Provider]:
    """Run one; where it cannot be had, the test fails."""
    port, tls_port = free_ports(2)
    certificate, key = certify(folder)
    tls = {"port": tls_port, "cert": certificate.read_text(), "key": key.read_text()}
    try:
        with oidc_provider(port, mtls=tls, **_settings(certificate, key)) as issuer:
            yield Provider(issuer, f"https://{LOOPBACK}:{tls_port}", certificate, key)
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)
