"""Keys that encrypt, one of each kind, made once; and envelopes that no honest publisher makes."""

import json
from functools import cache
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from busauth.errors import NotGenuine
from busauth.tokens import Decryption, TokenEncryption, shared_encryption_key
from tests.unit.opening import raw
from tests.unit.support import b64

KINDS = ("rsa", "p256", "p384", "p521", "x25519", "secret")
_CURVES = {"p256": "P-256", "p384": "P-384", "p521": "P-521"}


@cache
def _private(kind: str, name: str) -> dict[str, Any]:
    if kind == "secret":
        return shared_encryption_key(name.encode().ljust(32, b"."), key_id=name)
    if kind == "rsa":
        made: Any = RSAKey.generate_key(2048)
    elif kind == "x25519":
        made = OKPKey.generate_key("X25519")
    else:
        made = ECKey.generate_key(_CURVES[kind])
    return {**made.as_dict(private=True), "use": "enc", "kid": name}


def private_jwk(kind: str, name: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return a private JWK, made once for each name; None takes a member away."""
    members = _private(kind, name or kind) | changes
    return {member: value for member, value in members.items() if value is not None}


def public_jwk(kind: str, name: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return what a publisher holds."""
    private = private_jwk(kind, name, **changes)
    hidden = () if kind == "secret" else ("d", "p", "q", "dp", "dq", "qi")
    return {member: value for member, value in private.items() if member not in hidden}


def private_jwks() -> list[dict[str, Any]]:
    return [private_jwk(kind) for kind in KINDS]


@cache
def encryption(kind: str) -> TokenEncryption:
    return TokenEncryption({"shop": public_jwk(kind)})


@cache
def decryption() -> Decryption:
    """Return what holds one key of each kind."""
    return Decryption(private_jwks())


def refusal(envelope: str, held: Decryption | None = None) -> NotGenuine:
    """Return the refusal of an envelope."""
    with pytest.raises(NotGenuine) as caught:
        (held or decryption()).decrypt(envelope)
    return caught.value


def forged(kind: str, plaintext: bytes | str, algorithms: Any = (), **changes: Any) -> str:
    """Return an envelope with any header around anything; None takes a member away."""
    usual = {"alg": jwk_algorithm(kind), "enc": "A256GCM", "kid": kind, "cty": "JWT"}
    header = {name: value for name, value in (usual | changes).items() if value is not None}
    members = {
        name: value for name, value in public_jwk(kind).items() if name not in ("use", "alg", "kid")
    }
    allowed = [header["alg"], header["enc"], *algorithms]
    registry = jwe.JWERegistry(algorithms=allowed, strict_check_header=False)
    registry.max_ciphertext_length = registry.max_protected_header_length = 1_000_000
    return jwe.encrypt_compact(header, plaintext, import_key(members), registry=registry)


def jwk_algorithm(kind: str) -> str:
    return {"rsa": "RSA-OAEP-256", "secret": "A256GCMKW"}.get(kind, "ECDH-ES")


def with_header(envelope: str, **changes: Any) -> str:
    """Return an envelope whose header somebody changed."""
    first, rest = envelope.split(".", 1)
    header = json.loads(raw(first)) | changes
    left = {name: value for name, value in header.items() if value is not ...}
    return f"{b64(json.dumps(left).encode())}.{rest}"
