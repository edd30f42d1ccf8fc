"""A consumer's own keys for the tokens that its letters keep.

A kept token is encrypted for its consumer, which alone opens it: whoever sends letters again
forwards it unopened. It travels where any token does, known by its `typ`, and counts on its letter
alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from busauth._arguments import checked
from busauth._tokens.compact import header_of
from busauth._tokens.encryption.encryption import (
    KEPT,
    MAX_KEPT_HEADER,
    Decryption,
    KeptFor,
    TokenEncryption,
)
from busauth._tokens.envelope import check_header, is_encrypted, read, sealed_length
from busauth._tokens.profiles.profile import media_type
from busauth.errors import ConfigurationError, NotGenuine

_LONGEST = 64 * 1024
"""Bytes: as long as a guard can be told to take tokens."""


class LetterKeys:
    """Keeps the tokens of a consumer's letters, and opens them; its repr shows no key.

    Args:
        keys: a private JWK, or a JWK set: the first key encrypts with its public half, all of them
            open: rotate by adding the new one in front.

    Attributes:
        encryption: encrypts what letters keep.

    Raises:
        ConfigurationError: a key is unusable or has no private half, there is none, or the extra
            `encryption` is not installed.
    """

    @checked
    def __init__(self, keys: Mapping[str, Any]) -> None:
        jwks = keys.get("keys", [keys])
        if not isinstance(jwks, Sequence) or not jwks:
            raise ConfigurationError("keep_token: a JWK set without a key: expected one or more")
        self._decryption = Decryption(jwks, max_token_bytes=_LONGEST)
        self.encryption = TokenEncryption({"letters": jwks[0]}, max_token_bytes=_LONGEST)

    def open(self, kept: str, letter: KeptFor, *, formerly: Sequence[str] = ()) -> str:
        """Return the token that a letter kept. It is hostile until it was verified.

        Args:
            kept: as it came.
            letter: by its queue's name of today.
            formerly: names that the queue had when it may have been kept.

        Raises:
            NotGenuine: as of `Decryption.open_for_redrive`.
        """
        return self._decryption.open_for_redrive(kept, kept_under(kept, letter, formerly))

    def __repr__(self) -> str:
        return f"<LetterKeys {self._decryption}>"


def is_kept(token: str) -> bool:
    """Return whether a token says that a letter kept it; nothing of it is authenticated."""
    if not is_encrypted(token):
        return False
    typ = _header(token).get("typ")
    return typ is not None and media_type(typ) == media_type(KEPT)


def kept_under(kept: str, letter: KeptFor, formerly: Sequence[str]) -> KeptFor:
    """Return a letter by the one of its queue's names that a kept token says, if it is one."""
    said = _header(kept).get("busauth-queue")
    if not isinstance(said, str) or said not in formerly:
        return letter
    return KeptFor(queue=said, message_id=letter.message_id, body=letter.body)


def key_id_of(kept: str) -> object:
    """Return whose key a kept token says that it is for."""
    return _header(kept).get("kid")


def check_kept(kept: str, letter: KeptFor) -> None:
    """Refuse what says that it was kept for another letter, or for none; it is not opened.

    Raises:
        NotGenuine: ``token.encryption_moved``, or with the first rule that its envelope breaks.
    """
    longest = sealed_length(_LONGEST, MAX_KEPT_HEADER)
    envelope = read(kept, max_bytes=longest, max_header=MAX_KEPT_HEADER)
    check_header(envelope.header, typ=KEPT)
    letter.check(envelope.header)


def _header(token: str) -> Mapping[str, Any]:
    """Return what a protected header says, nothing where it cannot be read."""
    first, _, _ = token.partition(".")
    if len(first) > MAX_KEPT_HEADER or not first.isascii():
        return {}
    try:
        return header_of(first.encode("ascii"))
    except NotGenuine:
        return {}
