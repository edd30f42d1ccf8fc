"""How much an embedded broker takes before it says no."""

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of a broker; the defaults are RabbitMQ's where it has one.

    Attributes:
        memory: bytes of messages in queues from which on publishers are blocked.
        max_message: bytes of a body.
        channel_max: channels of a connection.
        frame_max: bytes of a frame.
        heartbeat: seconds, suggested to clients.
        journal: how many steps of messages are remembered, for tests to tell; 0 for none.
    """

    memory: int = 256 * _MIB
    max_message: int = 16 * _MIB
    channel_max: int = 2047
    frame_max: int = 131072
    heartbeat: int = 60
    journal: int = 0
