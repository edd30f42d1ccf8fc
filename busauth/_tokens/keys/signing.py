"""Keys that sign, each pinned to one algorithm, and the compact JWS that they make (RFC 7515)."""

import json
from binascii import b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from busauth._tokens.keys.key import ALGORITHMS, canonical_algorithm, keyed, load_key, mac_of
from busauth.errors import ConfigurationError

PrivateKey = (
    Mapping[str, Any]
    | str
    | bytes
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | rsa.RSAPrivateKey
)
"""A private JWK, a PEM, a loaded private key; for HS256 and its like the secret's bytes."""

_IMPLEMENTATIONS: Mapping[str, Algorithm] = get_default_algorithms()
_PRIVATE_TYPES: Mapping[str, type] = {
    "RSA": rsa.RSAPrivateKey,
    "EC": ec.EllipticCurvePrivateKey,
    "OKP": ed25519.Ed25519PrivateKey,
    "oct": bytes,
}
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")
_REMEMBERED_HEADERS = 64  # a service signs with a few keys, for a few types


class SigningKey:
    """A private key or shared secret, pinned to one algorithm; its repr shows its name only.

    Args:
        key: the private half, as a JWK, a PEM, a loaded key; or the secret's bytes.
        algorithm: the only algorithm that it signs with.
        key_id: its `kid`; a JWK's own where none is given.

    Raises:
        ConfigurationError: it does not fit the algorithm, is too short, or holds no private half.
    """

    def __init__(self, key: PrivateKey, *, algorithm: str, key_id: str | None = None) -> None:
        known = canonical_algorithm(algorithm)
        if known is None:
            raise ConfigurationError(f"algorithm={algorithm!r}: expected one of {list(ALGORITHMS)}")
        named = key if isinstance(key, Mapping) else {}
        self.algorithm = known
        name = named.get("kid") if key_id is None else key_id
        if name is not None and (not isinstance(name, str) or not name):
            raise ConfigurationError(f"kid={name!r}: expected a name, or none")
        self.key_id: str | None = name
        if canonical_algorithm(named.get("alg", known)) != known:
            raise ConfigurationError(f"{self!r} has alg={named['alg']!r}")
        self._private = _private(key, known, repr(self))
        load_key(self.verification_jwk(), (known,))  # holds curve and length to the rules
        shared = isinstance(self._private, bytes)
        self._mac = keyed(self._private, known) if shared else None

    def sign(self, payload: Mapping[str, Any], *, typ: str) -> str:
        """Return a compact JWS over the payload as JSON.

        Raises:
            ValueError, TypeError: the payload is nothing that JSON in UTF-8 can say.
        """
        header = _protected(self.algorithm, self.key_id, typ)
        signing_input = header + b"." + b64url(_JSON.encode(payload).encode("utf-8"))
        if self._mac is not None:  # holds the secret already, which is most of what a MAC costs
            signature = mac_of(self._mac, signing_input)
        else:
            signature = _IMPLEMENTATIONS[self.algorithm].sign(signing_input, self._private)
        return (signing_input + b"." + b64url(signature)).decode("ascii")

    def verification_jwk(self) -> dict[str, Any]:
        """Return what a recipient verifies with: the public half, or the shared secret itself."""
        held = self._private if isinstance(self._private, bytes) else self._private.public_key()
        jwk = _IMPLEMENTATIONS[self.algorithm].to_jwk(held, as_dict=True)
        jwk.pop("key_ops", None)  # `use` says it, and says it alone (RFC 7517, section 4.3)
        named = {} if self.key_id is None else {"kid": self.key_id}
        return {**jwk, **named, "alg": self.algorithm, "use": "sig"}

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id} {self.algorithm}>"


def b64url(raw: bytes) -> bytes:
    """Return base64url without padding (RFC 7515, section 2)."""
    return b2a_base64(raw, newline=False).translate(_TO_URLSAFE).rstrip(b"=")


@lru_cache(_REMEMBERED_HEADERS)
def _protected(algorithm: str, key_id: str | None, typ: str) -> bytes:
    named = {} if key_id is None else {"kid": key_id}
    return b64url(_JSON.encode({"typ": typ, "alg": algorithm, **named}).encode("utf-8"))


def _private(key: PrivateKey, algorithm: str, name: str) -> Any:
    implementation = _IMPLEMENTATIONS[algorithm]
    try:
        loaded = implementation.from_jwk(dict(key)) if isinstance(key, Mapping) else key
        prepared = implementation.prepare_key(loaded)
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        raise ConfigurationError(
            f"{name} cannot be loaded: expected a private JWK as a mapping (json.loads of its "
            "text), a PEM, a loaded private key; or, for HS256 and its like, a secret's bytes"
        ) from None
    if not isinstance(prepared, _PRIVATE_TYPES[ALGORITHMS[algorithm][0]]):
        raise ConfigurationError(f"{name} is no private key of this kind")
    return prepared
