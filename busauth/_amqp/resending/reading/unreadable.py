"""What stands for a message that aio-pika cannot make of what a publisher sent."""

from dataclasses import replace

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.header import ContentHeader

from busauth._amqp.connecting.tolerant import is_unreadable
from busauth._amqp.delivery import Arrived


class Unreadable(Arrived):
    """What stands for a message whose properties cannot be read: its body, and nothing else."""

    __slots__ = ()

    def __init__(self, delivered: DeliveredMessage) -> None:
        header = ContentHeader(body_size=delivered.header.body_size)
        super().__init__(replace(delivered, header=header))


def message_of(delivered: DeliveredMessage) -> AbstractIncomingMessage:
    """Return aio-pika's message; an `Unreadable` where it has none for such properties."""
    if is_unreadable(delivered):
        return Unreadable(delivered)
    try:
        return Arrived(delivered)
    except (ValueError, TypeError, OverflowError):  # an expiration that is no number, for one
        return Unreadable(delivered)
