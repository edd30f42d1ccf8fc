"""Writing events: revocations, and the heartbeats that say that the feed is alive."""

from typing import Any
from uuid import uuid4

from busauth._arguments import checked
from busauth._revocation.events.reading import HEARTBEAT, REVOKING, SESSION_REVOKED
from busauth._revocation.events.subjects import Target
from busauth._revocation.events.transmitters import TYPE
from busauth._tokens.keys.signing import PrivateKey, SigningKey
from busauth.errors import ConfigurationError


class EventSigner:
    """Signs events in the name of one transmitter.

    Args:
        name: the transmitter, as the feed's readers know it.
        key: its private key, or a shared secret; see `SigningKey`.
        algorithm: what it signs with.
        audience: whom events are for: a name that the feed's readers go by.
        key_id: which of its keys this is.

    Raises:
        ConfigurationError: a name is empty, or the key does not fit.
    """

    @checked
    def __init__(
        self,
        name: str,
        key: PrivateKey,
        *,
        algorithm: str,
        audience: str,
        key_id: str | None = None,
    ) -> None:
        if not name or not audience:
            found = f"name={name!r}, audience={audience!r}"
            raise ConfigurationError(f"{found}: expected names, none of them empty")
        self.name = name
        self._audience = audience
        self._key = SigningKey(key, algorithm=algorithm, key_id=key_id)

    def revocation(
        self,
        target: Target,
        *,
        now: float,
        effective_at: float | None = None,
        kind: str = SESSION_REVOKED,
        reason: str | None = None,
    ) -> str:
        """Return the event that ends the tokens of a target.

        Args:
            target: whose tokens.
            now: when this is told, seconds since the epoch.
            effective_at: tokens issued until then are meant; default: until now.
            kind: one of `REVOKING`.
            reason: for the administrators who read it.

        Raises:
            ConfigurationError: another kind, or a target that names nobody.
        """
        if kind not in REVOKING:
            raise ConfigurationError(f"kind={kind!r}: expected one of {list(REVOKING)}")
        if not (target.token_id or target.subject or target.session or target.client):
            raise ConfigurationError(f"{target}: expected a token, subject, session or client")
        event: dict[str, Any] = {"event_timestamp": now if effective_at is None else effective_at}
        if reason is not None:
            event["reason_admin"] = {"en": reason}
        return self._signed(now, {"sub_id": target.identifier(), "events": {kind: event}})

    def heartbeat(self, now: float) -> str:
        """Return an event that says that the feed is alive."""
        return self._signed(now, {"events": {HEARTBEAT: {}}})

    def _signed(self, now: float, claims: dict[str, Any]) -> str:
        about = {"iss": self.name, "aud": self._audience, "iat": now, "jti": uuid4().hex}
        return self._key.sign(about | claims, typ=TYPE)

    def __repr__(self) -> str:
        return f"<EventSigner {self.name} {self._key!r}>"
