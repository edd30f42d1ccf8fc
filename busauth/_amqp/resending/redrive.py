"""Dead letters go back to their queue, by somebody's authority (`authorities`).

Nothing is sealed anew, and the consumer decides again, by the policies of that day. It believes
that it refused the message before under its own seal, which goes back as it is.
"""

import asyncio
from collections.abc import Callable

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from busauth._amqp.guard import Guard
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.resending.again import Released, Sending
from busauth._amqp.resending.authorities import Authority, Errand, KeptToken, renewing
from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.passes import Redriven, Terms, redriven
from busauth._amqp.resending.wanted import Wanted
from busauth._amqp.topology import dead_queue, rejected_queue
from busauth._arguments import Count, Seconds, checked
from busauth._tokens.encryption.encryption import Decryption
from busauth.audit import EventKind
from busauth.errors import ConfigurationError


class Redrive:
    """Sends dead letters of one queue again.

    Args:
        url: the broker; each redrive has a connection of its own.
        guard: who publishes and tells; it needs none of the consumers' keys.
        queue: the consumer's queue; the letters are in ``<queue>.dead``.
        authority: by whose authority they go; default: by the token that each has kept.
        keys: open the tokens that letters kept for a redrive's own key, see `DeadLetter`; in place
            of ``authority=KeptToken(keys)``.
        by: who sends them, a short word for their stories; it proves nothing.
        recipient: for whom tokens are encrypted, where there are several.
        rejected: send those in ``<queue>.rejected`` again instead, which were signed by a trusted
            issuer and refused for their audience or issuer.

    Raises:
        ConfigurationError: `by` is no short printable word, or both `authority` and `keys` are
            given.
    """

    @checked
    def __init__(
        self,
        url: str | URL,
        *,
        guard: Guard,
        queue: str,
        authority: Authority | None = None,
        keys: Decryption | None = None,
        by: str | None = None,
        recipient: str | None = None,
        rejected: bool = False,
    ) -> None:
        if authority is not None and keys is not None:
            raise ConfigurationError("authority and keys: expected one of them: KeptToken(keys)")
        self._authority = authority or KeptToken(keys)
        self._errand = Errand(guard=guard, queue=queue, by=by, recipient=recipient)
        self._source = rejected_queue(queue) if rejected else dead_queue(queue)
        self._url = url

    async def letters(self, wanted: Callable[[Letter], bool] = lambda _letter: True) -> Released:
        """Send letters again that are for this authority; all others stay.

        Args:
            wanted: which of them; asked of every letter, those without a token included. Default:
                all.

        Raises:
            Refused: the authority is none: a fresh token that is not genuine, late, or revoked.
            Deferred: somebody else takes from the dead letters.
            PublishError: the broker did not confirm one; it and all after it stay.
            ConfigurationError: there are no such dead letters, or a right is missing.
        """
        authorized = await renewing(self._authority, self._errand)

        async def renew(message: AbstractIncomingMessage, limit: int) -> Outgoing | None:
            if not wanted(Letter.of(message)) or not authorized.concerns(message):
                return None
            return await authorized.renewed(message, limit)

        sending = Sending(
            url=self._url,
            guard=self._errand.guard,
            queue=self._errand.queue,
            source=self._source,
            told=EventKind.REDRIVEN,
            caller=authorized.caller,
            publisher=authorized.publisher,
        )
        return await sending.run(renew)

    @checked
    async def run(
        self,
        wanted: Wanted | None = None,
        *,
        rate: Seconds | None = None,
        limit: Count | None = None,
        resume: str | None = None,
        record: bool = True,
        stop: asyncio.Event | None = None,
        progress: Callable[[Redriven], None] | None = None,
    ) -> Redriven:
        """Send letters again in passes, so that others may look in between, and record it.

        Killed at any instant it loses none; at most a hundred are sent twice once it is resumed,
        and a consumer's replay memory refuses the second. What is refused again meanwhile does not
        go round: only what was refused before the run goes.

        Args:
            wanted: which letters; None for all.
            rate: letters a second at most; None for as fast as they are confirmed.
            limit: how many letters go at most.
            resume: an earlier run's id: its letters, and no others; `wanted` may repeat them.
            record: whether it is written to ``<queue>.history``, by which it can be resumed.
            stop: set by whoever wants it to end after what is in flight.
            progress: called after each batch.

        Raises:
            Refused: the authority is none: a fresh token that is not genuine, late, or revoked.
            Deferred: something is out of reach, or somebody else takes from the letters.
            PublishError: the broker did not confirm one; it and what follows stay.
            ConfigurationError: there are no such letters, no such run, that run has other filters,
                or a right is missing.
            ConnectionError: the broker is out of reach.
        """
        return await redriven(
            self._url,
            self._errand,
            self._source,
            self._authority,
            wanted=wanted or Wanted(),
            terms=Terms(
                rate=rate,
                limit=limit,
                record=record,
                stop=stop or asyncio.Event(),
                progress=progress or (lambda _: None),
            ),
            resume=resume,
        )
