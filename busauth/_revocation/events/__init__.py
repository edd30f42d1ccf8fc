"""Security events: who says what about whose tokens? See docs/revocation.md."""

from busauth._revocation.events.asking import EventReader
from busauth._revocation.events.reading import (
    CLAIMS_CHANGE,
    CREDENTIAL_CHANGE,
    HEARTBEAT,
    REVOKING,
    SESSION_REVOKED,
    SKEW,
    VERIFICATION,
    SecurityEvent,
    Transmitters,
)
from busauth._revocation.events.signer import EventSigner
from busauth._revocation.events.subjects import Target
from busauth._revocation.events.transmitters import MAX_BYTES, TYPE, Transmitter

__all__ = [
    "CLAIMS_CHANGE",
    "CREDENTIAL_CHANGE",
    "HEARTBEAT",
    "MAX_BYTES",
    "REVOKING",
    "SESSION_REVOKED",
    "SKEW",
    "TYPE",
    "VERIFICATION",
    "EventReader",
    "EventSigner",
    "SecurityEvent",
    "Target",
    "Transmitter",
    "Transmitters",
]
