"""Security events: who says what about whose tokens? See docs/revocation.md."""

from busauth.late.events.asking import EventReader
from busauth.late.events.reading import (
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
from busauth.late.events.signer import EventSigner
from busauth.late.events.subjects import Target
from busauth.late.events.transmitters import MAX_BYTES, TYPE, KeyUnknown, Transmitter

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
    "KeyUnknown",
    "SecurityEvent",
    "Target",
    "Transmitter",
    "Transmitters",
]
