"""Taking letters away for good: discarded by what they are, or erased as one person's.

Who holds a letter: the queue beside, until it is acknowledged, which nothing follows. What is
about to go is recorded before it goes; whoever looks once more finds whether it has gone.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from yarl import URL

from busauth._amqp import headers
from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving
from busauth._amqp.resending.again import alone
from busauth._amqp.resending.letters import Letter, Waiting
from busauth._tokens.compact import split
from busauth.errors import NotGenuine, evidence

_TOGETHER = 1000
_TOKEN_BYTES = 64 * 1024

Noting = Callable[[Sequence[Letter]], Awaitable[None]]
"""Records what is about to go."""


async def removed(
    url: str | URL, source: str, wanted: Callable[[Letter], bool], noting: Noting
) -> int:
    """Take away what is wanted, and return how many letters that was; all others stay, in order.

    Args:
        url: the broker.
        source: the queue beside the consumer's.
        wanted: which letters.
        noting: awaited before some are taken away.

    Raises:
        Deferred: somebody else has the queue, or the broker has taken it back.
        ConfigurationError: there is no such queue, or a right is missing.
        ConnectionError: the broker is out of reach.
    """
    gone, batch = 0, list[tuple[Letter, AbstractIncomingMessage]]()
    async with leaving(await connected(url)) as connection:
        waiting = await alone(connection, source)
        async for message in waiting:
            letter = Letter.of(message, source, with_body=False)
            if wanted(letter):
                batch.append((letter, message))
            if len(batch) == _TOGETHER:
                gone += await _gone(connection, waiting, batch, noting)
                batch = []
        return gone + await _gone(connection, waiting, batch, noting)


async def _gone(
    connection: AbstractConnection,
    waiting: Waiting,
    batch: list[tuple[Letter, AbstractIncomingMessage]],
    noting: Noting,
) -> int:
    if batch:
        await noting([letter for letter, _ in batch])
        waiting.check()  # only while it was held, it is gone from there
        acks = asyncio.gather(*(message.ack() for _, message in batch))
        await answered(below(connection), acks)
    return len(batch)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose letters are asked for.

    Attributes:
        subject: as their tokens have it.
        issuer: who issued those; None for whoever did.
    """

    subject: str
    issuer: str | None = None

    @property
    def pseudonym(self) -> str:
        """Return what stands for them where nothing of theirs may stay: a SHA-256."""
        return sha256(json.dumps([self.issuer, self.subject]).encode()).hexdigest()

    def __call__(self, letter: Letter) -> bool:
        """Return whether a letter is theirs, by what stands on it.

        What the broker dead-lettered by itself has its token in there: nothing of that is verified,
        and a letter that only says it is theirs is one as well.
        """
        found = (letter.issuer, letter.subject)
        if letter.code is None and letter.subject is None:
            found = _said(letter)
        issuer, subject = found
        return subject in (self.subject, evidence(self.subject)) and (
            self.issuer is None or issuer in (self.issuer, evidence(self.issuer))
        )


def _said(letter: Letter) -> tuple[str | None, str | None]:
    """Return whose a letter's token says it is: of any header that holds one."""
    for name in (headers.AUTHORIZATION, headers.TXN_TOKEN):
        value = letter.headers.get(name)
        if not isinstance(value, str):
            continue
        try:
            claims = split(value.rpartition(" ")[2], max_bytes=_TOKEN_BYTES).payload
        except NotGenuine:
            continue
        issuer, subject = claims.get("iss"), claims.get("sub")
        if isinstance(subject, str):
            return issuer if isinstance(issuer, str) else None, subject
    return None, None


def digest(ids: Sequence[str]) -> str:
    """Return what shows whoever has letters' ids that it was these; nobody else learns them."""
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()
