"""The compact serialization of a JWE, read strictly before it is opened (RFC 7516, section 7.1).

Rules:

1. At most `max_bytes` long, in characters of ``[A-Za-z0-9_.-]`` only.
2. Five parts; only the encrypted key may be empty, as key agreement leaves it.
3. base64url without padding, and canonical; the header is a JSON object, as in `compact`.
4. ``zip``, ``crit`` and ``b64`` are refused: nothing is ever decompressed. ``jku``, ``jwk``,
   ``x5u`` and ``x5c`` are not followed.
5. ``alg`` is one of `KEY_ALGORITHMS`: RSA1_5, and PBES2 with its ``p2c`` of the sender's choice,
   are not. ``enc`` is A256GCM; 96 bits of initialization vector and 128 of tag (RFC 7518, section
   5.3). ``cty`` says that a JWT is inside.

Nothing here is authenticated yet.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from busauth._tokens.compact import characters, decode, header_of
from busauth._tokens.profiles.profile import media_type
from busauth.errors import NotGenuine

KEY_ALGORITHMS = ("RSA-OAEP-256", "ECDH-ES", "A256GCMKW")
"""How a content key may travel; each key is pinned to one of them."""

CONTENT = "A256GCM"
"""The only content encryption."""

IV_BYTES, TAG_BYTES = 12, 16
_PARTS = 5
_SEPARATORS = _PARTS - 1
_MAX_WRAPPED = 683
"""Characters of an encrypted key, which is an RSA key's of 4096 bits at most."""


class Envelope(NamedTuple):
    """The parts of a compact JWE, decoded and not yet authenticated."""

    header: Mapping[str, Any]
    encrypted_key: bytes
    iv: bytes
    ciphertext: bytes
    tag: bytes


def is_encrypted(token: str) -> bool:
    """Return whether a token is written as a compact JWE is (RFC 7516, section 9)."""
    return token.count(".") == _SEPARATORS


def refuse_encrypted(token: str) -> None:
    """Refuse a JWE, for whoever has no key for one.

    Raises:
        NotGenuine: ``token.encrypted``.
    """
    if is_encrypted(token):
        raise NotGenuine("token.encrypted", found="an encrypted token", expected="a compact JWS")


def sealed_length(token_bytes: int, header_bytes: int) -> int:
    """Return the characters that a JWE of a token with a header of these lengths may have."""
    encoded = (4 * token_bytes + 2) // 3
    # 16 and 22 characters are a vector's 12 bytes and a tag's 16, in base64url.
    return header_bytes + _MAX_WRAPPED + 16 + encoded + 22 + _SEPARATORS


def read(token: str, *, max_bytes: int, max_header: int) -> Envelope:
    """Read a compact JWE.

    Args:
        token: the text of it.
        max_bytes: longer ones are refused unread.
        max_header: characters of the encoded header.

    Raises:
        NotGenuine: ``token.empty``, ``token.too_large``, ``token.characters``, ``token.segments``,
            ``token.encoding`` or ``token.json``.
    """
    parts = characters(token, max_bytes).split(b".")
    if len(parts) != _PARTS or not all((parts[0], *parts[2:])):
        expected = "5 parts, only the second one empty"
        raise NotGenuine("token.segments", found=f"{len(parts)} parts", expected=expected)
    if len(parts[0]) > max_header:
        found, expected = f"a header of {len(parts[0])} bytes", f"at most {max_header} bytes"
        raise NotGenuine("token.too_large", found=found, expected=expected)
    names = ("encrypted key", "initialization vector", "ciphertext", "tag")
    decoded = [
        decode(part, name) if part else b"" for part, name in zip(parts[1:], names, strict=True)
    ]
    return Envelope(header_of(parts[0]), *decoded)


def check_header(header: Mapping[str, Any], *, typ: str) -> None:
    """Hold what a header says to the rules, all but whose key it names.

    Args:
        header: hostile.
        typ: the media type that it must name; one without `typ` is taken for ``JWT``.

    Raises:
        NotGenuine: ``token.crit``, ``token.encryption_zip``, ``token.encryption_algorithm`` or
            ``token.encryption_type``.
    """
    if "crit" in header or "b64" in header:
        raise NotGenuine("token.crit", found="critical extensions", expected="none")
    if "zip" in header:
        raise NotGenuine("token.encryption_zip", found="compressed content", expected="none")
    for member, allowed in (("alg", KEY_ALGORITHMS), ("enc", (CONTENT,))):
        if header.get(member) not in allowed:
            found = f"{member}={header.get(member)!r}"
            expected = " or ".join(allowed)
            raise NotGenuine("token.encryption_algorithm", found=found, expected=expected)
    _check_type("cty", header.get("cty"), "JWT")
    _check_type("typ", header.get("typ", "JWT"), typ)


def _check_type(member: str, found: Any, expected: str) -> None:
    if media_type(found) != media_type(expected):
        raise NotGenuine("token.encryption_type", found=f"{member}={found!r}", expected=expected)


def check_sizes(envelope: Envelope, *, encrypted_key: int) -> None:
    """Hold the lengths of what is decoded to the one value that each of them can have.

    Raises:
        NotGenuine: ``token.encryption_size``.
    """
    for name, found, expected in (
        ("encrypted key", envelope.encrypted_key, encrypted_key),
        ("initialization vector", envelope.iv, IV_BYTES),
        ("tag", envelope.tag, TAG_BYTES),
    ):
        if len(found) != expected:
            raise NotGenuine(
                "token.encryption_size",
                found=f"{name} of {len(found)} bytes",
                expected=f"{expected} bytes",
            )
