"""What was done to letters, by whom and when: the stream ``<queue>.history``.

A run writes which letters it is about to move before it moves them, and what became of them
afterwards, each confirmed. So whoever reads it knows of a run that was killed what was in flight.
Never a token or a body stands in it.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import aiormq.exceptions
from aiormq.abc import AbstractConnection
from pamqp.commands import Basic
from pamqp.common import FieldValue
from yarl import URL

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.connecting.connect import connected_below
from busauth._amqp.connecting.patience import answered, leaving, left
from busauth._amqp.connecting.rights import RECORD, permitted
from busauth._amqp.feed.attachment import Attachment, DetachedError, attach
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import Publisher
from busauth._amqp.topology import history_stream
from busauth._arguments import checked
from busauth.errors import ConfigurationError

VERSION = 1
KINDS = (
    *("planned", "begun", "sending", "sent", "refused", "ended"),
    *("discarded", "erasing", "erased", "exported"),
)
"""What a record can tell, in no order."""

_TYPE = "x-queue-type"
_LIMITS: Mapping[str, FieldValue] = {
    "x-max-length-bytes": 128 * 1024 * 1024,
    "x-stream-max-segment-size-bytes": 16 * 1024 * 1024,
}
"""Bytes that a stream keeps: some two million letters; it drops whole segments, the oldest."""

_PERSISTENT = 2
_PREFETCH = 1000
_LONGEST = 1024 * 1024
"""Bytes of a record that is read: whoever can publish there can write one."""

_LATEST = 253_402_300_800
"""Seconds since the epoch that no calendar has: the year 10,000."""

_COUNTS = range(2**63)

_FOUND, _QUIET, _UNKNOWN = 10.0, 0.3, 1.0
"""Seconds that the end of a stream has to be told, and after which nothing more is of its end: the
last where nobody can read what is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One step of a run.

    Attributes:
        run: the run's id.
        kind: ``planned``, ``begun``, ``sending``, ``sent``, ``refused``, ``ended``, ``discarded``,
            ``erasing``, ``erased`` or ``exported``.
        at: when, seconds since the epoch.
        queue: the consumer's queue.
        source: the queue beside it from which letters were taken.
        by: who ran it, by their own word.
        authority: ``kept``, ``fresh`` or ``operator``, where letters went again.
        filters: which letters it is about, as `Wanted.filters` tells it; its ``before`` is the
            run's cut-off.
        letters: ids of the letters that this step is about.
        counts: numbers of letters, by what became of them.
        codes: why letters stayed, by their ids.
    """

    run: str
    kind: str
    at: float
    queue: str
    source: str
    by: str
    authority: str | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    letters: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is written: what is empty is left out."""
        told = {name: value for name, value in asdict(self).items() if value not in (None, {}, ())}
        return {"v": VERSION, **told}

    @classmethod
    def of(cls, body: bytes) -> Self | None:
        """Read what somebody wrote; None for what is no record of this version."""
        try:
            told = json.loads(body) if len(body) <= _LONGEST else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(told, dict) or told.pop("v", None) != VERSION:
            return None
        known = {each.name for each in fields(cls)}
        return cls._checked({name: value for name, value in told.items() if name in known})

    @classmethod
    def _checked(cls, told: dict[str, Any]) -> Self | None:
        ids = told.pop("letters", [])
        tables = [told.get(name, {}) for name in ("filters", "counts", "codes")]
        if not isinstance(ids, list) or not all(isinstance(each, dict) for each in tables):
            return None
        at, authority = told.get("at"), told.get("authority")
        named = [told.get(name) for name in ("run", "kind", "queue", "source", "by")]
        words = (*named, *ids, *tables[1], *tables[2], *tables[2].values())
        is_read = (
            # no escapes for a terminal: somebody else may have written it
            all(isinstance(each, str) and each.isprintable() for each in words)
            and (authority is None or (isinstance(authority, str) and authority.isprintable()))
            and all(type(each) is int and each in _COUNTS for each in tables[1].values())
            and isinstance(at, int | float)
            and 0 <= at < _LATEST  # which no NaN is
            and told["kind"] in KINDS
        )
        return cls(**told, letters=tuple(ids)) if is_read else None


class Recorder:
    """Writes records to a queue's history, each confirmed before `write` returns."""

    def __init__(self, connection: AbstractConnection, stream: str) -> None:
        self._connection, self._stream = connection, stream
        self._publisher = Publisher(timeout=30.0)

    async def write(self, record: Record) -> None:
        """Return once the broker has confirmed a record.

        Raises:
            PublishError: it did not.
            ConfigurationError: nobody could read it again.
        """
        properties = Basic.Properties(
            content_type="application/json", delivery_mode=_PERSISTENT, app_id="busauth"
        )
        body = json.dumps(record.as_json(), separators=(",", ":")).encode("ascii")
        if Record.of(body) is None:  # a run that nobody can read is not resumed
            raise ConfigurationError(
                f"a record of {len(body)} bytes could not be read again: expected filters of less "
                f"than {_LONGEST} bytes, and printable names of queues and of who does it (--by)"
            )
        await self._publisher.publish(
            self._connection, Outgoing(body, properties), exchange="", routing_key=self._stream
        )


@asynccontextmanager
async def recording(url: str | URL, queue: str) -> AsyncIterator[Recorder]:
    """Declare a queue's history where there is none yet, and write to it.

    Args:
        url: the broker.
        queue: the consumer's queue.

    Raises:
        ConnectionError: the broker is out of reach.
        ConfigurationError: the URL could never connect, or the stream may not be declared.
    """
    stream = history_stream(queue)
    async with leaving(await connected_below(broker_url(url))) as connection:
        await _declare(connection, stream)
        yield Recorder(connection, stream)


async def _declare(connection: AbstractConnection, stream: str) -> None:
    """Declare it unless it is there, with whatever limits it was declared.

    Raises:
        ConfigurationError: it may not be declared, or somebody has declared a queue of that name.
    """
    is_there = await _count(connection, stream) is not None
    try:
        with permitted(RECORD):
            await _declared(connection, stream, _LIMITS)
    except aiormq.exceptions.ChannelPreconditionFailed:  # with other limits, or it is no stream
        await _check(connection, stream)
    except ConfigurationError:
        if not is_there:  # else who may only write there may do so
            raise


async def _check(connection: AbstractConnection, stream: str) -> None:
    try:
        await _declared(connection, stream, {})
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        if _TYPE in str(error):
            raise ConfigurationError(
                f"{stream!r} is there, and is no stream: nobody could read what is recorded there "
                f"({error}); delete it, or do without a record"
            ) from None


async def _declared(
    connection: AbstractConnection, stream: str, limits: Mapping[str, FieldValue]
) -> None:
    channel = await answered(connection, connection.channel())
    arguments = {_TYPE: "stream", **limits}
    await answered(channel, channel.queue_declare(stream, durable=True, arguments=arguments))
    await left(channel)


async def _count(connection: AbstractConnection, stream: str) -> int | None:
    """Return how many records there are about, None where there is no such stream."""
    channel = await answered(connection, connection.channel())
    try:
        with permitted(RECORD):
            found = await answered(connection, channel.queue_declare(stream, passive=True))
    except aiormq.exceptions.ChannelNotFoundEntity:  # which has closed the channel
        return None
    await left(channel)
    return found.message_count or 0


@checked
async def history(url: str | URL, queue: str) -> list[Record]:
    """Return what was recorded of a queue's letters, oldest first.

    What is no record is left out: whoever can publish to that stream can write there.

    Args:
        url: the broker.
        queue: the consumer's queue, such as ``orders.placed``.

    Raises:
        ConnectionError: the broker is out of reach.
        ConfigurationError: the URL could never connect, or the stream may not be read.
    """
    address, stream = broker_url(url), history_stream(queue)
    async with leaving(await connected_below(address)) as connection:
        count = await _count(connection, stream)
    if count is None:
        return []
    # the broker's count lags behind what it has confirmed: only that there was something is certain
    last = await _last(address, stream, _FOUND if count else 1.0)
    return await _read_until(address, stream, last)


async def _last(url: URL, stream: str, seconds: float) -> int | None:
    """Return an offset in the last batch that is there, None where nothing is that can be read."""
    reader = await _attached(url, stream, "last")
    try:
        async with asyncio.timeout(seconds):
            return (await reader.read()).offset
    except TimeoutError:
        return None
    finally:
        await reader.close()


async def _read_until(url: URL, stream: str, last: int | None) -> list[Record]:
    """Read up to an offset, and what follows it at once: the broker delivers whole batches.

    Where nobody can read what is last, its offset is unknown, and only silence tells the end.
    """
    quiet, last = (_UNKNOWN, -1) if last is None else (_QUIET, last)
    reader, found = await _attached(url, stream, "first"), list[Record]()
    offset = -1
    try:
        while True:
            async with asyncio.timeout(_FOUND if offset < last else quiet):
                reading = await reader.read()
            offset = reading.offset
            if (record := Record.of(reading.body)) is not None:
                found.append(record)
    except TimeoutError:
        if offset >= last:
            return found
        raise ConnectionError(f"{stream} ended at {offset}, and has {last} records") from None
    finally:
        await reader.close()


async def _attached(url: URL, stream: str, start: str) -> Attachment:
    try:
        with permitted(RECORD):
            return await attach(url, stream, start, prefetch=_PREFETCH, monotonic=time.monotonic)
    except (aiormq.exceptions.AMQPError, DetachedError) as error:
        raise ConfigurationError(f"{stream} cannot be read: {error}") from error
