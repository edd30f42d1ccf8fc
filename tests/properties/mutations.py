"""Genuine tokens, spoilt: what somebody who has seen many of them might send.

Every mutation takes a source of chance and a token, and returns text. Some sign again with a
trusted key, so that only the reading of header and payload stands between the text and a caller.
"""

import hmac
import json
from collections.abc import Callable
from random import Random
from typing import Any

from cryptography.hazmat.primitives import serialization
from jwt.utils import base64url_decode

from tests.unit.support import ISSUER, NOW, Signer, b64, payload

ELSEWHERE = "https://elsewhere.test"
ALGORITHMS = ("RS256", "ES256", "EdDSA")
TRUSTED = {
    ISSUER: tuple(Signer(algorithm) for algorithm in ALGORITHMS),
    ELSEWHERE: tuple(Signer(algorithm, "other") for algorithm in ALGORITHMS),
}
"""Two issuers that sign with the same algorithms, under the same `kid`, with keys of their own."""


def genuine(signer: Signer, issuer: str, **changes: Any) -> str:
    """Return a token under the one `kid` that everybody uses."""
    return signer.sign(payload(iss=issuer, **changes), kid="main")


GENUINE = tuple(
    genuine(signer, issuer, sub=sub)
    for issuer, signers in TRUSTED.items()
    for signer in signers
    for sub in ("alice", "bob")
)
Mutation = Callable[[Random, str], str]


def flip_a_bit(chance: Random, raw: str) -> str:
    """Alter one character by one bit."""
    at = chance.randrange(len(raw))
    return raw[:at] + chr(ord(raw[at]) ^ 1 << chance.randrange(7)) + raw[at + 1 :]


def flip_a_decoded_bit(chance: Random, raw: str) -> str:
    """Alter one bit beneath the base64."""
    parts = raw.split(".")
    which = chance.randrange(len(parts))
    content = bytearray(_decoded(parts[which]) or b"\0")
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    parts[which] = b64(bytes(content))
    return ".".join(parts)


def swap_a_part(chance: Random, raw: str) -> str:
    """Take one part from another genuine token."""
    parts, other = raw.split("."), chance.choice(GENUINE).split(".")
    which = chance.randrange(min(len(parts), 3))
    parts[which] = other[which]
    return ".".join(parts)


def reorder(chance: Random, raw: str) -> str:
    """Shuffle, drop or repeat parts."""
    parts = raw.split(".")
    return ".".join(chance.choices(parts, k=chance.randrange(1, 6)))


_BLANKS = ("=", "==", "\n", " ", "\t", "\r\n", "\0", "%3D", "\u00a0", "\u200b", "\ufeff", "+", "/")


def spell_differently(chance: Random, raw: str) -> str:
    """Put in what lenient decoders skip, take for padding, or read as the same digit."""
    at = chance.choice([0, len(raw), raw.find("."), raw.rfind("."), chance.randrange(len(raw))])
    swapped = raw.replace("-", "+").replace("_", "/")
    wide = "".join(chr(ord(one) + 0xFEE0) if one.isalnum() else one for one in raw)
    return chance.choice([raw[:at] + chance.choice(_BLANKS) + raw[at:], swapped, wide])


def use_spare_bits(chance: Random, raw: str) -> str:
    """Set bits in the last digit of a part that no byte needs."""
    parts = raw.split(".")
    which = chance.randrange(len(parts))
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = digits.find(parts[which][-1:])
    parts[which] = parts[which][:-1] + digits[last ^ chance.randrange(1, 16)]
    return ".".join(parts)


_HEADERS: tuple[dict[str, Any], ...] = (
    {"alg": "none"},
    {"alg": "HS256"},
    {"alg": "rs256"},
    {"alg": "RS512"},
    {"alg": "PS256"},
    {"alg": "ES256"},
    {"alg": "Ed25519"},
    {"alg": ["RS256"]},
    {"alg": None},
    {"kid": "other"},
    {"kid": None},
    {"kid": ["main"]},
    {"kid": "main\0"},
    {"typ": "at+jwt"},
    {"typ": "dpop+jwt"},
    {"typ": 5},
    {"cty": "JWT"},
    {"crit": ["exp"]},
    {"b64": False},
    {"jwk": Signer("ES256", "stranger").jwk()},
    {"jku": "https://evil.example/jwks"},
    {"x5c": ["MIIB"]},
    {"zip": "DEF"},
    {"junk": "x" * 600},
)
_CLAIMS: tuple[dict[str, Any], ...] = (
    {"iss": ELSEWHERE},
    {"iss": [ISSUER]},
    {"iss": f"{ISSUER}/"},
    {"aud": "elsewhere"},
    {"aud": ["elsewhere", "shop"]},
    {"exp": NOW + 0.5},
    {"exp": str(int(NOW) + 300)},
    {"exp": True},
    {"exp": 10**400},
    {"nbf": int(NOW) + 1},
    {"iat": int(NOW) + 1},
    {"sub": 5},
    {"jti": None},
    {"nested": [[[[[[[{"a": 1}]]]]]]]},
    {"cnf": {"jkt": "x"}},
    {"other": "\ud83d\ude00"},
)


def sign_again(chance: Random, raw: str) -> str:
    """Change header and claims, and sign with a trusted key or a stranger's."""
    issuer = chance.choice(list(TRUSTED))
    signer = chance.choice((*TRUSTED[issuer], Signer(chance.choice(ALGORITHMS), "stranger")))
    header = {"alg": signer.algorithm, "kid": "main", "typ": "JWT"}
    header |= chance.choice(_HEADERS) if chance.random() < 0.5 else {}
    claims = payload(iss=issuer) | (chance.choice(_CLAIMS) if chance.random() < 0.7 else {})
    return signer.sign(claims, header=header)


_SPELLINGS: tuple[Callable[[bytes], bytes], ...] = (
    lambda text: text[:-1] + b',"sub":"mallory"}',
    lambda text: text[:-1] + b',"\\u0073ub":"mallory"}',
    lambda text: text[:-1] + b',"alg":"none"}',
    lambda text: text[:-1] + b',"exp":NaN}',
    lambda text: text[:-1] + b',"x":Infinity}',
    lambda text: text[:-1] + b',"x":' + b"9" * 5000 + b"}",
    lambda text: text[:-1] + b',"x":1e400}',
    lambda text: text[:-1] + b',"x":"\\ud800"}',
    lambda text: text[:-1] + b',"x":"\xff"}',
    lambda text: text[:-1] + b',"x":' + b"[" * 15 + b"]" * 15 + b"}",
    lambda text: text[:-1] + b',"x":' + b"[" * 16 + b"]" * 16 + b"}",
    lambda text: text[:-1] + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}",
    lambda text: text[:-1] + b",}",
    lambda text: b"\xef\xbb\xbf" + text,
    lambda text: text.decode().encode("utf-16"),
    lambda text: b"[" + text + b"]",
    lambda text: b" \r\n" + text + b" ",
    lambda text: text + b"{}",
    lambda text: text + b"\0",
    lambda text: text.replace(b'"', b"'"),
    lambda text: text.replace(b":", b" : "),
)


def write_json_differently(chance: Random, raw: str) -> str:
    """Write header or payload as JSON that parsers may read in several ways, and sign it."""
    issuer = chance.choice(list(TRUSTED))
    signer = chance.choice(TRUSTED[issuer])
    parts: list[object] = [{"alg": signer.algorithm, "kid": "main"}, payload(iss=issuer)]
    which = chance.randrange(2)
    parts[which] = chance.choice(_SPELLINGS)(json.dumps(parts[which]).encode())
    return signer.sign(parts[1], header=parts[0])


def confuse_algorithms(chance: Random, raw: str) -> str:
    """Sign with a public key as if it were a secret, or name one algorithm and use another."""
    signer = chance.choice(TRUSTED[ISSUER])
    header = {"alg": chance.choice(["HS256", "none", *ALGORITHMS]), "kid": "main"}
    unsigned = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload()).encode())}"
    secret = chance.choice(_public_forms(signer))
    signature = hmac.digest(secret, unsigned.encode(), "sha256")
    return f"{unsigned}.{chance.choice([b64(signature), raw.rpartition('.')[2], ''])}"


def _public_forms(signer: Signer) -> list[bytes]:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    kinds = (serialization.Encoding.PEM, serialization.Encoding.DER)
    written = [signer.public.public_bytes(kind, form) for kind in kinds]
    return [*written, json.dumps(signer.jwk()).encode()]


def _decoded(part: str) -> bytes:
    try:
        return base64url_decode(part.encode("ascii", "replace"))
    except ValueError:
        return b""


def stack(chance: Random, raw: str) -> str:
    """Spoil a token twice."""
    first, second = chance.choices(SINGLE, k=2)
    return second(chance, first(chance, raw) or raw)


UNSIGNED: tuple[Mutation, ...] = (
    flip_a_bit,
    flip_a_decoded_bit,
    swap_a_part,
    reorder,
    spell_differently,
    use_spare_bits,
)
SINGLE = (*UNSIGNED, sign_again, write_json_differently, confuse_algorithms)
MUTATIONS: tuple[Mutation, ...] = (*SINGLE, stack)
