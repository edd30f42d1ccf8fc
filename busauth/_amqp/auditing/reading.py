"""What stands on the audit stream, from an instant on."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiormq.exceptions
from yarl import URL

from busauth._amqp.auditing.stream import AUDIT_STREAM
from busauth._amqp.connecting.address import broker_url
from busauth._amqp.feed.attachment import Attachment, attach
from busauth._amqp.feed.attachment import since as instant
from busauth._amqp.feed.options import StreamName
from busauth._arguments import Seconds, SecondsOrNone, checked
from busauth.errors import ConfigurationError

_PREFETCH = 1000
_LONGEST = 1024 * 1024
"""Bytes of an object that is read: whoever can publish there can write one."""


@checked
def read_stream(
    url: str,
    *,
    stream: StreamName = AUDIT_STREAM,
    since: SecondsOrNone = 0.0,
    quiet: Seconds | None = 1.0,
) -> AsyncGenerator[dict[str, Any], None]:
    """Return what `AuditStream` has written, as it is read, for ``async for``.

    Events have the fields of `Event`, and statuses ``"kind": "status"``; both have ``service`` and
    ``instance``. What anybody else has put there that is no object of JSON is left out: who may
    write to the stream can write anything.

    Args:
        url: the broker.
        stream: the stream's name.
        since: seconds since the epoch; what is older is left out. 0 for all that is there.
        quiet: seconds without anything new after which it ends; None to go on for ever.

    Raises:
        ConfigurationError: there is no such stream, or it must not be read; or waiting for the
            broker will not help.
        ConnectionError: the broker is out of reach, or was lost.
    """
    return followed(broker_url(url), stream, since, quiet, asyncio.Event())


async def followed(
    url: URL, stream: str, since: float, quiet: float | None, attached: asyncio.Event
) -> AsyncGenerator[dict[str, Any], None]:
    """Return the same, and set an event once nothing means that there is nothing."""
    attachment = await _attached(url, stream, since)
    attached.set()
    try:
        while True:
            try:
                async with asyncio.timeout(quiet):
                    reading = await attachment.read()
            except TimeoutError:
                return
            said = _object(reading.body)
            at = said.get("at")
            if said and (not isinstance(at, int | float) or at >= since):
                yield said
    finally:
        await attachment.close()


async def _attached(url: URL, stream: str, since: float) -> Attachment:
    monotonic = asyncio.get_running_loop().time
    try:
        return await attach(url, stream, instant(since), prefetch=_PREFETCH, monotonic=monotonic)
    except aiormq.exceptions.AMQPChannelError as error:
        raise ConfigurationError(f"the audit stream {stream!r} cannot be read: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body) if len(body) <= _LONGEST else None
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
