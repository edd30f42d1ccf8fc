"""Parked messages go back to their queue, for their caller, who has brought a fresh token.

A message is released only for the caller whom its first proof names, and only if that proof still
speaks of it: an old stolen token on a new body is nobody's work. Whoever releases signs a new proof
that embeds the first one; the consumer verifies both.

That it was parked, and what its first token allowed, is under its consumer's seal, which whoever
releases cannot read, make or change: it goes back as it is.
"""

from collections.abc import Iterable

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from busauth._amqp.guard import Guard
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.resending.again import Released, Sending
from busauth._amqp.resending.authorities import Errand, FreshToken, Relaying, renewing
from busauth._amqp.topology import parked_queue
from busauth._arguments import checked
from busauth._messages.proof import Proofs, Route
from busauth.audit import EventKind


class Release:
    """Sends parked messages of one queue again.

    Args:
        url: the broker; each release has a connection of its own.
        guard: who verifies the fresh token, checks first proofs and signs new ones.
        queue: the consumer's queue; what waits is in ``<queue>.parked``.
        routes: how messages get to that queue, next to its name on the default exchange.
        proofs: instead of the guard's.
        recipient: for whom tokens are encrypted, where there are several.

    Raises:
        ConfigurationError: the guard has no signer, or its consumers would refuse what it signs.
    """

    @checked
    def __init__(
        self,
        url: str | URL,
        *,
        guard: Guard,
        queue: str,
        routes: Iterable[Route] = (),
        proofs: Proofs | None = None,
        recipient: str | None = None,
    ) -> None:
        self._url = url
        self._errand = Errand(
            guard=guard, queue=queue, recipient=recipient, routes=tuple(routes), proofs=proofs
        )
        Relaying.needed(self._errand)

    async def for_caller(self, token: str) -> Released:
        """Send the messages again that wait for this caller.

        Args:
            token: a fresh token of theirs, raw.

        Raises:
            Refused: the token is not genuine, late, or revoked.
            Deferred: keys are out of reach, or somebody else takes from the parking queue.
            PublishError: the broker did not confirm one; it and all after it stay parked.
            ConfigurationError: nothing parks in front of this queue, or a right is missing.
        """
        fresh = await renewing(FreshToken(token), self._errand)

        async def renew(message: AbstractIncomingMessage, limit: int) -> Outgoing | None:
            return await fresh.renewed(message, limit) if fresh.concerns(message) else None

        sending = Sending(
            url=self._url,
            guard=self._errand.guard,
            queue=self._errand.queue,
            source=parked_queue(self._errand.queue),
            told=EventKind.RELEASED,
            caller=fresh.caller,
            publisher=fresh.publisher,
        )
        return await sending.run(renew)
