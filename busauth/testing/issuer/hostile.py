"""Tokens that no consumer may take for this issuer's word, by what is wrong with them.

`forged` is the one that a forger would begin with. `hostile` is the whole collection: a service
that verifies tokens is fine when it refuses every one of them.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from busauth.testing.issuer.keys import as_json, b64, unb64
from busauth.testing.issuer.minting import Mint

_EVIL = "https://evil.test"
_MEGABYTE = 1_000_000
_CLAIMS: Mapping[str, Mapping[str, Any]] = {
    "exp a bool": {"exp": True},
    "exp a string": {"exp": "9999999999"},
    "exp a list": {"exp": []},
    "exp an object": {"exp": {}},
    "exp negative": {"exp": -1},
    "exp infinite": {"exp": math.inf},
    "exp missing": {"exp": None},
    "nbf a string": {"nbf": "0"},
    "iat a list": {"iat": []},
    "iss foreign": {"iss": _EVIL},
    "iss a list": {"iss": [_EVIL]},
    "iss missing": {"iss": None},
    "aud foreign": {"aud": "bank"},
    "aud of others": {"aud": ["bank", "mint"]},
    "aud empty": {"aud": []},
    "aud a number": {"aud": 5},
    "aud missing": {"aud": None},
    "sub a number": {"sub": 5},
    "sub missing": {"sub": None},
    "jti a list": {"jti": []},
    "act without sub": {"act": {"iss": _EVIL}},
    "sender-constrained": {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    "a security event": {"events": {}},
    "too long": {"padding": "x" * _MEGABYTE},
}
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "exp overflowing": {"exp": "1e999"},
    "exp not a number": {"exp": "NaN"},
    "exp null": {"exp": "null"},
    "sub twice": {"sub": '"alice", "sub": "mallory"'},
    "deep JSON": {"x": "[" * 900 + "]" * 900},
}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "kid unknown": {"kid": "nobody's"},
    "kid a path": {"kid": "../../../../dev/null"},
    "kid a query": {"kid": "' UNION SELECT 'secret"},
    "kid a number": {"kid": 5},
    "alg missing": {"alg": None},
    "alg unknown": {"alg": "XS256"},
    "alg a list": {"alg": ["none"]},
    "typ of an event": {"typ": "secevent+jwt"},
    "typ of an introspection": {"typ": "token-introspection+jwt"},
    "typ a number": {"typ": 5},
    "crit": {"crit": ["exp"]},
    "crit with b64": {"crit": ["b64"], "b64": True},
}
_PAYLOADS: Mapping[str, bytes] = {
    "payload a list": b"[]",
    "payload no JSON": b"alice",
    "payload not UTF-8": b'{"sub":"\xff"}',
    "payload empty": b"",
}


def forged(mint: Mint, subject: str = "alice", **changes: Any) -> str:
    """Return a token that looks right, down to the `kid`, and is signed by somebody else."""
    header = {"kid": mint.signing.key_id}
    return mint.token(subject, header=header, key=mint.stranger, **changes)


def verbatim(mint: Mint, subject: str = "alice", **texts: str) -> str:
    """Return a signed token whose claims are spelled as these JSON texts, broken or not."""
    kept = {name: json.dumps(value) for name, value in mint.claims(subject).items()} | texts
    members = ", ".join(f"{json.dumps(name)}: {text}" for name, text in kept.items())
    return mint.sign(f"{{{members}}}".encode())


def hostile(mint: Mint) -> dict[str, str]:
    """Return tokens that must all be refused, each by what is wrong with it."""
    return {
        **_forgeries(mint),
        **_spellings(mint.token()),
        **{name: mint.token(header=header) for name, header in _HEADERS.items()},
        **{name: mint.token(**changes) for name, changes in _CLAIMS.items()},
        **{name: verbatim(mint, **texts) for name, texts in _TEXTS.items()},
        **{name: mint.sign(payload) for name, payload in _PAYLOADS.items()},
    }


def _forgeries(mint: Mint) -> dict[str, str]:
    """Tokens without the issuer's signature."""
    return {
        "alg none": mint.token(algorithm="none"),
        "alg none, in capitals": mint.token(algorithm="none", header={"alg": "NONE"}),
        "alg none, with a signature": mint.token(header={"alg": "none"}),
        "HS256 with the public key": mint.token(algorithm="HS256"),
        "another's key": mint.token(key=mint.stranger),
        "another's key under our kid": forged(mint),
        "another's key, no kid": _unnamed(mint),
        "another's key in the header": _self_certified(mint),
        "claims exchanged": _exchanged(mint),
    }


def _unnamed(mint: Mint) -> str:
    """Another's key, where the verifier is left to choose the key."""
    return mint.token(key=mint.stranger, header={"kid": None})


def _self_certified(mint: Mint) -> str:
    header = {
        "kid": mint.signing.key_id,
        "jwk": mint.stranger.public_jwk(),
        "jku": f"{_EVIL}/jwks.json",
        "x5u": f"{_EVIL}/cert.pem",
        "x5c": [b64(b"no certificate")],
    }
    return mint.token(key=mint.stranger, header=header)


def _exchanged(mint: Mint) -> str:
    """Another's claims under a genuine signature."""
    header, _, signature = mint.token().split(".")
    return f"{header}.{b64(as_json(mint.claims('mallory')))}.{signature}"


def _spellings(token: str) -> dict[str, str]:
    """A genuine token, misspelled."""
    header, payload, signature = token.split(".")
    return {
        "nothing": "",
        "one part": header,
        "two parts": f"{header}.{payload}",
        "four parts": f"{token}.{signature}",
        "five parts": f"{header}.{payload}.{signature}.{payload}.{signature}",
        "no header": f".{payload}.{signature}",
        "no payload": f"{header}..{signature}",
        "no signature": f"{header}.{payload}.",
        "signature cut": f"{header}.{payload}.{b64(unb64(signature)[:-1])}",
        "signature padded": f"{token}==",
        "a blank inside": f"{header}. {payload}.{signature}",
        "a line break after": f"{token}\n",
        "a letter that looks alike": f"{header.replace('e', 'е', 1)}.{payload}.{signature}",  # noqa: RUF001 -- Cyrillic on purpose
    }
