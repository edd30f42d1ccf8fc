"""Where a message goes that was not handled: dead letters, rejected, parked, or a retry.

In every case the copy is confirmed as routed before the delivery is acknowledged. Until then the
delivery is the broker's: whatever is cut or cancelled in between, it comes again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import PublishError as UnroutableError

from busauth._amqp import headers
from busauth._amqp.connecting.patience import unblocked
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import TokenHeader
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Carried, Outgoing, Refusal
from busauth._amqp.publishing.publisher import (
    ClosedTogetherError,
    Outlet,
    Publisher,
    check_frame,
    frame_max,
)
from busauth._amqp.publishing.rewriting import UNWRITABLE
from busauth._amqp.settling.surroundings import Surroundings
from busauth._amqp.topology import RetryLadder, Tail, dead_queue, parked_queue, rejected_queue
from busauth.errors import Deferred, HandlerFailed, PublishError

Copying = Callable[[int], Outgoing]
"""Makes a copy for frames of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposal:
    """Publishes copies of one queue's messages.

    Attributes:
        queue: the consumed queue.
        token_header: the header that carries tokens.
        publisher: the channel for copies, of no other use.
        outlet: on which connection copies are published.
        retries: where messages wait for another attempt: a ladder of delay queues, or the end of
            their own.
        around: looks whether those queues are there, where nobody declares them.
    """

    queue: str
    token_header: TokenHeader
    publisher: Publisher
    outlet: Outlet
    retries: RetryLadder | Tail
    around: Surroundings

    async def dead_letter(self, message: Delivery, refusal: Refusal) -> str:
        """Publish a refused message to where its kind goes, and return the name of that queue.

        Raises:
            Deferred: the broker did not confirm; the delivery must not be acknowledged.
        """
        genuine = refusal.refused.genuine
        name = dead_queue(self.queue) if genuine else rejected_queue(self.queue)
        with self._deferring(message):
            connection, copy = await self._reasoned(message, refusal)
            try:
                await self._publish(connection, copy, name)
            except PublishError as error:
                if not isinstance(error.__cause__, ChannelPreconditionFailed):
                    raise
                bare = copies.bare(message, refusal, frame_max(connection))
                await self._publish(connection, bare, name)  # nothing of the sender's is in it
        return name

    async def park(self, message: Delivery, refusal: Refusal) -> str | None:
        """Publish a message that waits for its caller, and return the name of that queue.

        None where it cannot wait whole: with something cut off, its proof could not be held to it,
        and nobody could ever release it.

        Raises:
            Deferred: the broker did not confirm; the delivery must not be acknowledged.
        """
        with self._deferring(message):
            connection, copy = await self._reasoned(message, refusal)
            if _is_cut(copy) and refusal.keep is not None:  # it waits for another one in any case
                connection, copy = await self._reasoned(message, replace(refusal, keep=None))
            if _is_cut(copy):
                return None
            name = parked_queue(self.queue)
            await self._publish(connection, copy, name)
            return name

    async def put_back(
        self, message: Delivery, carried: Carried, homes: Sequence[str]
    ) -> str | None:
        """Publish a letter, or what was parked, to the first queue of these that is there.

        Return that queue, None where it cannot be written whole any more.

        Raises:
            Deferred: none of them is there, or the broker did not confirm; the delivery must not be
                acknowledged.
        """

        def copied(_: int) -> Outgoing:
            return copies.returned(message, carried, token_header=self.token_header)

        with self._deferring(message):
            for home in homes:
                try:
                    return home if await self._publish_whole(message, home, copied) else None
                except PublishError as error:
                    # returned as unroutable, that queue is gone; all else is true of the next, too
                    if home == homes[-1] or not isinstance(error.__cause__, UnroutableError):
                        raise
        return None

    async def retry(self, message: Delivery, failed: HandlerFailed, carried: Carried) -> str | None:
        """Publish a failed message to where it waits; return that queue, None where none is due.

        Args:
            message: as received.
            failed: why its handler failed.
            carried: what the copy carries on, with the attempt that failed.

        Raises:
            Deferred: the broker did not confirm; the delivery must not be acknowledged.
        """
        attempt = carried.sealed.attempt
        rung = self.rung(failed, attempt)
        if rung is None:
            return None
        next_one = carried._replace(sealed=replace(carried.sealed, attempt=attempt + 1))
        with self._deferring(message):
            return rung if await self._publish_waiting(message, rung, next_one) else None

    def rung(self, failed: HandlerFailed, attempt: int) -> str | None:
        """Return where a message waits after so many retries, None where it does not."""
        return self.retries.rung(attempt) if failed.retry else None

    async def postpone(
        self, message: Delivery, carried: Carried, *, is_letter: bool = False
    ) -> bool:
        """Publish an undecided message to the longest delay; return whether that was confirmed.

        A letter that finds no place waits as the letter that it is. A copy begins anew with the
        broker's count of deliveries, which a delivery limit is about. Where the delay queue is
        gone, the end of the message's own queue is long enough.
        """
        for place in dict.fromkeys((self.retries.longest(), self.queue)):
            priority = copies.LAST if place == self.queue else None
            with suppress(PublishError):  # where no place takes it, it is given back instead
                if is_letter:
                    return await self._publish_letter(message, place, carried, priority)
                return await self._publish_waiting(message, place, carried, priority)
        return False

    async def _reasoned(
        self, message: Delivery, refusal: Refusal
    ) -> tuple[AbstractConnection, Outgoing]:
        connection = await self.outlet(message)
        limit = frame_max(connection)
        return connection, copies.dead_letter(
            message, refusal, token_header=self.token_header.name, frame_max=limit
        )

    async def _publish_letter(
        self, message: Delivery, place: str, carried: Carried, priority: int | None
    ) -> bool:
        def copied(_: int) -> Outgoing:
            return copies.postponed(
                message, carried, token_header=self.token_header.name, priority=priority
            )

        return await self._publish_whole(message, place, copied)

    async def _publish_waiting(
        self, message: Delivery, rung: str, carried: Carried, priority: int | None = None
    ) -> bool:
        def copied(limit: int) -> Outgoing:
            return copies.retry(
                message,
                carried,
                token_header=self.token_header.name,
                frame_max=limit,
                priority=priority,
            )

        return await self._publish_whole(message, rung, copied)

    async def _publish_whole(self, message: Delivery, name: str, copied: Copying) -> bool:
        """Publish a copy of all that a message is; return whether one can be made."""
        connection = await self.outlet(message)
        limit = frame_max(connection)
        try:
            copy = copied(limit)
        except UNWRITABLE:  # pamqp reads more than it writes
            return False
        try:
            check_frame(copy, limit)
        except PublishError:  # too large, it would cost everybody the connection
            return False
        await self._publish(connection, copy, name)
        return True

    async def _publish(self, connection: AbstractConnection, copy: Outgoing, queue: str) -> None:
        """Publish; again, and apart, where another copy may have been the one that was refused."""
        publish = partial(self.publisher.publish, connection, copy, exchange="", routing_key=queue)
        try:
            await publish()
        except ClosedTogetherError:
            await publish(apart=True)

    @contextmanager
    def _deferring(self, message: Delivery) -> Iterator[None]:
        """Take a copy that could not be published for what it is: nobody's fault."""
        try:
            yield
        except PublishError as error:
            reason = f"no copy of a message from {self.queue!r}: {error}"
            raise Deferred(reason, probe=partial(self._unblocked, message)) from error

    async def _unblocked(self, message: Delivery) -> None:
        """Return once an alarm is over; a connection that is gone is for the next attempt."""
        with suppress(PublishError):
            await unblocked(await self.outlet(message))


def _is_cut(copy: Outgoing) -> bool:
    return headers.CUT in (copy.properties.headers or {})
