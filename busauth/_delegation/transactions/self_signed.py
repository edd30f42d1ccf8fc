"""Whose work it is that a service starts by itself: by its own signature (section 7.2.1)."""

from typing import Any
from uuid import uuid4

from busauth._arguments import checked
from busauth._tokens.keys.signing import PrivateKey, SigningKey
from busauth.errors import ConfigurationError

SELF_SIGNED = "urn:ietf:params:oauth:token-type:self_signed"
_LIFETIME = 60  # seconds: for one request, and for clocks that differ a little


class SelfSigned:
    """Signs, for each transaction that a service starts, for whom it does so.

    Args:
        workload: the service, as the transaction token service knows it: `iss`.
        key: the private half; the transaction token service knows the public one.
        algorithm: the only algorithm that it signs with; no shared secrets.
        key_id: its `kid`.

    Raises:
        ConfigurationError: no name; the key does not fit the algorithm, or is a shared secret.
    """

    @checked
    def __init__(
        self, workload: str, key: PrivateKey, *, algorithm: str, key_id: str | None = None
    ) -> None:
        self.workload = workload
        self._key = SigningKey(key, algorithm=algorithm, key_id=key_id)
        if not workload or self._key.algorithm.startswith("HS"):
            raise ConfigurationError(f"{self!r} with {self._key!r}: expected a private key")

    @property
    def jwk(self) -> dict[str, Any]:
        """Return the public key, for the transaction token service."""
        return self._key.verification_jwk()

    def token(self, subject: str, audience: str, now: float) -> str:
        """Return a subject token, good for a minute.

        Args:
            subject: for whom the transaction is.
            audience: the transaction token service.
            now: seconds since the epoch.
        """
        claims = {
            "iss": self.workload,
            "sub": subject,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + _LIFETIME,
            "jti": uuid4().hex,
        }
        return self._key.sign(claims, typ="JWT")

    def __repr__(self) -> str:
        return f"<SelfSigned {self.workload}>"
