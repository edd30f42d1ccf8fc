"""Revocations on a stream: read by consumers, published by whoever may. See docs/revocation.md."""

from busauth._amqp.feed.feed import RevocationFeed
from busauth._amqp.feed.options import STREAM, FeedOptions, StreamOptions
from busauth._amqp.feed.publisher import FeedPublisher, keep_beating

__all__ = [
    "STREAM",
    "FeedOptions",
    "FeedPublisher",
    "RevocationFeed",
    "StreamOptions",
    "keep_beating",
]
