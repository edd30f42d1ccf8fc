"""Looking at dead letters without taking them.

A quorum queue keeps its order when one consumer held everything and goes away; a part that is given
back may go behind the rest (docs/adr/0002 has the measurements). So a look is one consumer, on a
connection of its own, that takes everything, settles nothing and is closed. Each letter carries the
instant of its refusal, so that letters which somebody else has reordered are told in order too.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.abc import DeliveredMessage

from busauth.amqp import headers as names
from busauth.amqp.address import broker_url
from busauth.amqp.tolerant import TolerantConnection
from busauth.amqp.unreadable import Unreadable, message_of
from busauth.caller import read_only

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes:
        code: the refusal's code; None where the broker itself dead-lettered; ``message.unreadable``
            where its properties cannot be read, so that nothing else is known.
        detail: the evidence, as one line.
        queue: where it was refused.
        at: when, in ISO 8601, UTC.
        issuer, subject: whose message it was, where the token was genuine.
        token_sha256: identifies the token that it came with.
        message_id: its sender's.
        body: its body.
        headers: all of its headers, deeply read-only. A letter that the broker dead-lettered by
            itself has its token in there.
    """

    code: str | None
    detail: str | None
    queue: str | None
    at: str | None
    issuer: str | None
    subject: str | None
    token_sha256: str | None
    message_id: str | None
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, message: AbstractIncomingMessage) -> Self:
        """Read what a guard wrote on a copy, or tell that it cannot be read."""
        told = {name: _text(message.headers.get(name)) for name in names.REASON}
        if isinstance(message, Unreadable):
            told[names.REFUSAL] = "message.unreadable"
        return cls(
            code=told[names.REFUSAL],
            detail=told[names.DETAIL],
            queue=told[names.QUEUE],
            at=told[names.AT],
            issuer=told[names.ISSUER],
            subject=told[names.SUBJECT],
            token_sha256=told[names.TOKEN_SHA256],
            message_id=message.message_id,
            body=message.body,
            headers=read_only(dict(message.headers)),
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def dead_letters(url: str, queue: str, *, limit: int = 1000) -> list[Letter]:
    """Return the oldest messages of a dead-letter queue, and leave them all there, in their order.

    The whole queue crosses the wire; while it does, nobody else gets its messages.

    Args:
        url: the broker.
        queue: the queue to look at, such as ``orders.dead``.
        limit: how many letters to return.

    Raises:
        aio_pika.exceptions.ChannelNotFoundEntity: there is no such queue.
        ConnectionError: the broker is out of reach.
        ConfigurationError: the URL could never connect.
    """
    connection = await aio_pika.connect(broker_url(url), connection_class=TolerantConnection)
    async with connection:
        channel = await connection.channel()
        letters = [Letter.of(message) async for message in await taken(channel, queue)]
    return sorted(letters, key=lambda letter: letter.at or "")[:limit]


async def taken(channel: AbstractChannel, queue: str) -> AsyncIterator[AbstractIncomingMessage]:
    """Begin to take what is in a queue now, and return it one by one; nothing is settled.

    It ends with the number that was there at first, or when somebody else has taken the rest.

    Args:
        channel: of no other use; whoever closes it gives everything back.
        queue: which queue.

    Raises:
        aio_pika.exceptions.ChannelNotFoundEntity: there is no such queue.
        ConnectionError: raised in between: the channel was closed.
    """
    declared = await channel.declare_queue(queue, passive=True)
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    underlay = await channel.get_underlay_channel()
    await underlay.basic_consume(queue, arrived.put)  # aio-pika has no message for some of them
    return _arriving(channel, arrived, declared.declaration_result.message_count or 0)


async def _arriving(
    channel: AbstractChannel, arrived: asyncio.Queue[DeliveredMessage], expected: int
) -> AsyncIterator[AbstractIncomingMessage]:
    for number in range(expected):
        try:
            async with asyncio.timeout(_PATIENCE):
                delivered = await arrived.get()
        except TimeoutError:
            if channel.is_closed:
                raise ConnectionError(
                    f"{number} of {expected} messages had come when the channel was closed"
                ) from None
            return
        yield message_of(delivered)
