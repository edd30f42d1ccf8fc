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
        await asyncio.shield(self._look(delivery.channel.connection))
        if self.unseen:
            names = " and ".join(map(repr, self.unseen))
            reason = f"{self._queue}: not handled while there is no queue {names}: {_HOW}"
            self._tell(reason)
            raise Deferred(reason)

    def _look(self, connection: AbstractConnection) -> "asyncio.Task[None]":
        """Look once for all deliveries that wait for it."""
        loop = asyncio.get_running_loop()
        if self._looking is None or self._looking.done() or self._looking.get_loop() is not loop:
            self._looking = loop.create_task(self._seen(connection), context=Context())
        return self._looking

    async def _seen(self, connection: AbstractConnection) -> None:
        """Forget what is there, and what nobody may ask about; what cannot be told stays."""
        with suppress(ConnectionError, TimeoutError):
            self.unseen = tuple(
                [name for name in self.unseen if not await _is_there(connection, name)]
            )

    def _tell(self, reason: str) -> None:
        if not self._was_told:
            LOGGER.error(reason)
        self._was_told = True


async def _is_there(connection: AbstractConnection, name: str) -> bool:
    """Ask passively on a channel that the answer may close; without the right to, take it as so."""
    channel = await answered(connection, connection.channel(publisher_confirms=False))
    try:
        await answered(channel, channel.queue_declare(name, passive=True))
    except ChannelNotFoundEntity:
        return False
    except ChannelAccessRefused as error:
        LOGGER.debug("%s: whether it is there cannot be asked: %s", name, error)
        return True
    await left(channel)
    return True
