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

from busauth._amqp import headers
from busauth._amqp.delivery import Delivery
from busauth._amqp.guard import Guard
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.resending.again import Released, Sending, renewed, sealed_first
from busauth._amqp.topology import parked_queue
from busauth._arguments import checked
from busauth._messages.proof import (
    Original,
    OutgoingMessage,
    Proofs,
    ProofSigner,
    Route,
)
from busauth._messages.seal import Purpose
from busauth._tokens.keys.waiting import found
from busauth.audit import EventKind
from busauth.caller import Caller
from busauth.errors import BadMessage, ConfigurationError, PublishError, evidence


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
        self._recipient = recipient
        self._guard = guard
        self._proofs, self._signer = _relaying(guard, proofs)
        self._routes = guard.core.message_rules(queue, self._proofs, routes).routes
        self._url, self._queue = url, queue

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
        headers.check_alone(token)
        caller = await self._guard.authenticate(f"Bearer {token}")

        async def renew(message: AbstractIncomingMessage, limit: int) -> Outgoing | None:
            said = message.headers.get(headers.ISSUER), message.headers.get(headers.SUBJECT)
            if said != (evidence(caller.issuer), evidence(caller.subject)):
                return None  # not theirs by its own words; that it is, its proof has to show
            return await self._renewed(message, caller, token, limit)

        sending = Sending(
            url=self._url,
            guard=self._guard,
            queue=self._queue,
            source=parked_queue(self._queue),
            told=EventKind.RELEASED,
            caller=caller,
            publisher=self._signer.name,
        )
        return await sending.run(renew)

    async def _renewed(
        self, message: AbstractIncomingMessage, caller: Caller, token: str, limit: int
    ) -> Outgoing:
        """Return the copy that goes back, with the fresh token and a proof of its own.

        Raises:
            Refused: the first proof does not speak of this message and this caller, its consumer
                has not sealed it as parked, or its first token was revoked.
            Deferred: its publisher's keys are out of reach, or what knows of revocations.
        """
        recorded = str(message.headers.get(headers.TOKEN_SHA256))
        proof, now = message.headers.get(headers.PROOF), self._guard.clock.now()
        parked = Delivery.of(message).seen(caller)
        # may wait for keys, as no check does after it
        await found(lambda: self._proofs.recall(proof))
        first = self._proofs.check_original(proof, parked, recorded, self._routes, now)
        # nothing is signed for a message that its consumer would refuse over its first token
        self._guard.core.check_first(sealed_first(message, Purpose.PARKED))
        binding = OutgoingMessage(
            token=token,
            body=parked.body,
            message_id=parked.message_id,
            properties=parked.properties,
            headers=parked.headers,
            issuer=caller.issuer,
            subject=caller.subject,
            exchange=first.exchange,
            routing_key=first.routing_key,
        )
        try:
            signed = self._signer.sign(binding, now, original=Original.of(str(proof), recorded))
        except PublishError as error:  # this message's fault: the caller's others go all the same
            raise BadMessage("message.too_large", found=error.reason) from error
        identity = {**self._guard.core.outbox.bearer(token, self._recipient), headers.PROOF: signed}
        return renewed(message, identity, limit)


def _relaying(guard: Guard, proofs: Proofs | None) -> tuple[Proofs, ProofSigner]:
    """Return what first proofs are checked with, and who signs the new ones.

    Raises:
        ConfigurationError: one is missing, or the consumers would refuse the other's proofs.
    """
    proofs, signer = proofs or guard.messages.proofs, guard.messages.signer
    if proofs is None or signer is None:
        raise ConfigurationError(
            "a release signs a proof and checks the first one: expected "
            "Guard(messages=MessageSecurity(proofs=..., signer=...)), or [messages.proofs] and "
            "[messages.signer] in a settings file"
        )
    if not proofs.relays(signer.name):
        raise ConfigurationError(
            f"signer {signer.name!r} is not trusted to relay: expected "
            f"TrustedPublisher({signer.name!r}, ..., relays=True) among the proofs' publishers, or "
            "relays = true in [messages.proofs]"
        )
    return proofs, signer
