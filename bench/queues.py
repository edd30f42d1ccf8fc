"""Queues of one run: declared alike for everybody, filled fast, looked at, and deleted."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import cast
from uuid import uuid4

import aiormq
import pamqp.frame
from aiormq.abc import AbstractChannel, ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.common import FieldValue
from pamqp.header import ContentHeader

from bench.messages import Writer

_CHUNK = 200
_PATIENCE = 300.0
_NEIGHBOURS = ("", ".dead", ".rejected")
"""A queue, and where busauth puts what it refuses; the others drop it."""


class Queues:
    """The broker, as the harness uses it.

    Args:
        channel: without confirms; what was filled in is counted instead.
        kind: the type of every queue: ``quorum`` or ``classic``.
    """

    def __init__(self, channel: AbstractChannel, kind: str) -> None:
        self._channel = channel
        self.kind = kind
        self._names: list[str] = []
        self._prefix = f"bench.{uuid4().hex[:8]}"

    async def declare(self, purpose: str, *, kind: str | None = None) -> str:
        """Declare a durable queue, of this run's kind unless told, and return its name."""
        name = f"{self._prefix}.{purpose}.{len(self._names)}"
        self._names.append(name)
        arguments: dict[str, FieldValue] = {"x-queue-type": kind or self.kind}
        for neighbour in _NEIGHBOURS:
            each = f"{name}{neighbour}"
            await self._channel.queue_declare(each, durable=True, arguments=arguments)
        return name

    async def fill(self, queue: str, tokens: Iterable[str], writer: Writer) -> int:
        """Publish one message for each token; return once the broker counts them all."""
        before = await self.depth(queue)
        channel = cast("Channel", self._channel)
        written = 0
        frames = _framed(tokens, writer, queue, channel.number)
        while chunk := list(islice(frames, _CHUNK)):
            drained = asyncio.get_running_loop().create_future()
            payload = b"".join(chunk)
            await channel.write_queue.put(ChannelFrame(payload, False, drained))  # noqa: FBT003
            await drained
            written += len(chunk)
        await self.settles_at(queue, before + written)
        return written

    async def depth(self, queue: str) -> int:
        """Return how many messages are ready."""
        return (await self._channel.queue_declare(queue, passive=True)).message_count or 0

    async def settles_at(self, queue: str, count: int, *, seconds: float = _PATIENCE) -> None:
        """Wait until so many messages are ready.

        Raises:
            TimeoutError: there were others.
        """
        async with asyncio.timeout(seconds):
            while await self.depth(queue) != count:
                await asyncio.sleep(0.02)

    async def resting(self, queue: str) -> int:
        """Return how many messages are ready once two looks agree: what was held comes back."""
        seen = -1
        while seen != (now := await self.depth(queue)):
            seen = now
            await asyncio.sleep(0.2)
        return seen

    async def delete(self, *queues: str) -> None:
        """Delete queues with their neighbours; without names, all of this run's."""
        for name in queues or tuple(self._names):
            for neighbour in _NEIGHBOURS:
                await self._channel.queue_delete(f"{name}{neighbour}")
            self._names.remove(name)


def _framed(tokens: Iterable[str], writer: Writer, queue: str, number: int) -> Iterator[bytes]:
    """Encode each token's message once: a queue of a million repeats a few."""
    known: dict[str, bytes] = {}
    for token in tokens:
        if token not in known:
            known[token] = _frames(*writer(token), queue, number)
        yield known[token]


def _frames(body: bytes, properties: Basic.Properties, queue: str, number: int) -> bytes:
    """Return a publication to the default exchange as it goes over the wire."""
    parts = (
        Basic.Publish(exchange="", routing_key=queue),
        ContentHeader(body_size=len(body), properties=properties),
        ContentBody(body),
    )
    return b"".join(pamqp.frame.marshal(part, number) for part in parts)


@asynccontextmanager
async def opened(url: str, kind: str) -> AsyncIterator[Queues]:
    """Connect, and delete every queue of this run at the end."""
    connection = await aiormq.connect(url)
    try:
        queues = Queues(await connection.channel(publisher_confirms=False), kind)
        try:
            yield queues
        finally:
            await queues.delete()
    finally:
        await connection.close()
