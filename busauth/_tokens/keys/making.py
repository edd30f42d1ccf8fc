"""New keys, and what may be told of a key: all but its private half (RFC 7517)."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from busauth._tokens.keys.signing import b64url

_PUBLIC = {"EC": ("crv", "x", "y"), "RSA": ("e", "n"), "OKP": ("crv", "x")}
"""What makes a public key, by its type (RFC 7638, section 3.2; RFC 8037, section 2)."""

_CURVES = {"P-256": 256, "P-384": 384, "P-521": 521, "X25519": 255, "Ed25519": 255, "Ed448": 448}


class KeyUse(StrEnum):
    """What a new key is for."""

    LETTERS = "letters"
    SEAL = "seal"
    PROOF = "proof"
    ENCRYPTION = "encryption"


def new_private_jwk(use: KeyUse, key_id: str | None = None) -> dict[str, Any]:
    """Return a new private JWK on P-256, for ES256 where it proves, else for ECDH-ES.

    Args:
        use: what for; a seal's key is no JWK.
        key_id: its `kid`; default: its thumbprint.
    """
    found = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    members = {name: value for name, value in found.items() if name != "key_ops"}
    signs = use is KeyUse.PROOF
    said = {"use": "sig", "alg": "ES256"} if signs else {"use": "enc", "alg": "ECDH-ES"}
    return {**members, **said, "kid": key_id or thumbprint(members)}


def public_half(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may be handed to everybody of a key that has a public half."""
    names = ("kty", *_PUBLIC[jwk["kty"]], "use", "alg", "kid")
    return {name: jwk[name] for name in names if name in jwk}


def thumbprint(jwk: Mapping[str, Any]) -> str | None:
    """Return a key's thumbprint (RFC 7638, SHA-256, in base64url); None for a secret's, or none."""
    names = _PUBLIC.get(_text(jwk, "kty"))
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        return None
    members = {name: jwk[name] for name in ("kty", *names)}
    spelled = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return b64url(hashlib.sha256(spelled.encode()).digest()).decode("ascii")


def kind_of_key(jwk: Mapping[str, Any]) -> str:
    """Return what a JWK is, in a few words, without anything of what is secret in it."""
    kty, crv = _text(jwk, "kty"), _text(jwk, "crv")
    if kty == "oct":
        return "shared secret"
    half = "private" if "d" in jwk else "public"
    what = f"{kty or 'unknown'} {crv}".strip()
    return f"{half} {what}"


def bits_of(jwk: Mapping[str, Any]) -> int | None:
    """Return a key's size in bits, None where it says none."""
    if _text(jwk, "crv") in _CURVES:
        return _CURVES[_text(jwk, "crv")]
    encoded = _text(jwk, "k" if jwk.get("kty") == "oct" else "n")
    # of base64url without padding, four characters are three bytes
    return (len(encoded) * 6 // 8) * 8 or None


def _text(jwk: Mapping[str, Any], name: str) -> str:
    value = jwk.get(name)
    return value if isinstance(value, str) else ""
