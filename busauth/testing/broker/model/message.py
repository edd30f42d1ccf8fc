"""A message as it was published: its properties stay the bytes that came."""

from dataclasses import dataclass
from typing import Any

from busauth.testing.broker.model.words import properties

STAMP = "timestamp_in_ms"
"""The header that a stamping broker overwrites."""


class Message:
    """One publication, shared by every queue that holds it.

    Attributes:
        exchange: where it was published to last (a dead-letter exchange counts).
        routing_key: and with which key.
        header: the payload of its content header frame.
        body: its bytes.
        copies: further routing keys, from CC and BCC.
        expiration: milliseconds that each queue may keep it; None for no limit.
        priority: 0 without.
    """

    __slots__ = ("body", "copies", "exchange", "expiration", "header", "priority", "routing_key")

    def __init__(self, exchange: str, routing_key: str, header: bytes, body: bytes) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.header = header
        self.body = body
        self.copies: tuple[str, ...] = ()
        self.expiration: int | None = None
        self.priority = 0

    @property
    def size(self) -> int:
        """Bytes held for it, about."""
        return len(self.body) + len(self.header) + _OVERHEAD

    def properties(self) -> properties.Raw:
        """Take its properties apart."""
        return properties.split(self.header)

    def stamp(self, now: float) -> None:
        """Overwrite when it came in: the header in milliseconds, the property in seconds."""
        fields = {STAMP: properties.long(int(now * 1000))}
        raw = properties.with_headers(self.properties(), fields)
        raw["timestamp"] = properties.timestamp(now)[1:]
        self.header = properties.join(raw, len(self.body))

    def headers(self) -> dict[str, Any]:
        """Decode its headers; empty without."""
        return properties.headers(self.properties())

    def message_id(self) -> str | None:
        """Return the message-id property."""
        return properties.text(self.properties(), "message_id")


_OVERHEAD = 300
"""Python objects around a body and a header, in bytes."""


@dataclass(slots=True)
class Delivery:
    """What basic.deliver and basic.get-ok say beside the content.

    Attributes:
        tag: the delivery tag.
        redelivered: whether it was delivered before.
        message: its content.
        extra: encoded headers that the queue adds for this delivery.
        remaining: basic.get-ok: how many messages are left in the queue.
    """

    tag: int
    redelivered: bool
    message: Message
    extra: dict[str, bytes | None] | None = None
    remaining: int = 0

    def header(self) -> bytes:
        """Return the content header payload to write."""
        if not self.extra:
            return self.message.header
        raw = properties.with_headers(self.message.properties(), self.extra)
        return properties.join(raw, len(self.message.body))
