"""The broker: who it is, how old it is, and what this user may do there."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic
from yarl import URL

from busauth._amqp.connecting.connect import connected_below
from busauth._amqp.connecting.patience import leaving
from busauth._messages.provenance import BROKER_STAMP
from busauth._tokens.fetch import is_loopback
from busauth.cli.doctor import releases
from busauth.cli.doctor.catalogue import Findings, finding
from busauth.cli.doctor.finding import Finding, told
from busauth.cli.doctor.looks import queues, waiting
from busauth.cli.doctor.looks.asking import NOWHERE, asked
from busauth.cli.doctor.subject import Question, Subject
from busauth.errors import ConfigurationError

_TRUE = ("1", "true", "yes")
_LONG_AGO = 1_000
"""Milliseconds since the epoch: a stamp that no clock shows any more."""


async def look(subject: Subject, question: Question, findings: Findings) -> None:
    """Find what is wrong with the broker, and with what the service needs of it."""
    if subject.url is None:
        return
    findings += of_url(subject.url)
    where = _shown(subject.url)
    try:
        connection = await connected_below(subject.url)
    except ConfigurationError as error:
        findings.add("broker-refused", where, told(error))
    except ConnectionError as error:
        findings.add("broker-unreachable", where, told(error))
    else:
        async with leaving(connection):
            findings += of_version(subject, where, connection.server_properties)
            await _of_publishing(subject, where, connection, findings)
            await queues.look(subject, connection, findings)
            if question.looks:
                await waiting.look(subject, connection, findings)


def _shown(url: URL) -> str:
    return f"{url.host}:{url.port}{url.path}"


def of_url(url: URL) -> Iterator[Finding]:
    """Yield what is wrong with a broker's URL; nothing of a password in it is told."""
    where, is_far = _shown(url), not is_loopback(url.host or "")
    if is_far and url.scheme == "amqp":
        yield finding("broker-plain", where, "amqp://, to a host that is not this one")
    if is_far and (url.user or "guest") == "guest" and (url.password or "guest") == "guest":
        yield finding("broker-guest", where, "the user is guest, and so is the password")
    if url.query.get("no_verify_ssl", "").lower() in _TRUE:
        yield finding("broker-unverified", where, "no_verify_ssl is set")
    if url.query.get("heartbeat") == "0":
        yield finding("heartbeat-off", where, "heartbeat is 0")


def of_version(subject: Subject, where: str, properties: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with a broker's age, by what it says of itself.

    Args:
        subject: the service, whose clock counts.
        where: which broker.
        properties: its server properties.
    """
    product, version = (_text(properties.get(name)) for name in ("product", "version"))
    series = releases.series_of(version) if product == "RabbitMQ" else None
    if series is None:
        return
    if (day := releases.ended(series, subject.clock.now())) is not None:
        found = f"RabbitMQ {told(version)}: the community's support ended on {day}"
        yield finding("broker-end-of-life", where, found)
    if series < releases.OLDEST:
        yield finding("broker-version-low", where, f"RabbitMQ {told(version)}")
    if subject.guard is None:
        return
    limit, most = subject.guard.options.max_body_bytes, releases.largest_message(series)
    if limit > most:
        found = f"max_body_bytes is {limit}, the broker's max_message_size {most} by default"
        yield finding("body-limit-above-broker", where, found)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


async def _of_publishing(
    subject: Subject, where: str, connection: AbstractConnection, findings: Findings
) -> None:
    """Find out whether copies can be put away, and whether the broker stamps what it gets."""
    if not subject.consumed:
        return
    key = f"{NOWHERE}.{uuid4().hex}"
    sent = await asked(connection, lambda c: c.basic_publish(b"", routing_key=key, mandatory=True))
    if sent.is_forbidden:
        found = f"it may not write to amq.default: {told(sent.error)}"
        findings.add("right-missing", "amq.default", found)
    elif subject.guard is not None and subject.guard.options.broker_stamps:
        stamped = await asked(connection, _stamped)
        if stamped.value is False:
            found = f"a message came back with the {BROKER_STAMP} that its sender wrote"
            findings.add("stamps-unwritten", where, found)


async def _stamped(channel: AbstractChannel) -> bool:
    """Send a message to a queue of this connection's own, and return whether it was stamped."""
    declared = await channel.queue_declare("", exclusive=True, auto_delete=True)
    name = "" if declared is None else declared.queue or ""
    headers: dict[str, Any] = {BROKER_STAMP: _LONG_AGO}
    properties = Basic.Properties(headers=headers)
    await channel.basic_publish(b"", routing_key=name, properties=properties)
    message = await channel.basic_get(name, no_ack=True)
    await channel.queue_delete(name)
    return (message.header.properties.headers or {}).get(BROKER_STAMP) != _LONG_AGO
