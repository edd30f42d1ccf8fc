"""Tokens that say nothing to whoever carries them (RFC 6750, section 2.1)."""

import re

from busauth.errors import NotGenuine

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def check_opaque(token: str, *, max_bytes: int) -> None:
    """Hold a text to what a bearer token may be, before anybody is asked about it.

    Raises:
        NotGenuine: ``token.empty``, ``token.too_large`` or ``token.characters``.
    """
    if not token:
        raise NotGenuine("token.empty", found="no characters", expected="a token")
    if len(token) > max_bytes:
        found, expected = f"{len(token)} bytes", f"at most {max_bytes} bytes"
        raise NotGenuine("token.too_large", found=found, expected=expected)
    if not _B64TOKEN.fullmatch(token):
        found = "characters outside b64token"
        raise NotGenuine("token.characters", found=found, expected="[A-Za-z0-9._~+/-] and =")
