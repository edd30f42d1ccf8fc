"""What the unit and property tests share: keys made once, tokens of any shape, raw HTTP answers."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey
from jwt.algorithms import get_default_algorithms

from busauth import StaticKeys, Verifier, Verifiers
from busauth._tokens.keys.signing import SigningKey
from busauth.caller import Caller
from busauth.errors import NotGenuine, Refused
from busauth.tokens import Verified, found

T_contra = TypeVar("T_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)

NOW = 1_750_000_000.0
ISSUER = "https://issuer.test"
AUDIENCE = "shop"
SECRET = bytes(range(64))

_CURVES: dict[str, Any] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def b64(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def as_json(value: object) -> bytes:
    """Return bytes as they are, and everything else as JSON."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@cache
def private_key(algorithm: str, name: str = "main") -> Any:
    """Return a private key or secret, made once for each name; RSA keys serve every RSA one."""
    if algorithm[:2] in ("RS", "PS"):
        return _rsa_key(name)
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return name.encode().ljust(64, b".") if name != "main" else SECRET


@cache
def _rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_of(key: Any) -> bytes:
    """Return a private key as a PEM."""
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def lay_keys(folder: Path) -> None:
    """Write the files that settings name: a secret, a signing key, key sets, keys for tokens."""
    (folder / "shared.key").write_bytes(b"a secret of thirty-two bytes or more\n")
    key = private_key("ES256")
    (folder / "edge.pem").write_bytes(pem_of(key))
    public = SigningKey(key, algorithm="ES256", key_id="edge-1").verification_jwk()
    (folder / "edge.jwks").write_text(json.dumps({"keys": [public]}))
    sealed = ECKey.generate_key("P-256", {"alg": "ECDH-ES", "use": "enc", "kid": "enc-1"})
    (folder / "private.jwk").write_text(json.dumps(sealed.as_dict(private=True)))
    (folder / "public.jwk").write_text(json.dumps(sealed.as_dict(private=False)))


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever the environment says to busauth."""
    for name in list(os.environ):
        if name.upper().startswith("BUSAUTH_"):
            monkeypatch.delenv(name)


@dataclass(frozen=True)
class Signer:
    """A private key that signs whatever it is given, well-formed or not."""

    algorithm: str = "RS256"
    name: str = "main"

    @property
    def private(self) -> Any:
        return private_key(self.algorithm, self.name)

    @property
    def public(self) -> Any:
        """Return what a recipient verifies with."""
        return self.private if isinstance(self.private, bytes) else self.private.public_key()

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public JWK, or the secret; None takes a member away."""
        implementation = get_default_algorithms()[self.algorithm]
        usual = implementation.to_jwk(self.public, as_dict=True)
        usual.pop("key_ops", None)
        usual |= {"kid": self.name, "alg": self.algorithm, "use": "sig"} | changes
        return {name: value for name, value in usual.items() if value is not None}

    def sign(self, payload: object, header: object = None, **extra: Any) -> str:
        """Return a compact JWS over any payload and header; `extra` changes the usual header."""
        usual = {"alg": self.algorithm, "kid": self.name, "typ": "JWT"} | extra
        header = usual if header is None else header
        signing_input = f"{b64(as_json(header))}.{b64(as_json(payload))}"
        implementation = get_default_algorithms()[self.algorithm]
        return f"{signing_input}.{b64(implementation.sign(signing_input.encode(), self.private))}"


def payload(**changes: Any) -> dict[str, Any]:
    """Return claims that verify; `...` takes one away."""
    usual: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "client_id": "shop-web",
        "scope": "orders:read orders:write",
        "iat": int(NOW),
        "exp": int(NOW) + 300,
        "jti": "t-1",
    }
    return {name: value for name, value in (usual | changes).items() if value is not ...}


def token(signer: Signer | None = None, /, *, typ: Any = "JWT", **changes: Any) -> str:
    """Return a signed token with `payload(**changes)`."""
    return (signer or Signer()).sign(payload(**changes), typ=typ)


def verifier(*signers: Signer, **settings: Any) -> Verifier:
    """Return a verifier that trusts these signers."""
    signers = signers or (Signer(),)
    algorithms = settings.pop("algorithms", tuple({signer.algorithm for signer in signers}))
    usual: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "leeway": 0}
    keys = settings.pop("keys", None) or StaticKeys([signer.jwk() for signer in signers])
    return Verifier(keys, algorithms=algorithms, **{**usual, **settings})


class Recalls(Protocol[T_contra, T_co]):
    """Whoever proves something with what is at hand."""

    def recall(self, given: T_contra, /) -> T_co: ...


async def proven_by(party: Recalls[T_contra, T_co], given: T_contra) -> T_co:
    """Return what a party proves, waiting for what is not at hand."""
    return await found(lambda: party.recall(given))


async def authenticate(raw: str, *signers: Signer, **settings: Any) -> Verified:
    """Authenticate a token with a fresh verifier."""
    return await proven_by(Verifiers(verifier(*signers, **settings)), raw)


async def refusal(raw: str, *signers: Signer, **settings: Any) -> NotGenuine:
    """Return the refusal that a token meets."""
    with pytest.raises(NotGenuine) as caught:
        await authenticate(raw, *signers, **settings)
    return caught.value


async def refused_code(decision: Awaitable[object]) -> str:
    """Return the code of the refusal that a decision ends in."""
    with pytest.raises(Refused) as caught:
        await decision
    return caught.value.code


def as_sent(request: httpx.Request) -> httpx.Request:
    """Return a copy of a request that was read: once it is answered, it bears no token any more."""
    return httpx.Request(
        request.method, request.url, headers=request.headers, content=request.content
    )


def caller(**changes: Any) -> Caller:
    """Return a caller as a verifier would make one."""
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": "alice",
        "client": "shop-web",
        "scopes": frozenset({"orders:read", "orders:write"}),
        "roles": frozenset({"clerk"}),
        "audience": (AUDIENCE,),
        "expires_at": NOW,
        "issued_at": NOW - 300,
        "token_id": "t-1",
        "token_sha256": "00" * 32,
    }
    return Caller(**{**usual, **changes})


Respond = Callable[[str], bytes | None]
"""From a path to a raw HTTP response; None leaves the request without an answer."""


def http(body: object = b"", *headers: str, status: str = "200 OK") -> bytes:
    """Return a raw HTTP response."""
    content = as_json(body)
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers)
    return "\r\n".join((*lines, "", "")).encode() + content


@dataclass
class RawServer:
    """Answers with exactly the bytes that a test wrote."""

    respond: Respond
    url: str = ""
    requests: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        path = first.split(" ")[1]
        self.requests.append(path)
        self.headers.append(dict(line.lower().split(": ", 1) for line in lines))
        answer = self.respond(path)
        if answer is None:
            await reader.read()  # until the client gives up
        else:
            writer.write(answer)
        writer.close()


@asynccontextmanager
async def raw_server(respond: Respond) -> AsyncIterator[RawServer]:
    """Serve raw responses on loopback."""
    state = RawServer(respond)
    server = await asyncio.start_server(state.handle, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        try:
            yield state
        finally:
            for _ in range(10):  # whoever was just accepted gets a handler, and a writer
                await asyncio.sleep(0)
            server.close()  # only now: asyncio loses a connection that it was about to take
            for writer in state.writers:
                writer.transport.abort()
            closing = (writer.wait_closed() for writer in state.writers)
            await asyncio.gather(*closing, return_exceptions=True)
