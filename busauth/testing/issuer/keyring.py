"""The keys of an issuer: the one that signs, and those that are published."""

import json
from collections.abc import Collection
from threading import Lock
from typing import Any

from busauth.testing.issuer.keys import SigningKey, unb64

_PARTS = 3
ACCESS_TYPES = ("at+jwt", "application/at+jwt", "jwt", "application/jwt")


class Keyring:
    """Keys that change while others read them: every change replaces the tuple.

    Args:
        algorithm: of the first key.
    """

    def __init__(self, algorithm: str) -> None:
        self._changing = Lock()
        self._strangers: dict[str, SigningKey] = {}
        self.signing = SigningKey(algorithm)
        self.published: tuple[SigningKey, ...] = (self.signing,)

    def rotate(self, key: SigningKey | None, *, retire: bool) -> SigningKey:
        """Sign with this key from now on, None for a new one of the same algorithm."""
        new = key or SigningKey(self.signing.algorithm)
        with self._changing:
            kept = () if retire else tuple(each for each in self.published if each is not new)
            self.published = (*kept, new)
            self.signing = new  # the last step: nothing is signed that is not published
        return new

    def retire(self, key: SigningKey) -> None:
        """Publish this key no more.

        Raises:
            ValueError: it is not published, or it is the one that signs.
        """
        with self._changing:
            if key is self.signing:
                raise ValueError(f"{key!r} signs: expected a key that was rotated out before")
            if key not in self.published:
                raise ValueError(f"{key!r} is not published: expected one of {self.published!r}")
            self.published = tuple(each for each in self.published if each is not key)

    def stranger(self) -> SigningKey:
        """Return a key of the same algorithm that is published nowhere, always the same."""
        algorithm = self.signing.algorithm
        with self._changing:
            if algorithm not in self._strangers:
                self._strangers[algorithm] = SigningKey(algorithm)
            return self._strangers[algorithm]

    def read(self, token: str, types: Collection[str] = ACCESS_TYPES) -> dict[str, Any] | None:
        """Return the claims of a token of these types that a published key signed, else None."""
        parts = token.split(".")
        try:
            header, claims = (json.loads(unb64(part)) for part in parts[:2])
            signature = unb64(parts[2])
        except (ValueError, IndexError, RecursionError):
            return None
        if len(parts) != _PARTS or not _is_of(types, header) or not isinstance(claims, dict):
            return None
        message = token.rpartition(".")[0].encode()
        return claims if self._signed(header, message, signature) else None

    def _signed(self, header: dict[str, Any], message: bytes, signature: bytes) -> bool:
        named = (header.get("kid"), header.get("alg"))
        return any(
            (key.key_id, key.algorithm) == named and key.verifies(message, signature)
            for key in self.published
        )


def _is_of(types: Collection[str], header: Any) -> bool:
    """Whether this is the header of a token of these types."""
    if not isinstance(header, dict):
        return False
    return str(header.get("typ", "JWT")).lower() in types
