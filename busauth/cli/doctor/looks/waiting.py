"""The oldest message of a queue, taken in hand and given back: how old it is, and its token.

It comes back to where it was, nothing is reordered (the same on RabbitMQ 3.10 and 4.3). Meanwhile
no consumer has it, and it counts as delivered once: towards the delivery limit before RabbitMQ 4.3.
So it is done only where somebody asks for it. What is read of the token is anybody's word.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiormq.abc import AbstractChannel, AbstractConnection

from busauth._amqp.feed import RevocationFeed
from busauth._tokens.claims import instant
from busauth._tokens.compact import split
from busauth._tokens.verifier import MAX_TOKEN_BYTES
from busauth.cli.doctor.catalogue import Findings, finding
from busauth.cli.doctor.finding import Finding
from busauth.cli.doctor.looks.asking import asked
from busauth.cli.doctor.subject import Consumed, Subject
from busauth.errors import Refused

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class _Token:
    """What a token says of its time: seconds since the epoch."""

    issued: float | None
    ends: float | None


async def look(subject: Subject, connection: AbstractConnection, findings: Findings) -> None:
    """Find out what the oldest message of each queue tells."""
    header = "authorization" if subject.guard is None else subject.guard.core.header.name
    for consumed in subject.consumed:
        looking = partial(_headers, queue=consumed.queue)
        token = _read((await asked(connection, looking)).value, header)
        if token is not None:
            findings += _of_token(consumed, token, subject.clock.now())


async def _headers(channel: AbstractChannel, queue: str) -> Mapping[str, Any] | None:
    """Return the headers of the oldest message, which is given back at once."""
    message = await channel.basic_get(queue)
    if message.delivery_tag is None:  # the queue is empty
        return None
    await channel.basic_nack(message.delivery_tag, requeue=True)
    return message.header.properties.headers or {}


def _read(headers: Mapping[str, Any] | None, header: str) -> _Token | None:
    said = None if headers is None else headers.get(header)
    if isinstance(said, bytes):
        said = said.decode("utf-8", "replace")
    if not isinstance(said, str):
        return None
    raw = said[len(_BEARER) :] if said.lower().startswith(_BEARER) else said
    try:
        claims = split(raw, max_bytes=MAX_TOKEN_BYTES).payload
        return _Token(instant(claims, "iat"), instant(claims, "exp"))
    except Refused:  # encrypted, opaque, or no token: nothing is known of its time
        return None


def _of_token(consumed: Consumed, token: _Token, now: float) -> Iterator[Finding]:
    if token.ends is None:
        return
    late, lateness = now - token.ends, consumed.rules.callers.policies.lateness
    if late > lateness and not consumed.rules.callers.policies.parks:
        found = f"its token has expired {late:.0f} s ago, and {lateness:g} s are accepted"
        yield finding("waiting-expired", consumed.queue, found)
    feed = consumed.rules.callers.revocations
    life = token.ends - (token.ends if token.issued is None else token.issued)
    if isinstance(feed, RevocationFeed) and life > feed.options.token_life:
        kept = feed.options.token_life
        found = f"its token lives {life:.0f} s, the feed's token_life is {kept:g} s"
        yield finding("token-life-beyond-feed", consumed.queue, found)
