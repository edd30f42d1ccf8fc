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
        self._subjects: dict[str, float] = {}
        self._sources: dict[str, str] = {}

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
        self._revoked.add(identifier(token, claims))

    def revoke_subject(self, subject: str, now: float) -> None:
        """Count nothing more that this subject was given until now."""
        self._subjects[subject] = now

    def derive(self, token: str, claims: Mapping[str, Any], source: str) -> None:
        """Count this token only as long as the one that it was given for is not taken back.

        Args:
            token: the new one.
            claims: its claims.
            source: what the other one is known by; see `identifier`.
        """
        self._sources[identifier(token, claims)] = source

    def revoked(self, token: str, claims: Mapping[str, Any]) -> bool:
        """Return whether this token was taken back, or one that it was given for."""
        known: str | None = identifier(token, claims)
        while known is not None:
            if known in self._revoked:
                return True
            known = self._sources.get(known)
        revoked_at = self._subjects.get(str(claims.get("sub")))
        issued_at = claims.get("iat")
        return revoked_at is not None and not (
            isinstance(issued_at, int | float) and issued_at > revoked_at
        )


def identifier(token: str, claims: Mapping[str, Any]) -> str:
    """`jti`, as one token may be spelled in several ways; where there is none, the spelling."""
    name = claims.get("jti")
    return f"jti {name}" if isinstance(name, str) else hashlib.sha256(token.encode()).hexdigest()
