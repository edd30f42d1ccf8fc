"""Signing keys, which sign whatever they are given, well-formed or not."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import Algorithm, get_default_algorithms

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_GENERATORS: Mapping[str, Any] = {
    **dict.fromkeys(_RSA, lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
ALGORITHMS = tuple(_GENERATORS)
"""What a key can be made for."""

_IMPLEMENTATIONS: Mapping[str, Algorithm] = get_default_algorithms()


class SigningKey:
    """A private key with its `kid` and its one algorithm.

    Args:
        algorithm: RS, PS or ES with 256, 384 or 512, or EdDSA on Ed25519.
        key_id: its `kid`; None for one that nobody else has.

    Raises:
        ValueError: no key can be made for this algorithm.
    """

    def __init__(self, algorithm: str = "RS256", key_id: str | None = None) -> None:
        if algorithm not in _GENERATORS:
            raise ValueError(f"algorithm={algorithm!r}: expected one of {list(_GENERATORS)}")
        self.algorithm = algorithm
        self.key_id = key_id or f"{algorithm.lower()}-{uuid4().hex[:8]}"
        self.private = _GENERATORS[algorithm]()

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id} {self.algorithm}>"

    def public_jwk(self) -> dict[str, Any]:
        """Return the public half (RFC 7517), pinned to the algorithm."""
        jwk = _IMPLEMENTATIONS[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        jwk.pop("key_ops", None)
        return {**jwk, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    def public_pem(self) -> bytes:
        """Return the public half as PEM."""
        public = self.private.public_key()
        return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def sign(
        self,
        payload: object,
        header: Mapping[str, Any] | None = None,
        *,
        algorithm: str | None = None,
    ) -> str:
        """Return a compact JWS over any payload.

        Args:
            payload: bytes are taken as they are, everything else as JSON.
            header: adds to the usual one and overrides it; None takes a member away.
            algorithm: instead of the key's own: ``none`` signs nothing, ``HS256`` takes the public
                key's PEM for a secret, as a confused verifier would.
        """
        name = algorithm or self.algorithm
        usual = {"alg": name, "kid": self.key_id, **(header or {})}
        message = f"{b64(as_json(present(usual)))}.{b64(as_json(payload))}"
        return f"{message}.{b64(self._signature(message.encode(), name))}"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Return whether the signature is this key's, by its own algorithm."""
        public = self.private.public_key()
        return _IMPLEMENTATIONS[self.algorithm].verify(message, public, signature)

    def _signature(self, message: bytes, algorithm: str) -> bytes:
        key = self.public_pem() if algorithm.startswith("HS") else self.private
        return b"" if algorithm == "none" else _IMPLEMENTATIONS[algorithm].sign(message, key)


def b64(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(part: str) -> bytes:
    """Return the bytes behind canonical base64url.

    Raises:
        ValueError: it is not, or there is padding.
    """
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if b64(raw) != part:
        raise ValueError("another spelling of the same bytes")
    return raw


def as_json(value: object) -> bytes:
    """Return bytes as they are, and everything else as JSON; infinity is spelled out."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}
