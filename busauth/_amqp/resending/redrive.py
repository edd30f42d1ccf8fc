"""Dead letters go back to their queue with the tokens that they kept.

The token is the one that the message came with, and so is its proof: nothing is signed or sealed
anew, and the consumer decides again, by the policies of that day. It believes that it refused the
message before under its own seal, which goes back as it is.
"""

from collections.abc import Callable

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from busauth._amqp import headers
from busauth._amqp.guard import Guard
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.resending.again import Released, Sending, recorded_first, renewed, sealed_first
from busauth._amqp.resending.letters import Letter
from busauth._amqp.topology import dead_queue, rejected_queue
from busauth._arguments import checked
from busauth._messages.seal import Purpose
from busauth._tokens.encryption.encryption import Decryption, KeptFor
from busauth.audit import EventKind
from busauth.errors import NotGenuine


class Redrive:
    """Sends dead letters of one queue again.

    Args:
        url: the broker; each redrive has a connection of its own.
        guard: who publishes and tells; it needs none of the consumers' keys.
        queue: the consumer's queue; the letters are in ``<queue>.dead``.
        keys: open the tokens that letters kept, see `DeadLetter`.
        recipient: for whom tokens are encrypted, where there are several.
        rejected: send those in ``<queue>.rejected`` again instead, which were signed by a trusted
            issuer and refused for their audience or issuer.
    """

    @checked
    def __init__(
        self,
        url: str | URL,
        *,
        guard: Guard,
        queue: str,
        keys: Decryption,
        recipient: str | None = None,
        rejected: bool = False,
    ) -> None:
        self._recipient = recipient
        self._guard = guard
        self._queue = queue
        self._keys = keys
        self._names = (queue, *guard.options.of(queue).formerly)
        source = rejected_queue(queue) if rejected else dead_queue(queue)
        self._first = recorded_first if rejected else sealed_first
        self._sending = Sending(
            url=url, guard=guard, queue=queue, source=source, told=EventKind.REDRIVEN
        )

    async def letters(self, wanted: Callable[[Letter], bool] = lambda _letter: True) -> Released:
        """Send letters again that kept their tokens; all others stay.

        Args:
            wanted: which of them; asked of every letter, those without a token included. Default:
                all.

        Raises:
            Deferred: somebody else takes from the dead letters.
            PublishError: the broker did not confirm one; it and all after it stay.
            ConfigurationError: there are no such dead letters, or a right is missing.
        """

        async def renew(message: AbstractIncomingMessage, limit: int) -> Outgoing | None:
            kept = message.headers.get(headers.TOKEN)
            if not wanted(Letter.of(message)) or kept is None:
                return None
            return self._renewed(message, kept, limit)

        return await self._sending.run(renew)

    def _renewed(self, message: AbstractIncomingMessage, kept: object, limit: int) -> Outgoing:
        """Return the copy that goes back.

        Raises:
            NotGenuine: what was kept is no token of this letter's.
            Forbidden: its consumer has not sealed it as a letter.
            Untimely: its first token was revoked.
            Deferred: what knows of revocations is out of reach.
        """
        if not isinstance(kept, str):
            found = f"{headers.TOKEN} of type {type(kept).__name__}"
            raise NotGenuine("header.not_text", found=found, expected="a kept token")
        # a kept token is bound to its queue's name of that day, which is one that the queue has had
        said = message.headers.get(headers.QUEUE)
        queue = said if isinstance(said, str) and said in self._names else self._queue
        letter = KeptFor(queue=queue, message_id=message.message_id, body=message.body)
        token = self._keys.open_for_redrive(kept, letter)
        # what its consumer would only refuse again stays here, where it is seen
        first = self._first(message, Purpose.LETTER)
        if first is not None:
            self._guard.core.check_first(first)
        identity = self._guard.core.outbox.bearer(token, self._recipient)
        proof = message.headers.get(headers.PROOF)
        if isinstance(proof, str):
            identity[headers.PROOF] = proof
        return renewed(message, identity, limit)
