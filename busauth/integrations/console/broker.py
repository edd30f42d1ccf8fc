"""Where a console looks by default: the broker, as a user who may read and nothing else.

Letters pass through here one by one. What a page may show of one is kept; its headers, and with
them whatever token it has, are not.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from busauth._amqp.auditing.reading import read_stream
from busauth._amqp.auditing.stream import AUDIT_STREAM
from busauth._amqp.connecting.address import broker_url
from busauth._amqp.connecting.connect import connected
from busauth._amqp.connecting.patience import leaving
from busauth._amqp.resending.letters import Letter, taken
from busauth._amqp.resending.look import existing
from busauth._amqp.resending.records import Record, history
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth._arguments import checked
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError
from busauth.integrations.console.seen import InstanceSeen, LetterSeen, Passage, RunStep
from busauth.integrations.console.summing import GONE, Told, cut

_BODY, _BODIES = 4096, 32 * 1024 * 1024
"""Bytes that are shown of a body, and that are held of all bodies of a queue."""

_MOST = 100_000
"""Letters of a queue that are held."""

_FIRST = 1.5
"""Seconds that the first visitor waits for what the audit stream has."""

_TURN = 200
"""Events that are read before others may run."""


class BrokerSource:
    """Looks at a broker.

    Args:
        url: the broker, as a user who may read the queues of letters and the streams.
        bodies: whether the beginning of bodies is read; the console shows it to whoever may.
        stream: the audit stream.
        clock: the machine's by default.

    Raises:
        ConfigurationError: the URL could never connect.
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        bodies: bool = False,
        stream: str = AUDIT_STREAM,
        clock: Clock | None = None,
    ) -> None:
        broker_url(url)
        self._url, self._bodies, self._stream = url, bodies, stream
        self._clock = clock or SystemClock()
        self._told = Told()
        self._following: asyncio.Task[None] | None = None

    async def instances(self) -> Sequence[InstanceSeen]:
        """Return who has told of themselves on the audit stream in the last 15 minutes.

        It is read once, and followed from then on.

        Raises:
            ConnectionError, ConfigurationError: the stream was lost, or cannot be read.
        """
        following = self._following
        if following is None:
            following = self._following = asyncio.create_task(self._follow())
            await asyncio.wait([following], timeout=_FIRST)
        if following.done():
            self._following = None  # the next look begins anew
            following.result()
        return self._told.seen(self._clock.now())

    async def close(self) -> None:
        """Stop following the stream."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, ConfigurationError):
                await self._following

    async def _follow(self) -> None:
        told = self._told = Told()
        since = self._clock.now() - GONE
        reading = read_stream(self._url, stream=self._stream, since=since, quiet=None)
        async with aclosing(reading):
            count = 0
            async for said in reading:
                told.add(said)
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)

    async def letters(self, queue: str) -> Sequence[LetterSeen]:
        """Look at a queue's dead, rejected and parked letters, one queue after the other.

        Each is held whole for as long as it takes to cross the wire: some 20,000 letters a second.

        Raises:
            Deferred, ConnectionError, ConfigurationError: as of `busauth.letters`.
        """
        around = (dead_queue(queue), rejected_queue(queue), parked_queue(queue))
        found, held = list[LetterSeen](), _Held(_BODIES if self._bodies else 0)
        for source in await existing(self._url, around):
            async with leaving(await connected(self._url)) as connection:
                waiting = await taken(connection, source)
                async for letter in waiting.letters(bodies=self._bodies):
                    if len(found) < _MOST:
                        found.append(seen(letter, held.body(letter)))
        return found

    async def runs(self, queue: str) -> Sequence[RunStep]:
        """Read the history of a queue's letters.

        Raises:
            ConnectionError, ConfigurationError: as of `busauth.letters`.
        """
        return [step(each) for each in await history(self._url, queue)]


@dataclass(slots=True)
class _Held:
    """Bytes that may still be held of bodies."""

    left: int

    def body(self, letter: Letter) -> str | None:
        shown = letter.body[:_BODY]
        if self.left <= 0:
            return None
        self.left -= len(shown)
        text = shown.decode("utf-8", "replace")
        return text if len(shown) == letter.size else f"{text}\n... {letter.size} bytes in all"


def seen(letter: Letter, body: str | None = None) -> LetterSeen:
    """Return what a page may show of a letter."""
    return LetterSeen(
        id=letter.id,
        source=letter.source,
        code=cut(letter.code),
        detail=cut(letter.detail),
        error=cut(letter.error),
        at=cut(letter.at),
        issuer=cut(letter.issuer),
        subject=cut(letter.subject),
        publisher=cut(letter.publisher),
        message_id=cut(letter.message_id),
        attempts=letter.attempts or None,
        sealed=letter.sealed,
        kept=letter.kept,
        story=tuple(
            Passage(
                at=cut(each.at),
                code=cut(each.code),
                attempt=each.attempt or None,
                by=cut(each.by),
                authority=cut(each.authority),
            )
            for each in letter.story
        ),
        size=letter.size,
        body=body,
    )


def step(record: Record) -> RunStep:
    """Return what a page may show of a record."""
    return RunStep(
        run=record.run,
        kind=record.kind,
        at=record.at,
        source=cut(record.source),
        by=cut(record.by),
        authority=cut(record.authority),
        letters=len(record.letters),
        filters={str(cut(name)): str(cut(str(said))) for name, said in record.filters.items()},
        counts={str(cut(name)): count for name, count in record.counts.items()},
    )
