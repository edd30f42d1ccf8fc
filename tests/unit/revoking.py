"""What the tests of revocation share: transmitters, their events, and the callers they concern."""

from typing import Any

from busauth import StaticKeys
from busauth._revocation import RevokedTokens
from busauth._revocation.events import SESSION_REVOKED
from busauth.caller import Caller, read_only
from busauth.errors import Refused
from busauth.revocation import EventSigner, SecurityEvent, Target, Transmitter, Transmitters
from tests.unit.support import ISSUER, NOW, Signer

OPS = "https://ops.test"
FEED = "shop-feed"
LIFE, LATENESS = 3600.0, 1800.0
RETENTION = LIFE + LATENESS
ALICE = {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}

_SIGNER = Signer("ES256", "ops")


def transmitter(name: str = OPS, **settings: Any) -> Transmitter:
    """Return a transmitter that may speak of the tests' issuer, and keeps the time."""
    usual: dict[str, Any] = {
        "keys": StaticKeys([_SIGNER.jwk()]),
        "algorithms": ["ES256"],
        "issuers": ISSUER,
        "heartbeats": True,
    }
    return Transmitter(name, **(usual | settings))


def transmitters(*given: Transmitter, **settings: Any) -> Transmitters:
    return Transmitters(given or (transmitter(**settings),), audience=FEED)


def signer(name: str = OPS, audience: str = FEED) -> EventSigner:
    return EventSigner(name, _SIGNER.private, algorithm="ES256", audience=audience, key_id="ops")


def claims(**changes: Any) -> dict[str, Any]:
    """Return what a revocation says; `...` takes a claim away."""
    usual: dict[str, Any] = {
        "iss": OPS,
        "aud": FEED,
        "iat": int(NOW),
        "jti": "e-1",
        "sub_id": ALICE,
        "events": {SESSION_REVOKED: {"event_timestamp": int(NOW)}},
    }
    return {name: value for name, value in (usual | changes).items() if value is not ...}


def written(said: object | None = None, **header: Any) -> str:
    """Return an event that says anything, signed; `header` changes what is usual."""
    return _SIGNER.sign(claims() if said is None else said, **({"typ": "secevent+jwt"} | header))


def code_of(raw: object, trusted: Transmitters | None = None, now: float = NOW) -> str:
    """Return the code with which an event is refused, `accepted` where it is not."""
    try:
        (trusted or transmitters()).read(raw, now)
    except Refused as refused:
        return refused.code
    return "accepted"


def event(effective_at: float = NOW, **target: Any) -> SecurityEvent:
    """Return an event that was read already."""
    return SecurityEvent(
        transmitter=OPS,
        event_id="e-1",
        issued_at=effective_at,
        targets=(Target(**({"issuer": ISSUER} | target)),),
        effective_at=effective_at,
        is_heartbeat=False,
    )


def store(**settings: Any) -> RevokedTokens:
    return RevokedTokens(**({"retention": RETENTION, "token_life": LIFE} | settings))


def caller(subject: str = "alice", *, issued_at: float | None = NOW - 60, **changes: Any) -> Caller:
    """Return a caller; `session` is a claim of the token."""
    session = changes.pop("session", None)
    usual: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": subject,
        "client": "shop-web",
        "scopes": frozenset(),
        "roles": frozenset(),
        "audience": ("shop",),
        "expires_at": NOW + 300,
        "issued_at": issued_at,
        "token_id": "t-1",
        "token_sha256": "0" * 64,
        "claims": read_only({} if session is None else {"sid": session}),
    }
    return Caller(**(usual | changes))
