"""Are the queues around a plain consumer's queue there? Asked once, before anything is decided.

A guard on somebody's own consumer declares nothing. Without `<queue>.dead` it would handle messages
until the first one is refused, and then give that one back again and again.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from busauth._amqp.connecting.patience import answered, left
from busauth._amqp.delivery import Delivery
from busauth.audit import LOGGER
from busauth.errors import Deferred

_HOW = (
    "declare them durable, with x-queue-type=quorum and x-delivery-limit=2147483647, or let a Bus "
    "consume, which declares them (docs/protocol.md)"
)


class Surroundings:
    """The queues around one plain consumer's queue.

    Args:
        queue: the consumed queue.
        around: the names that must be there; none where a bus sees to them.

    Attributes:
        unseen: those that nobody has found there yet; while there are any, ask `check`.
    """

    def __init__(self, queue: str, around: Iterable[str] = ()) -> None:
        self._queue = queue
        self.unseen = tuple(around)
        self._looking: asyncio.Task[None] | None = None
        self._was_told = False

    async def check(self, delivery: Delivery) -> None:
        """Look around with the first delivery, and again as long as something was missing.

        Raises:
            Deferred: a queue is not there; says which, and how to declare it.
        """
        if delivery.channel is None:
            return
        loop, looking = asyncio.get_running_loop(), self._looking
        # once for all deliveries that wait for it; another loop's look would never end in this one
        if looking is None or looking.done() or looking.get_loop() is not loop:
            seeing = self._seen(delivery.channel.connection)
            looking = self._looking = loop.create_task(seeing, context=Context())
        await asyncio.shield(looking)  # cut off, one delivery goes; the others still wait for it
        if self.unseen:
            names = " and ".join(map(repr, self.unseen))
            reason = f"{self._queue}: not handled while there is no queue {names}: {_HOW}"
            if not self._was_told:  # once: while it is missing, each delivery comes by here
                LOGGER.error(reason)
            self._was_told = True
            raise Deferred(reason)

    async def _seen(self, connection: AbstractConnection) -> None:
        """Forget what is there, and what nobody may ask about; what cannot be told stays."""
        with suppress(ConnectionError, TimeoutError):
            self.unseen = tuple(
                [name for name in self.unseen if not await _is_there(connection, name)]
            )


async def _is_there(connection: AbstractConnection, name: str) -> bool:
    """Ask passively on a channel that the answer may close; without the right to, take it as so."""
    channel = await answered(connection, connection.channel(publisher_confirms=False))
    try:
        await answered(channel, channel.queue_declare(name, passive=True))
    except ChannelNotFoundEntity:  # with this answer the broker has closed the channel
        return False
    except ChannelAccessRefused as error:
        LOGGER.debug("%s: whether it is there cannot be asked: %s", name, error)
        return True
    await left(channel)
    return True
