"""Events on a stream of the broker's, on a connection and in a loop of their own.

The loop lives in a thread, so that heartbeats go on whatever a service's own loop does, and an
auditor may be told from any thread. What the broker has not confirmed is published again, so that
an event may be there twice, and seldom out of order.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Annotated, Any

from pamqp.commands import Basic

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.feed.options import Age, StreamName
from busauth._amqp.feed.publisher import PERSISTENT
from busauth._amqp.feed.writing import StreamWriter
from busauth._amqp.publishing.batch import each_in_order
from busauth._amqp.publishing.copies import Outgoing
from busauth._arguments import Count, Range, Seconds, checked
from busauth._sinks.json_lines import json_of
from busauth._sinks.pseudonyms import Pseudonyms
from busauth._sinks.threaded import CLOSING, MOST, ThreadedSink, Writer
from busauth.audit import Shipped
from busauth.clock import Clock
from busauth.errors import NotAllPublished

AUDIT_STREAM = "busauth.audit"

StreamBytes = Annotated[int, Range(unit="bytes", least=1024 * 1024)]

_TIMEOUT = 10.0
"""Seconds after which an event that is not confirmed is published again."""

_SEGMENT_BYTES = 16 * 1024 * 1024
"""A stream drops whole segments of this size, so that it may keep more than asked."""


class AuditStream(ThreadedSink):
    """Publishes events to a stream on the broker: `Guard(auditor=AuditStream(url))`.

    A bus that has it reports its status there every few seconds as well. The stream is declared
    where it is not there. It is written on a connection of its own, which is opened with the first
    event and again after it was lost; meanwhile events wait. Where too many do, further ones are
    counted, and told in the log. Read it with `read_stream`.

    Args:
        url: the broker, ``amqp://`` or ``amqps://``.
        stream: the stream's name.
        service: whose events they are; default: the name of the bus.
        max_bytes: how much the stream keeps.
        max_age: seconds for which it keeps that.
        declare: False where an operator declares it.
        status_every: seconds between two statuses of a bus.
        pseudonyms: what subjects are written as; None for their names.
        waiting: events that may wait to be written.
        clock: other than the machine's, for how often the log is told.

    Raises:
        ConfigurationError: the URL could never connect, or a number is out of its range.
    """

    @checked
    def __init__(
        self,
        url: str,
        *,
        stream: StreamName = AUDIT_STREAM,
        service: str | None = None,
        max_bytes: StreamBytes = 1024**3,
        max_age: Age = 7 * 24 * 3600.0,
        declare: bool = True,
        status_every: Seconds = 5.0,
        pseudonyms: Pseudonyms | None = None,
        waiting: Count = MOST,
        clock: Clock | None = None,
    ) -> None:
        arguments = {
            "x-queue-type": "stream",
            "x-max-length-bytes": max_bytes,
            "x-max-age": f"{int(max_age)}s",
            "x-stream-max-segment-size-bytes": min(_SEGMENT_BYTES, max_bytes),
        }
        writer = StreamWriter(
            broker_url(url), stream, arguments=arguments if declare else None, timeout=_TIMEOUT
        )
        self._publishing = _Publishing(writer, service, pseudonyms)
        self.status_every = status_every
        name = f"the audit stream {stream}"
        super().__init__(name, self._publishing, waiting=waiting, clock=clock)

    def report(self, status: Shipped) -> None:
        """Have a bus's status written."""
        self.put(status)

    def named(self, service: str) -> None:
        """Take a bus's name for events that say no other."""
        self._publishing.service = self._publishing.service or service


def instance() -> str:
    """Return what tells this process from others of its service."""
    return f"{socket.gethostname()}:{os.getpid()}"


class _Publishing(Writer[Outgoing]):
    """Publishes batches in an event loop of its own."""

    def __init__(
        self, stream: StreamWriter, service: str | None, pseudonyms: Pseudonyms | None
    ) -> None:
        self.service = service
        self._stream, self._pseudonyms = stream, pseudonyms
        self._own: _OwnLoop | None = None

    def encoded(self, item: Shipped) -> Outgoing:
        said = {"instance": instance(), **({"service": self.service} if self.service else {})}
        properties = Basic.Properties(
            content_type="application/json", delivery_mode=PERSISTENT, app_id="busauth"
        )
        return Outgoing(json_of(item, self._pseudonyms, **said), properties)

    def write(self, items: list[Outgoing]) -> None:
        if self._own is None:
            self._own = _OwnLoop()
        self._own.run(self._publish(items))

    async def _publish(self, items: list[Outgoing]) -> None:
        try:
            await each_in_order(partial(self._stream.publish, each) for each in items)
        except NotAllPublished as error:
            items[:] = [items[place] for place in error.errors]
            raise
        items.clear()

    def close(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            try:
                own.run(self._stream.close(), CLOSING)
            finally:
                own.end()


class _OwnLoop:
    """An event loop that goes on in a thread while nobody waits for it: heartbeats need that."""

    def __init__(self) -> None:
        self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="busauth audit", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, None], seconds: float | None = None) -> None:
        """Run something in it, and wait for its end."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    def end(self) -> None:
        """Cancel what is left in it, and wait until it is closed."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(CLOSING)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        await self._ended.wait()
