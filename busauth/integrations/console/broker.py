"""Where a console looks by default: the broker, as a user who may read and nothing else.

Letters pass through here one by one. What a page may show of one is kept; its headers, and with
them whatever token it has, are not.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from busauth._amqp.auditing.reading import followed
from busauth._amqp.auditing.stream import AUDIT_STREAM
from busauth._amqp.connecting.address import broker_url
from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.look import existing, held
from busauth._amqp.resending.records import Record, history
from busauth._amqp.topology import dead_queue, parked_queue, rejected_queue
from busauth._arguments import checked
from busauth._redaction import redact, redact_cut
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError
from busauth.integrations.console.seen import (
    MOST_LETTERS,
    InstanceSeen,
    LetterSeen,
    Passage,
    RunStep,
)
from busauth.integrations.console.shown import date
from busauth.integrations.console.summing import GONE, Told, cut, number

T = TypeVar("T")

_BODY, _BODIES = 4096, 32 * 1024 * 1024
"""Bytes that are shown of a body, and that are held of all bodies of a queue."""

_FIRST = 1.5
"""Seconds that the first visitor waits for what the audit stream has."""

_WORDS = 50
"""Filters, counts and values that are shown of one record."""

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
        self._told, self._attached = Told(), asyncio.Event()
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
        if not self._attached.is_set():
            raise TimeoutError("the audit stream is not being read yet")
        return self._told.seen(self._clock.now())

    async def close(self) -> None:
        """Stop following the stream."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, ConfigurationError):
                await self._following

    async def _follow(self) -> None:
        told = self._told = Told()
        attached = self._attached = asyncio.Event()
        since = self._clock.now() - GONE
        reading = followed(broker_url(self._url), self._stream, since, None, attached)
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
        Where a redrive or somebody else's look has it, that is waited for.

        Raises:
            Deferred, ConnectionError, ConfigurationError: as of `busauth.letters`.
        """
        around = (dead_queue(queue), rejected_queue(queue), parked_queue(queue))
        found, room = list[LetterSeen](), _Room(_BODIES if self._bodies else 0)
        for source in await existing(self._url, around):
            async with held(self._url, source) as (_, waiting):
                async for letter in waiting.letters(bodies=self._bodies):
                    if len(found) < MOST_LETTERS:
                        found.append(seen(letter, room.body(letter)))
        return found

    async def runs(self, queue: str) -> Sequence[RunStep]:
        """Read the history of a queue's letters.

        Raises:
            ConnectionError, ConfigurationError: as of `busauth.letters`.
        """
        return [step(each) for each in await history(self._url, queue)]


@dataclass(slots=True)
class _Room:
    """Bytes that may still be held of bodies."""

    left: int

    def body(self, letter: Letter) -> str | None:
        shown = letter.body[:_BODY]
        if self.left <= 0:
            return None
        self.left -= len(shown)
        text = shown.decode("utf-8", "replace")
        if len(shown) == letter.size:
            return redact(text)
        return f"{redact_cut(text)}\n... {letter.size} bytes in all"


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
        actor=cut(letter.actor),
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
        filters={str(cut(name)): _told(name, said) for name, said in _some(record.filters)},
        counts={str(cut(name)): count for name, count in _some(record.counts)},
    )


def _some(table: Mapping[str, T]) -> Iterable[tuple[str, T]]:
    return islice(table.items(), _WORDS)


def _told(name: str, said: object) -> str:
    """Return what was chosen as people say it: an instant as one, and several with commas."""
    if name in ("before", "after") and (at := number(said)) is not None:
        return date(at)
    several = said[:_WORDS] if isinstance(said, list) else [said]
    return str(cut(", ".join(map(str, several))))
