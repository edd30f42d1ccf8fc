"""The compact serialization of a JWS, read strictly (RFC 7515, section 7.1; RFC 8725, section 3).

Rules:

1. A token is at most `max_bytes` long, in characters of ``[A-Za-z0-9_.-]`` only.
2. It has exactly three parts, none of them empty.
3. base64url without padding, and canonical: no two spellings decode to the same bytes.
4. Header and payload are JSON objects in UTF-8: no duplicate members, no NaN or infinity, no more
   than `MAX_DEPTH` levels.

Nothing here is authenticated yet: what `split` returns is hostile until the signature was checked.
Issuers repeat their headers, so what a header's text reads as is remembered. That depends on the
text alone; what the header means, and whose key it names, is asked anew for every token.
"""

import json
from base64 import urlsafe_b64decode
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from busauth.errors import NotGenuine

MAX_DEPTH = 16
"""Levels of nesting in a header or payload."""

_PARTS = 3  # header, payload, signature (RFC 7515, section 7.1)
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_CHARACTERS = _DIGITS + b"."
_LAST = (_DIGITS, b"", _DIGITS[::16], _DIGITS[::4])
"""What a part may end in, by its length modulo 4: the bits that no byte needs are zero."""

_PADDING = (b"", b"===", b"==", b"=")
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
_LONGEST_HEADER = 16 * 1024
"""Characters: what is longer is read for nobody who only asks whether it is a header."""

_REMEMBERED_HEADERS = 256  # one for each key of each issuer, and room for rotations
_REMEMBERED_LENGTH = 512
"""Characters: real headers are shorter, and hostile ones must not fill the memory."""


class CompactToken(NamedTuple):
    """The parts of a compact JWS, decoded and not yet authenticated."""

    header: Mapping[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes


def split(token: str, *, max_bytes: int) -> CompactToken:
    """Read a compact JWS.

    Raises:
        NotGenuine: ``token.empty``, ``token.too_large``, ``token.characters``, ``token.segments``,
            ``token.encoding`` or ``token.json``.
    """
    raw = characters(token, max_bytes)
    parts = raw.split(b".")
    if len(parts) != _PARTS or not all(parts):
        raise NotGenuine(
            "token.segments", found=f"{len(parts)} parts", expected="3 non-empty parts"
        )
    header, payload, signature = parts
    return CompactToken(
        _known_header(header) if len(header) <= _REMEMBERED_LENGTH else header_of(header),
        json_object(decode(payload, "payload"), "payload"),
        raw[: -len(signature) - 1],
        decode(signature, "signature"),
    )


def is_signed(token: str) -> bool:
    """Return whether a text is meant as a JWS: three parts, and a JSON object for a header.

    This is for telling kinds of token apart, and therefore lenient: a misspelt JWS is one as well.
    """
    header, *others = token.split(".")
    if len(others) != _PARTS - 1 or len(header) > _LONGEST_HEADER:
        return False
    try:
        raw = urlsafe_b64decode(header + "=" * (-len(header) % 4))
        return isinstance(json.loads(raw), dict)
    except (ValueError, RecursionError):  # no header is no JWS: opaque tokens look like that
        return False


def named_issuer(token: str, *, max_bytes: int) -> str | None:
    """Return the `iss` that a compact JWS names, None for anything else. It proves nothing."""
    if not is_signed(token):
        return None
    try:
        issuer = split(token, max_bytes=max_bytes).payload.get("iss")
    except NotGenuine:  # whoever judges it says what is wrong with it
        return None
    return issuer if isinstance(issuer, str) else None


def characters(token: str, max_bytes: int) -> bytes:
    """Return a token's bytes, by rule 1.

    Raises:
        NotGenuine: ``token.empty``, ``token.too_large`` or ``token.characters``.
    """
    if not token:
        raise NotGenuine("token.empty", found="no characters", expected="a compact JWS")
    if len(token) > max_bytes:
        found, expected = f"{len(token)} bytes", f"at most {max_bytes} bytes"
        raise NotGenuine("token.too_large", found=found, expected=expected)
    raw = token.encode("ascii", "replace")  # by a question mark, which is outside too
    if raw.translate(None, _CHARACTERS):
        found = "characters outside base64url"
        raise NotGenuine("token.characters", found=found, expected="[A-Za-z0-9_.-] only")
    return raw


def header_of(part: bytes) -> Mapping[str, Any]:
    """Read an encoded header.

    Raises:
        NotGenuine: ``token.encoding`` or ``token.json``.
    """
    return MappingProxyType(json_object(decode(part, "header"), "header"))


_known_header = lru_cache(_REMEMBERED_HEADERS)(header_of)


def decode(part: bytes, name: str) -> bytes:
    """Decode one part by rule 3: not empty, of base64url's characters. `name` is for the message.

    Raises:
        NotGenuine: ``token.encoding``.
    """
    if part[-1] not in _LAST[len(part) % 4]:
        found = f"a {name} that is not canonical base64url"
        raise NotGenuine("token.encoding", found=found, expected="base64url without padding")
    return a2b_base64(part.translate(_TO_BASE64) + _PADDING[len(part) % 4], strict_mode=True)


def json_object(raw: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object by rule 4; `name` is for the message.

    Raises:
        NotGenuine: ``token.json``.
    """
    try:
        text = raw.decode("utf-8")
        value = _parsed(text)
        if "\\u" in text or text.count("{") + text.count("[") >= MAX_DEPTH:
            _check_inside(value)  # a lone surrogate is written as an escape only
    except (ValueError, RecursionError) as error:
        # Python's own words may quote what a sender wrote; ours never do.
        is_ours = isinstance(error, _HostileError)
        found = f"{error} in the {name}" if is_ours else f"a {name} that is not JSON"
        raise NotGenuine("token.json", found=found, expected=f"JSON {name}") from None
    if not isinstance(value, dict):
        found = f"a {name} of type {type(value).__name__}"
        raise NotGenuine("token.json", found=found, expected="a JSON object")
    return value


class _HostileError(ValueError):
    """JSON that parses, and that no issuer would write."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # two readers could take different ones (RFC 7519, section 4)
        raise _HostileError("a duplicate member")
    return found


def _no_constants(_name: str) -> NoReturn:
    raise _HostileError("NaN or an infinity")


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constants)


def _parsed(text: str) -> Any:
    """Parse a text, and look for white space around it only where there is some."""
    if text.startswith("{"):
        value, end = _JSON.raw_decode(text)
        if end == len(text):
            return value
    return _JSON.decode(text)


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
