"""The compact serialization of a JWS, read strictly (RFC 7515, section 7.1; RFC 8725, section 3).

Rules:

1. A token is at most `max_bytes` long, in characters of ``[A-Za-z0-9_.-]`` only.
2. It has exactly three parts, none of them empty.
3. base64url without padding, and canonical: no two spellings decode to the same bytes.
4. Header and payload are JSON objects in UTF-8: no duplicate members, no NaN or infinity, no more
   than `MAX_DEPTH` levels.

Nothing here is authenticated yet: what `split` returns is hostile until the signature was checked.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from busauth.errors import NotGenuine

MAX_DEPTH = 16
"""Levels of nesting in a header or payload."""

_ALPHABET = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_PARTS = 3


@dataclass(frozen=True, slots=True)
class CompactToken:
    """The parts of a compact JWS, decoded and not yet authenticated."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


def split(token: str, *, max_bytes: int) -> CompactToken:
    """Read a compact JWS.

    Raises:
        NotGenuine: ``token.empty``, ``token.too_large``, ``token.characters``, ``token.segments``,
            ``token.encoding`` or ``token.json``.
    """
    _check_text(token, max_bytes)
    parts = token.split(".")
    if len(parts) != _PARTS or not all(parts):
        raise NotGenuine(
            "token.segments", found=f"{len(parts)} parts", expected="3 non-empty parts"
        )
    header, payload, signature = parts
    return CompactToken(
        header=_json_object(_decode(header, "header"), "header"),
        payload=_json_object(_decode(payload, "payload"), "payload"),
        signing_input=f"{header}.{payload}".encode("ascii"),
        signature=_decode(signature, "signature"),
    )


def _check_text(token: str, max_bytes: int) -> None:
    if not token:
        raise NotGenuine("token.empty", found="no characters", expected="a compact JWS")
    if len(token) > max_bytes:
        found, expected = f"{len(token)} bytes", f"at most {max_bytes} bytes"
        raise NotGenuine("token.too_large", found=found, expected=expected)
    if not _ALPHABET.fullmatch(token):
        found = "characters outside base64url"
        raise NotGenuine("token.characters", found=found, expected="[A-Za-z0-9_.-] only")


def _decode(part: str, name: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode("ascii"):
        found = f"a {name} that is not canonical base64url"
        raise NotGenuine("token.encoding", found=found, expected="base64url without padding")
    return raw


def _json_object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constants
        )
        _check_inside(value)
    except (ValueError, RecursionError) as error:
        raise NotGenuine("token.json", found=_why(error, name), expected=f"JSON {name}") from None
    if not isinstance(value, dict):
        found = f"a {name} of type {type(value).__name__}"
        raise NotGenuine("token.json", found=found, expected="a JSON object")
    return value


class _HostileError(ValueError):
    """JSON that parses, and that no issuer would write."""


def _why(error: Exception, name: str) -> str:
    return (
        f"{error} in the {name}"
        if isinstance(error, _HostileError)
        else f"a {name} that is not JSON"
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _HostileError("a duplicate member")
    return found


def _no_constants(_name: str) -> NoReturn:
    raise _HostileError("NaN or an infinity")


def _check_inside(value: Any, depth: int = 1) -> None:
    """Refuse deep nesting, and strings that no UTF-8 text can hold (lone surrogates)."""
    if depth > MAX_DEPTH:
        raise _HostileError(f"more than {MAX_DEPTH} levels")
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for member, item in value.items():
            member.encode("utf-8")
            _check_inside(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_inside(item, depth + 1)
