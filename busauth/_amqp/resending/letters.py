"""Looking at dead letters without taking them.

A quorum queue keeps its order when one consumer held everything and goes away; a part that is given
back may go behind the rest (docs/adr/0002 has the measurements). So a look is one consumer, on a
connection of its own, that takes everything, settles nothing and is closed. Each letter carries the
instant of its refusal, so that letters which somebody else has reordered are told in order too.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

from aio_pika.abc import (
    AbstractChannel,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aiormq.abc import DeliveredMessage
from pamqp.header import ContentHeader

from busauth._amqp import headers as names
from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving
from busauth._amqp.connecting.rights import CONSUME, LOOK, permitted, there
from busauth._amqp.connecting.sieve.aside import Aside, Taken
from busauth._amqp.connecting.sieve.tolerant import TolerantConnection, is_unreadable
from busauth._amqp.delivery import Arrived
from busauth._arguments import CountOrNone, checked
from busauth._messages.seal import is_seal
from busauth._messages.story import Chapter, read
from busauth._messages.story import letter_id as written_id
from busauth._tokens.compact import split
from busauth.caller import Places, places, read_only
from busauth.errors import Deferred, NotGenuine, evidence

_PATIENCE = 5.0
"""Seconds without a further message, after which somebody else counts as having taken the rest."""

# a prefetch count has 16 bits (AMQP 0-9-1, basic.qos)
_WINDOW = 65_535
"""Messages that one consumer holds at most. Without a number, quorum queues say 2,000."""

_RAISED = re.compile(r"handler\.\w+: got (?P<error>[^\W\d]\w*)")
_PROOF_BYTES = 16 * 1024

_NAMED = 32
"""Headers that a consumer's letters have at most, as a rule."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that waits beside a consumer's queue: dead, rejected or parked.

    All of it is what stands on the letter. Who can publish to that queue can write it; what counts
    is under the seal, which its consumer alone can verify.

    Attributes:
        id: its own, which it keeps however often it comes back; where none is written on it, a
            digest of what it is, 32 hexadecimal digits as well.
        source: the queue that it waits in.
        code: the refusal's code; None where the broker itself dead-lettered; ``message.unreadable``
            where its properties cannot be read, so that nothing else is known.
        detail: the evidence, as one line.
        queue: where it was refused.
        at: when, in ISO 8601, UTC.
        issuer, subject: whose message it was, where a trusted issuer signed the token.
        token_sha256: identifies the token that it came with.
        message_id: its sender's.
        sealed: whether it carries a seal of its consumer's, which only the consumer can verify.
            Without one nothing shows who wrote it or what it was refused for, and it is not sent
            again: the letters of an earlier version are like that.
        returned: how often it was moved back by hand without a token, and went to where it was.
        size: how many bytes its body has.
        body: its body; empty where a look was not asked for bodies.
        headers: all of its headers, deeply read-only. A letter that the broker dead-lettered by
            itself has its token in there.
        transaction: `txn`, where it came with a transaction token.
    """

    id: str
    source: str
    code: str | None
    detail: str | None
    queue: str | None
    at: str | None
    issuer: str | None
    subject: str | None
    token_sha256: str | None
    message_id: str | None
    sealed: bool
    returned: int
    size: int
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)
    transaction: str | None = None

    @classmethod
    def of(
        cls, message: AbstractIncomingMessage, source: str = "", *, with_body: bool = True
    ) -> "Letter":
        """Read what a guard wrote on a copy, or tell that it cannot be read."""
        headers, body = message.headers, message.body
        code = "message.unreadable" if isinstance(message, Unreadable) else None
        return _letter(headers, message.message_id, body, source, code, with_body=with_body)

    @property
    def kept(self) -> bool:
        """Return whether a token was kept in it, which opens for its consumer alone."""
        return isinstance(self.headers.get(names.TOKEN), str)

    @property
    def error(self) -> str | None:
        """Return the type of the error with which its handler failed, by name."""
        raised = _RAISED.match(self.detail or "")
        if self.code == "handler.rejected":
            return "Reject"
        return raised["error"] if raised and self.code == "handler.failed" else None

    @property
    def publisher(self) -> str | None:
        """Return who sent it, as it says: who signed its proof; None without one.

        Nothing of it is verified here.
        """
        proof = self.headers.get(names.PROOF)
        if not isinstance(proof, str):
            return None
        try:
            return evidence(split(proof, max_bytes=_PROOF_BYTES).payload.get("iss"))
        except NotGenuine:
            return None

    @property
    def story(self) -> tuple[Chapter, ...]:
        """Return each time that it became a letter, oldest first; the last is this one."""
        told = read(self.headers.get(names.STORY))
        if told or self.at is None or self.code is None:
            return told
        attempt = names.count_in(self.headers, names.ATTEMPT) + 1
        return (Chapter(at=self.at, code=self.code, attempt=attempt),)

    @property
    def attempts(self) -> int:
        """Return how often its handler was tried until it became this letter, 0 where unknown."""
        return self.story[-1].attempt if self.story else 0

    @property
    def redrives(self) -> int:
        """Return how often it was sent again, as far as its story says."""
        return sum(entry.authority is not None for entry in self.story)


def _letter(
    headers: dict[str, Any],
    message_id: str | None,
    body: bytes,
    source: str,
    code: str | None = None,
    *,
    with_body: bool,
) -> Letter:
    # whoever can publish there writes what they like: what is no text is nobody's reason
    told = {
        name: text if isinstance(text := headers.get(name), str) else None for name in names.REASON
    }
    return Letter(
        id=_id_of(headers, message_id, body),
        source=source,
        code=code or told[names.REFUSAL],
        detail=told[names.DETAIL],
        queue=told[names.QUEUE],
        at=told[names.AT],
        issuer=told[names.ISSUER],
        subject=told[names.SUBJECT],
        token_sha256=told[names.TOKEN_SHA256],
        message_id=message_id,
        sealed=is_seal(headers.get(names.SEAL)),
        returned=names.count_in(headers, names.RETURNED),
        size=len(body),
        body=body if with_body else b"",
        headers=read_only(headers, _placed),
        transaction=told[names.TXN],
    )


def off_the_wire(taken: Taken, source: str, *, with_body: bool) -> Letter:
    """Read what no message was made of, and need not be."""
    if (plain := taken.plain()) is None:
        return Letter.of(message_of(taken.delivered()), source, with_body=with_body)
    return _letter(*plain, taken.body, source, with_body=with_body)


def _placed(named: tuple[str, ...]) -> Places:
    """Let letters that have the same headers share where they are; a stranger's need not."""
    return _shared(named) if len(named) <= _NAMED else places(named)


_shared = lru_cache(maxsize=64)(places)


def letter_id(message: AbstractIncomingMessage) -> str:
    """Return a letter's id, or a digest where none is written on it."""
    return _id_of(message.headers, message.message_id, message.body)


def _id_of(headers: Mapping[str, Any], message_id: str | None, body: bytes) -> str:
    written = written_id(headers.get(names.LETTER))
    if written is not None:
        return written
    said = (message_id, *(headers.get(name) for name in (names.AT, names.SEAL)))
    return sha256(repr(said).encode("utf-8", "replace") + body).hexdigest()[:32]


@checked
async def dead_letters(url: str, queue: str, *, limit: CountOrNone = 1000) -> list[Letter]:
    """Return the oldest messages of a dead-letter queue, and leave them all there, in their order.

    The whole queue crosses the wire; while it does, nobody else gets its messages.

    Args:
        url: the broker.
        queue: the queue to look at, such as ``orders.dead``.
        limit: how many letters to return.

    Raises:
        ConnectionError: the broker is out of reach.
        Deferred: the broker has taken the letters back before all had come.
        ConfigurationError: there is no such queue, the URL could never connect, or a right is
            missing.
    """
    async with leaving(await connected(url)) as connection:
        waiting = await taken(connection, queue)
        letters = [letter async for letter in waiting.letters()]
    # the oldest by when they were refused: what was given back stands behind newer ones
    return sorted(letters, key=lambda letter: letter.at or "")[:limit]


async def taken(connection: TolerantConnection, queue: str) -> "Waiting":
    """Begin to take what is in a queue now; nothing is settled.

    Args:
        connection: of no other use; whoever closes it gives everything back.
        queue: which queue.

    Raises:
        ConfigurationError: there is no such queue, or a right is missing.
        ConnectionError: the broker has not answered.
    """
    return await answered(below(connection), _taken(connection, queue))


async def _taken(connection: TolerantConnection, queue: str) -> "Waiting":
    channel = await connection.channel()
    declared = await looked_at(channel, queue)
    waiting = Waiting(queue, declared.declaration_result.message_count or 0)
    with permitted(CONSUME):
        await waiting.consume(connection, channel)
    # one channel more for each further window, as none holds more than that
    for _ in range(waiting.expected // _WINDOW):
        await waiting.consume(connection, await connection.channel())
    return waiting


async def looked_at(channel: AbstractChannel, queue: str) -> AbstractQueue:
    """Return a queue beside a consumer's as it is now.

    Raises:
        ConfigurationError: there is none, or a right is missing.
    """
    what = (
        "the name of one beside a consumer's queue, such as orders.dead for `dead_letters`, and "
        "orders for a release or a redrive; a bus declares them as it starts (Bus.declare)"
    )
    with permitted(LOOK), there(queue, what):
        return await channel.declare_queue(queue, passive=True)


async def was_whole(connection: TolerantConnection, waiting: "Waiting") -> bool:
    """Return whether all that was in a queue has come, and nobody else may have had a part."""
    channel = await answered(below(connection), connection.channel())
    declared = await answered(below(connection), looked_at(channel, waiting.queue))
    others = (declared.declaration_result.consumer_count or 0) > waiting.consumers
    return waiting.came >= waiting.expected and not others


class Waiting:
    """The messages that were in a queue, one by one, held until their connection is closed.

    It ends with the number that was there at first, or when somebody else has taken the rest.

    Args:
        queue: where they are from.
        expected: how many there are.

    Attributes:
        consumers: how many of them are its own.
        is_lost: whether the broker has taken them back, and whoever is next may have them.
        came: how many have come.
    """

    def __init__(self, queue: str, expected: int) -> None:
        self.expected = expected
        self.is_lost, self.consumers, self.came = False, 0, 0
        self.queue = queue
        self._arrived = deque[Taken]()
        self._woken = asyncio.Event()

    async def consume(self, connection: TolerantConnection, channel: AbstractChannel) -> None:
        """Take on a channel of no other use, as many as one can hold."""
        underlay = await channel.get_underlay_channel()
        # before it consumes: the broker may take back what has only just come
        underlay.on_consumer_cancel_callbacks.add(self._lose)
        underlay.closing.add_done_callback(self._lose)
        await underlay.basic_qos(prefetch_count=_WINDOW)
        self.consumers += 1
        connection.aside(underlay.number, Aside(underlay, self._take).takes)
        await underlay.basic_consume(self.queue, _nobodys)

    def check(self) -> None:
        """Go on only while the messages are held.

        Raises:
            Deferred: they are not any more: what was sent may come again.
        """
        if self.is_lost:
            raise Deferred(
                f"the broker has taken the messages of {self.queue} back, after its consumer "
                "timeout or as the queue is gone; look again at what is left"
            )

    def _lose(self, _why: object) -> None:
        self.is_lost = True
        self._woken.set()  # whoever waits for the next message, which will not come

    def _take(self, taken: Taken) -> None:
        self._arrived.append(taken)
        self._woken.set()

    async def __aiter__(self) -> AsyncIterator[AbstractIncomingMessage]:
        """Return each as aio-pika's message.

        Raises:
            Deferred: the broker has taken them back.
        """
        async for taken in self._each():
            yield message_of(taken.delivered())

    async def letters(self, *, bodies: bool = True) -> AsyncIterator[Letter]:
        """Return each as a letter, without a message where none is needed; errors likewise."""
        async for taken in self._each():
            yield off_the_wire(taken, self.queue, with_body=bodies)

    async def _each(self) -> AsyncIterator[Taken]:
        arrived = self._arrived
        for _ in range(self.expected):
            if not arrived:  # a timer for each of many would cost more than the rest
                self._woken.clear()
                self.check()
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await self._woken.wait()
                except TimeoutError:
                    return
            self.check()
            self.came += 1
            yield arrived.popleft()


async def _nobodys(_: DeliveredMessage) -> None:
    """Be called for no delivery: all of them are taken aside."""


class Unreadable(Arrived):
    """What stands for a message whose properties cannot be read: its body, and nothing else."""

    __slots__ = ()

    def __init__(self, delivered: DeliveredMessage) -> None:
        header = ContentHeader(body_size=delivered.header.body_size)
        super().__init__(replace(delivered, header=header))


def message_of(delivered: DeliveredMessage) -> AbstractIncomingMessage:
    """Return aio-pika's message; an `Unreadable` where it has none for such properties."""
    if is_unreadable(delivered):
        return Unreadable(delivered)
    try:
        return Arrived(delivered)
    except (ValueError, TypeError, OverflowError):  # an expiration that is no number, for one
        return Unreadable(delivered)
