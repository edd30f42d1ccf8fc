"""Tokens by the ten thousand, minted once and kept in a folder of the user's own until they age.

They look like an identity provider's access tokens: RS256 ones have about 600 bytes. The private
key is thrown away after minting.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import get_default_algorithms

ISSUER = "https://idp.example"
AUDIENCE = "orders"
ALGORITHMS = {"RS256": "RS256", "ES256": "ES256", "EdDSA": "Ed25519"}
"""What is measured: the JWS algorithm, and how it is shown."""

_LIFETIME = 7 * 24 * 3600
_SPARE = 24 * 3600
_KEY_ID = "bench-1"
_MINTERS = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """Tokens of one issuer by one key.

    Attributes:
        algorithm: the JWS algorithm.
        issuer: the exact `iss`.
        jwk: the public key.
        expires_at: `exp` of the good tokens.
        tokens: good ones, each of another caller.
        bad: one token for each thing that can be wrong with it.
    """

    algorithm: str
    issuer: str
    jwk: dict[str, Any]
    expires_at: float
    tokens: list[str]
    bad: dict[str, str]


def pool(algorithm: str, count: int, *, issuer: str = ISSUER) -> Pool:
    """Return at least so many tokens, minting only where none lie at hand."""
    path = folder() / f"{algorithm}-{count}-{abs(hash_name(issuer)):x}.json"
    if path.exists():
        kept = Pool(**json.loads(path.read_text()))
        if kept.expires_at > time.time() + _SPARE:
            return kept
    minted = mint(algorithm, count, issuer=issuer)
    path.write_text(json.dumps(asdict(minted)))
    return minted


def folder() -> Path:
    """Return the folder that keeps tokens between runs, readable by its owner alone.

    Raises:
        PermissionError: it is somebody else's.
    """
    path = Path(tempfile.gettempdir()) / f"busauth-bench-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to somebody else: remove it")
    return path


def hash_name(name: str) -> int:
    """Return the same number for a name in every process."""
    return int.from_bytes(name.encode(), "big") % (2**61 - 1)


def mint(algorithm: str, count: int, *, issuer: str = ISSUER) -> Pool:
    """Mint tokens with a new key."""
    key = _new_key(algorithm)
    expires_at = int(time.time()) + _LIFETIME
    usual = {"iss": issuer, "aud": AUDIENCE, "iat": expires_at - _LIFETIME, "exp": expires_at}
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pool(
        algorithm=algorithm,
        issuer=issuer,
        jwk=_public_jwk(key, algorithm),
        expires_at=expires_at,
        tokens=list(_minted(pem, algorithm, usual, count)),
        bad=_bad(key, algorithm, usual),
    )


def _minted(pem: bytes, algorithm: str, usual: dict[str, Any], count: int) -> Iterator[str]:
    """Sign in two processes where that pays."""
    if count < 1000:  # noqa: PLR2004 -- below, starting processes takes longer than signing
        yield from _signed(pem, algorithm, usual, range(count))
        return
    shares = [range(start, count, _MINTERS) for start in range(_MINTERS)]
    with ProcessPoolExecutor(_MINTERS) as minters:
        work = [minters.submit(_signed, pem, algorithm, usual, share) for share in shares]
        for done in work:
            yield from done.result()


def _signed(pem: bytes, algorithm: str, usual: dict[str, Any], numbers: range) -> list[str]:
    key = load_pem_private_key(pem, password=None)
    return [_sign(key, algorithm, usual | claims_of(number)) for number in numbers]


def claims_of(number: int) -> dict[str, Any]:
    """Return what is one caller's own in a token."""
    return {
        "sub": f"user-{number:06d}",
        "client_id": "shop-web",
        "jti": f"{number:012x}",
        "scope": "orders:read orders:write",
    }


def _sign(key: Any, algorithm: str, claims: dict[str, Any]) -> str:
    headers = {"kid": _KEY_ID, "typ": "at+jwt"}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def _bad(key: Any, algorithm: str, usual: dict[str, Any]) -> dict[str, str]:
    """A forged signature, a past expiry, another audience, another issuer."""
    good = usual | claims_of(0)
    changes = {
        "expired": {"iat": usual["iat"] - 7200, "exp": usual["iat"] - 3600},
        "foreign audience": {"aud": "somebody-else"},
        "foreign issuer": {"iss": "https://evil.example"},
    }
    signed = {name: _sign(key, algorithm, good | change) for name, change in changes.items()}
    return {"forged": _sign(_new_key(algorithm), algorithm, good), **signed}


def _new_key(algorithm: str) -> Any:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def _public_jwk(key: Any, algorithm: str) -> dict[str, Any]:
    jwk = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return {"kty": jwk["kty"], **jwk, "kid": _KEY_ID, "alg": algorithm, "use": "sig"}
