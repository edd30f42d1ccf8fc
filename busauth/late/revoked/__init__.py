"""Which tokens were revoked, how that is kept, and how far it can be relied on."""

from busauth.late.revoked.checkpoint import (
    Checkpoint,
    CheckpointFile,
    Position,
    UnusableCheckpoint,
)
from busauth.late.revoked.freshness import Freshness, OnStale
from busauth.late.revoked.store import RevokedTokens

__all__ = [
    "Checkpoint",
    "CheckpointFile",
    "Freshness",
    "OnStale",
    "Position",
    "RevokedTokens",
    "UnusableCheckpoint",
]
