"""Which tokens were revoked: who says so, how it is heard of, and how it is published."""

from busauth._amqp.feed import (
    FeedOptions,
    FeedPublisher,
    RevocationFeed,
    StreamOptions,
    keep_beating,
)
from busauth._doors import hand_out
from busauth._revocation import Checkpoint, CheckpointFile, OnStale, Position
from busauth._revocation.events import EventSigner, SecurityEvent, Target, Transmitter, Transmitters
from busauth._revocation.revocations import Revocations

__all__ = [
    "Checkpoint",
    "CheckpointFile",
    "EventSigner",
    "FeedOptions",
    "FeedPublisher",
    "OnStale",
    "Position",
    "RevocationFeed",
    "Revocations",
    "SecurityEvent",
    "StreamOptions",
    "Target",
    "Transmitter",
    "Transmitters",
    "keep_beating",
]

hand_out(__name__, globals())
