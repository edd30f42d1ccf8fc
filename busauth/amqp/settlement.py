"""The one place where a delivery is given back to the broker; `acks` acknowledges.

Whatever cannot be said because the channel is gone needs no saying: the broker takes every
unsettled delivery of a closed channel back by itself.
"""

from collections.abc import Awaitable, Callable

import aiormq.exceptions
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelInvalidStateError

_GONE = (ChannelInvalidStateError, aiormq.exceptions.AMQPError, ConnectionError)


async def give_back(message: AbstractIncomingMessage) -> bool:
    """Put the message back into its queue; return whether the broker could be told."""
    return await _told(message, lambda: message.nack(requeue=True))


async def hand_back(message: AbstractIncomingMessage) -> bool:
    """Put back a message whose handler failed; return whether the broker could be told.

    ``basic.reject`` counts against a queue's delivery limit on every version of RabbitMQ, so that a
    message that always fails comes to an end; ``basic.nack`` may not.
    """
    return await _told(message, lambda: message.reject(requeue=True))


async def _told(message: AbstractIncomingMessage, settle: Callable[[], Awaitable[None]]) -> bool:
    """Settle once, and only while the broker can hear it."""
    if message.processed:
        return False
    try:
        await settle()
    except _GONE:
        return False
    return True
