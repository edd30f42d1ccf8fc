"""Taking letters away for good: discarded by what they are, or erased as one person's.

Who holds a letter: the queue beside, until it is acknowledged, which nothing follows. What is
about to go is recorded before it goes; whoever looks once more finds whether it has gone.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from busauth._amqp import headers
from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving
from busauth._amqp.resending.again import alone
from busauth._amqp.resending.letters import Letter, was_whole
from busauth._tokens.compact import split
from busauth.errors import NotGenuine, evidence

_TOGETHER = 1000
_TOKEN_BYTES = 64 * 1024

Telling = Callable[[Sequence[Letter]], None]
"""Is told what has gone."""

Noting = Callable[[Sequence[Letter]], Awaitable[None]]
"""Records what is about to go."""


async def removed(
    url: str | URL,
    source: str,
    wanted: Callable[[Letter], bool],
    *,
    gone: Telling,
    noting: Noting | None = None,
) -> bool:
    """Take away what is wanted, and return whether all was seen; others stay, in their order.

    Args:
        url: the broker.
        source: the queue beside the consumer's.
        wanted: which letters.
        gone: told of some once they were taken away.
        noting: awaited before some are taken away.

    Raises:
        Deferred: somebody else has the queue, or the broker has taken it back.
        ConfigurationError: there is no such queue, or a right is missing.
        ConnectionError: the broker is out of reach.
    """
    batch = list[tuple[Letter, AbstractIncomingMessage]]()

    async def take_away() -> None:
        letters = [letter for letter, _ in batch]
        if noting is not None and letters:
            await noting(letters)
        waiting.check()  # only while it was held, it is gone from there
        acks = asyncio.gather(*(message.ack() for _, message in batch))
        await answered(below(connection), acks)
        gone(letters)
        batch.clear()

    async with leaving(await connected(url)) as connection:
        waiting = await alone(connection, source)
        async for message in waiting:
            letter = Letter.of(message, source, with_body=False)
            if wanted(letter):
                batch.append((letter, message))
            if len(batch) == _TOGETHER:
                await take_away()
        await take_away()
        return await was_whole(connection, waiting)


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
        said = _said(letter, self.issuer)
        return any(map(self._is, ((letter.issuer, letter.subject), *said)))

    def _is(self, found: tuple[object, object]) -> bool:
        issuer, subject = found
        return subject in (self.subject, evidence(self.subject)) and (
            self.issuer is None or issuer in (self.issuer, evidence(self.issuer))
        )


def _said(letter: Letter, issuer: str | None) -> Iterator[tuple[object, object]]:
    """Yield whose a letter's tokens say it is: those in any header, as consumers name their own.

    A transaction token may name no issuer: that may be any.
    """
    for name, value in letter.headers.items():
        text = headers.as_text(value)
        if name.startswith(headers.PREFIX) or not isinstance(text, str):
            continue
        try:
            claims = split(text.rpartition(" ")[2], max_bytes=_TOKEN_BYTES).payload
        except NotGenuine:
            continue
        yield claims.get("iss", issuer), claims.get("sub")


def digest(ids: Sequence[str]) -> str:
    """Return what shows whoever has letters' ids that it was these; nobody else learns them."""
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()
