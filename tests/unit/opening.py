"""A second opinion on envelopes, from the primitives alone; the RFCs' examples hold it to account.

It opens more than busauth does, since no published example uses busauth's algorithms only.
"""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_BITS = {"A128GCM": 128, "A256GCM": 256}


def raw(text: str) -> bytes:
    """Return what base64url without padding stands for."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(raw(text))


def opened(jwe: str, jwk: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the header and what is inside a compact JWE with AES GCM."""
    first, wrapped, iv, ciphertext, tag = jwe.split(".")
    header = json.loads(raw(first))
    content_key = _content_key(header, raw(wrapped), jwk)
    sealed = raw(ciphertext) + raw(tag)
    return header, AESGCM(content_key).decrypt(raw(iv), sealed, first.encode())


def agreed(header: dict[str, Any], jwk: dict[str, Any]) -> bytes:
    """Derive a content key by direct key agreement (RFC 7518, section 4.6.2)."""
    bits = _BITS[header["enc"]]
    parties = [raw(header.get(name, "")) for name in ("apu", "apv")]
    told = [header["enc"].encode(), *parties]
    info = b"".join(len(each).to_bytes(4) + each for each in told) + bits.to_bytes(4)
    kdf = ConcatKDFHash(algorithm=hashes.SHA256(), length=bits // 8, otherinfo=info)
    return kdf.derive(_shared(header["epk"], jwk))


def _content_key(header: dict[str, Any], wrapped: bytes, jwk: dict[str, Any]) -> bytes:
    match header["alg"]:
        case "RSA-OAEP":
            return _rsa(jwk).decrypt(wrapped, _oaep(hashes.SHA1()))
        case "RSA-OAEP-256":
            return _rsa(jwk).decrypt(wrapped, _oaep(hashes.SHA256()))
        case "A256GCMKW":
            sealed = wrapped + raw(header["tag"])
            return AESGCM(raw(jwk["k"])).decrypt(raw(header["iv"]), sealed, None)
        case "ECDH-ES":
            return agreed(header, jwk)
        case "dir":
            return raw(jwk["k"])
    raise NotImplementedError(header["alg"])


def _oaep(digest: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)


def _rsa(jwk: dict[str, Any]) -> rsa.RSAPrivateKey:
    n, e, d = number(jwk["n"]), number(jwk["e"]), number(jwk["d"])
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    inverse = rsa.rsa_crt_iqmp(p, q)
    halves = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, *halves, inverse, rsa.RSAPublicNumbers(e, n))
    return numbers.private_key()


def _shared(epk: dict[str, Any], jwk: dict[str, Any]) -> bytes:
    if epk["crv"] == "X25519":
        public = x25519.X25519PublicKey.from_public_bytes(raw(epk["x"]))
        return x25519.X25519PrivateKey.from_private_bytes(raw(jwk["d"])).exchange(public)
    curve = _CURVES[epk["crv"]]
    point = ec.EllipticCurvePublicNumbers(number(epk["x"]), number(epk["y"]), curve)
    return ec.derive_private_key(number(jwk["d"]), curve).exchange(ec.ECDH(), point.public_key())
