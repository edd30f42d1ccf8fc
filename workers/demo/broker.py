"""The demo's own connection to the broker: it looks at queues, reads dead letters, and intrudes."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from busauth.letters import Letter
from workers.shop import RETRY

QUEUES = {
    "orders": "orders.placed",
    "payments": "payments.requested",
    "notifications": "notifications.due",
}
"""What each worker consumes."""

_KINDS = ("dead", "rejected")
_TOKENS = frozenset({"authorization", "txn-token"})
_REFUSAL = re.compile(r"got ([a-z_]+\.[a-z_]+): ")
_RUNGS = (min(RETRY.longest, RETRY.first * 2**attempt) for attempt in range(RETRY.limit + 1))
_ENDINGS = ("", ".dead", ".rejected", *(f".retry.{int(1000 * rung)}" for rung in _RUNGS))
"""Of the queues that a bus declares for each that it consumes."""


class Broker:
    """A look at the queues of one run, which share a prefix that nobody else uses.

    Args:
        connection: of its own; the services have theirs.
        prefix: what the queues' names begin with.
        queues: what the services consume; default: the shop's.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        prefix: str,
        queues: Collection[str] = tuple(QUEUES.values()),
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self.queues = queues

    async def consumers(self, queue: str) -> int:
        """Return how many consume a queue; 0 as well where it does not exist yet."""
        return (await self._look(queue))[1]

    async def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue and are with nobody."""
        return (await self._look(queue))[0]

    @asynccontextmanager
    async def dead_letters(self, read: Callable[[str], None]) -> AsyncIterator[None]:
        """Tell each dead letter as ``<queue>: <code>`` while inside, and take it out."""
        async with await self._connection.channel() as channel:
            for name in (f"{queue}.{kind}" for queue in self.queues for kind in _KINDS):
                queue = await channel.get_queue(self._prefix + name, ensure=False)
                await queue.consume(_reader(name, read), no_ack=True)
            yield

    async def intrude(
        self, queue: str, body: bytes, token: str, *, as_transaction: bool = False
    ) -> None:
        """Publish without asking the gateway, as whoever reaches the broker can."""
        carried = {"txn-token": token} if as_transaction else {"authorization": f"Bearer {token}"}
        async with await self._connection.channel() as channel:
            message = aio_pika.Message(body, headers={**carried})
            await channel.default_exchange.publish(message, self._prefix + queue)

    async def token_in(self, queue: str) -> str:
        """Return the token of the first message that waits, as whoever reaches the broker can."""
        async with await self._connection.channel() as channel:
            found = await channel.get_queue(self._prefix + queue, ensure=False)
            message = await found.get(fail=True)
            await message.nack(requeue=True)
        return str(message.headers["authorization"]).removeprefix("Bearer ")

    async def clean(self) -> None:
        """Delete this run's queues, declared or not; a broker that is gone needs no cleaning."""
        with suppress(AMQPError, OSError, RuntimeError):
            async with await self._connection.channel() as channel:
                for name in (queue + end for queue in self.queues for end in _ENDINGS):
                    await channel.queue_delete(self._prefix + name)

    async def _look(self, queue: str) -> tuple[int, int]:
        """Return the messages that wait and the consumers, 0 and 0 without the queue."""
        with suppress(AMQPError):
            async with await self._connection.channel() as channel:
                found = await channel.declare_queue(self._prefix + queue, passive=True)
                result = found.declaration_result
                return result.message_count or 0, result.consumer_count or 0
        return 0, 0


def _reader(
    name: str, read: Callable[[str], None]
) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def take(message: AbstractIncomingMessage) -> None:
        letter = Letter.of(message)
        leaked = "" if _TOKENS.isdisjoint(letter.headers) else " with its token"
        read(f"{name}: {_codes(letter)}{leaked}")

    return take


def _codes(letter: Letter) -> str:
    """Return its code; of one whose handler was refused something, that as well."""
    why = _REFUSAL.search(letter.detail or "") if letter.code == "handler.rejected" else None
    return f"{letter.code} for {why[1]}" if why else f"{letter.code}"
