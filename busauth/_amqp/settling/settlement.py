"""The one place where a delivery is given back to the broker; `acks` acknowledges.

Whatever cannot be said because the channel is gone needs no saying: the broker takes every
unsettled delivery of a closed channel back by itself.

It is always ``basic.nack``: a ``basic.reject`` counts against a quorum queue's delivery limit on
every version of RabbitMQ, and what reaches that is moved away with its token, or is gone.
"""

import asyncio
from contextlib import suppress

import aiormq.exceptions
from aio_pika.exceptions import ChannelInvalidStateError
from aiormq.channel import Channel

from busauth._amqp.connecting.patience import answered, drained, left
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing.publisher import was_cancelled

_GONE = (ChannelInvalidStateError, aiormq.exceptions.AMQPError, ConnectionError)


async def give_back(delivery: Delivery) -> bool:
    """Put a message back into its queue, once; return whether the broker could be told.

    It is noted with the frame, in one go: cut off after that, it must not be told once more, as a
    broker closes the channel for that.
    """
    channel, tag = delivery.channel, delivery.tag
    if delivery.is_settled or channel is None or tag is None:
        return False
    try:
        await answered(channel, _returned(delivery, channel, tag), None)
    except TimeoutError:
        await left(channel)  # on one that lives, the message would stay unsettled
        return False
    except _GONE:
        return False
    except asyncio.CancelledError:
        if was_cancelled():
            raise
        return False  # the connection was closed
    return True


async def end_and_give_back(delivery: Delivery) -> None:
    """End the consumer that took a message, and then give it back: it must not take it again."""
    channel, tag = delivery.channel, delivery.consumer_tag
    if channel is not None and tag in channel.consumers:
        with suppress(*_GONE, TimeoutError):  # a channel that is gone has no consumer either
            await answered(channel, channel.basic_cancel(tag), None)
    await give_back(delivery)


async def _returned(delivery: Delivery, channel: Channel, tag: int) -> None:
    await channel.basic_nack(tag, requeue=True, wait=False)
    delivery.given_back()  # in one go with the frame: the drain may be cut off
    await drained(channel.connection)
