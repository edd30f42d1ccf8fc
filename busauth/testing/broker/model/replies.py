"""Direct reply-to: replies to a channel, through no queue.

A request's `reply_to` of `amq.rabbitmq.reply-to` is replaced by a name that only its channel has;
whoever publishes to that name through the default exchange reaches the channel's consumer.
"""

from base64 import b64encode
from typing import Final, Protocol
from uuid import uuid4

from busauth.testing.broker.model.message import Message

REPLY_TO: Final = "amq.rabbitmq.reply-to"
ADDRESS: Final = f"{REPLY_TO}."
"""What the names begin with that channels are given."""


class Requester(Protocol):
    """What is needed of a channel that waits for replies."""

    def replied(self, message: Message) -> None:
        """Deliver a reply to the channel's consumer."""
        ...


class Replies:
    """Channels that wait for replies, by the name that they were given."""

    def __init__(self) -> None:
        self._channels: dict[str, Requester] = {}

    def open(self, channel: Requester) -> str:
        """Return the name of a channel that replies may be sent to."""
        node, key = (b64encode(uuid4().bytes).decode() for _ in range(2))
        name = f"{ADDRESS}{node}.{key}"
        self._channels[name] = channel
        return name

    def close(self, name: str) -> None:
        """Deliver no more replies to a name."""
        self._channels.pop(name, None)

    def find(self, name: str) -> Requester | None:
        """Return the channel that has a name."""
        return self._channels.get(name)

    def deliver(self, name: str, message: Message) -> None:
        """Deliver a reply, if anybody has this name."""
        channel = self.find(name)
        if channel is not None:
            channel.replied(message)
