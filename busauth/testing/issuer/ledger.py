"""What an issuer remembers of its tokens: who the opaque ones are for, which ones it took back."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any


class Ledger:
    """References and revocations. Each step is a single one, so threads need no lock."""

    def __init__(self) -> None:
        self._references: dict[str, dict[str, Any]] = {}
        self._revoked: set[str] = set()

    def keep(self, claims: Mapping[str, Any]) -> str:
        """Return a new opaque token for these claims."""
        token = secrets.token_urlsafe(32)
        self._references[token] = dict(claims)
        return token

    def find(self, token: str) -> dict[str, Any] | None:
        """Return the claims behind an opaque token, None for anything else."""
        claims = self._references.get(token)
        return None if claims is None else dict(claims)

    def revoke(self, token: str, claims: Mapping[str, Any]) -> None:
        """Count this token no more."""
        self._revoked.add(_identifier(token, claims))

    def revoked(self, token: str, claims: Mapping[str, Any]) -> bool:
        """Return whether this token was taken back."""
        return _identifier(token, claims) in self._revoked


def _identifier(token: str, claims: Mapping[str, Any]) -> str:
    """`jti`, as one token may be spelled in several ways; where there is none, the spelling."""
    name = claims.get("jti")
    return f"jti {name}" if isinstance(name, str) else hashlib.sha256(token.encode()).hexdigest()
