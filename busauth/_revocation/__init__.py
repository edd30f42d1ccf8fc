"""Which tokens were revoked, how that is kept, and how far it can be relied on."""

from busauth._revocation.checkpoint import (
    Checkpoint,
    CheckpointFile,
    Position,
    UnusableCheckpoint,
)
from busauth._revocation.health import FeedHealth, OnStale
from busauth._revocation.store import RevokedTokens

__all__ = [
    "Checkpoint",
    "CheckpointFile",
    "FeedHealth",
    "OnStale",
    "Position",
    "RevokedTokens",
    "UnusableCheckpoint",
]
