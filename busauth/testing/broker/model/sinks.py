"""What the model tells whoever holds the other end of a channel or a connection."""

from typing import Protocol

from busauth.testing.broker.model.message import Delivery, Message


class ChannelSink(Protocol):
    """Takes what the broker sends on one channel by itself."""

    def writable(self) -> bool:
        """Whether deliveries may be written now; False holds consumers of this channel back."""
        ...

    def deliver(self, consumer_tag: str, delivery: Delivery) -> None:
        """basic.deliver"""
        ...

    def returned(self, code: int, text: str, message: Message) -> None:
        """basic.return"""
        ...

    def confirmed(self, tag: int, *, ack: bool) -> None:
        """basic.ack or basic.nack for a publication on a channel in confirm mode."""
        ...

    def cancelled(self, consumer_tag: str) -> None:
        """basic.cancel: the queue is gone."""
        ...


class ConnectionSink(Protocol):
    """Takes what the broker tells a whole connection."""

    def blocked(self, reason: str) -> None:
        """connection.blocked: memory is short; what is published is not read any more."""
        ...

    def unblocked(self) -> None:
        """connection.unblocked"""
        ...

    def closed(self, code: int, text: str) -> None:
        """connection.close, by the broker's own decision."""
        ...
