"""An issuer of one's own: mints tokens, good and hostile, and serves its keys over HTTP."""

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from busauth.clock import Clock, SystemClock

_GENERATORS: Mapping[str, Any] = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_OK, _UNAVAILABLE, _NOT_FOUND = 200, 503, 404


class SigningKey:
    """A private key with its `kid` and its one algorithm."""

    def __init__(self, algorithm: str = "RS256", key_id: str | None = None) -> None:
        self.algorithm = algorithm
        self.key_id = key_id or f"{algorithm.lower()}-{uuid4().hex[:8]}"
        kind = "RSA" if algorithm[:2] in ("RS", "PS") else algorithm
        self.private = _GENERATORS[kind]()

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half (RFC 7517), pinned to the algorithm."""
        implementation = get_default_algorithms()[self.algorithm]
        jwk = implementation.to_jwk(self.private.public_key(), as_dict=True)
        jwk.pop("key_ops", None)
        return {**jwk, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: Mapping[str, Any], header: Mapping[str, Any]) -> str:
        """Return a compact JWS; `header` adds to and overrides what is usual."""
        headers = {"kid": self.key_id, **header}
        return jwt.encode(dict(claims), self.private, algorithm=self.algorithm, headers=headers)


class Issuer:
    """Mints access tokens.

    Args:
        url: its `iss`.
        audience: the `aud` of its tokens, unless told otherwise.
        algorithm: what it signs with.
        lifetime: seconds until its tokens expire.
        clock: where `iat` comes from.
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
        self.url = url
        self.audience = audience
        self.lifetime = lifetime
        self._clock = clock or SystemClock()
        self._algorithm = algorithm
        self.signing = SigningKey(algorithm)
        self.published = [self.signing]

    def claims(self, subject: str = "alice", **changes: Any) -> dict[str, Any]:
        """Return a payload that verifies; `changes` replace claims, None takes one away."""
        now = self._clock.now()
        usual = {
            "iss": self.url,
            "sub": subject,
            "aud": self.audience,
            "client_id": "shop-web",
            "iat": int(now),
            "exp": int(now + self.lifetime),
            "jti": uuid4().hex,
        }
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(
        self, subject: str = "alice", *, header: Mapping[str, Any] | None = None, **changes: Any
    ) -> str:
        """Return a signed token; see `claims` for what can be changed."""
        claims = self.claims(subject, **changes)
        return self.signing.sign(claims, {"typ": "at+jwt", **(header or {})})

    def rotate(self, *, retire: bool = False) -> SigningKey:
        """Sign with a new key from now on; the old one stays published unless retired."""
        self.signing = SigningKey(self._algorithm)
        self.published = [self.signing] if retire else [*self.published, self.signing]
        return self.signing

    def jwks(self) -> dict[str, Any]:
        """Return the published keys as a JWK set."""
        return {"keys": [key.public_jwk() for key in self.published]}

    def metadata(self) -> dict[str, Any]:
        """Return what discovery finds (RFC 8414, section 2)."""
        return {"issuer": self.url, "jwks_uri": f"{self.url}/jwks.json"}


class IssuerServer:
    """Serves an issuer's metadata and keys on loopback, or another host.

    Attributes:
        issuer: whose they are; its `url` becomes this server's.
        requests: paths that were asked for, in order.
        down: answer 503 to everything.
        delay: seconds to wait before each answer.
        replies: instead of the usual: a path's status and body.
    """

    def __init__(
        self, issuer: Issuer, *, host: str = "127.0.0.1", port: int = 0, url: str | None = None
    ) -> None:
        self.issuer = issuer
        self.requests: list[str] = []
        self.down = False
        self.delay = 0.0
        self.replies: dict[str, tuple[int, bytes]] = {}
        self._server = ThreadingHTTPServer((host, port), self._handler())
        self._server.daemon_threads = True
        issuer.url = url or f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body for a path."""
        self.requests.append(path)
        time.sleep(self.delay)
        if self.down:
            return _UNAVAILABLE, b"{}"
        if path in self.replies:
            return self.replies[path]
        documents = {
            "/.well-known/openid-configuration": self.issuer.metadata,
            "/.well-known/oauth-authorization-server": self.issuer.metadata,
            "/jwks.json": self.issuer.jwks,
            "/healthz": dict,
        }
        document = documents.get(path)
        return (_OK, json.dumps(document()).encode()) if document else (_NOT_FOUND, b"{}")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = outer.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: tests look at `requests`."""

        return Handler
