"""What a service is doing just now, as it knows without asking anybody."""

import os
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.core import GuardCore
from busauth.audit import without_tokens

_installed = cache(version)  # it is read from files


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatus:
    """One consumer.

    Attributes:
        queue: what it consumes.
        handling: messages that it holds: the broker was not told yet what became of them.
        concurrency: how many handlers may run at once.
        paused_for: what it waits for; None while it consumes.
        paused_since: since when, seconds since the epoch.
    """

    queue: str
    handling: int
    concurrency: int
    paused_for: str | None = None
    paused_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerStatus:
    """One issuer.

    Attributes:
        issuer: its name.
        keys_age: seconds since its keys were fetched; None where they are not, or not yet.
    """

    issuer: str
    keys_age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A bus at one instant.

    Attributes:
        service: its name.
        at: when, seconds since the epoch, by the guard's clock.
        state: ``starting``, ``running``, ``stopping``, or ``stopped``.
        consumers: each by its queue.
        issuers: whose tokens it takes, by name.
        feed_age: seconds that the newest heartbeat of the revocation feed is old, if there is one.
        version: of busauth.
        host, pid: of the process.
    """

    service: str
    at: float
    state: str
    consumers: tuple[ConsumerStatus, ...]
    issuers: tuple[IssuerStatus, ...]
    feed_age: float | None
    version: str
    host: str
    pid: int

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON: what is known, and ``"kind": "status"``."""
        known = asdict(self)
        for name in ("consumers", "issuers"):
            known[name] = [without_tokens(each) for each in known[name]]
        return {"kind": "status", **without_tokens(known)}

    @property
    def changes(self) -> object:
        """Return what is worth a status of its own as soon as it is another."""
        paused = tuple((each.queue, each.paused_for) for each in self.consumers)
        return self.state, paused


def status_of(
    service: str, state: str, core: GuardCore, consumers: Iterable[Consumer[..., Any]]
) -> Status:
    """Return what a bus is doing."""
    from busauth._amqp.feed.feed import RevocationFeed  # noqa: PLC0415 -- rarely needed

    ages, feed = core.keys_ages(), core.revocations
    return Status(
        service=service,
        at=core.clock.now(),
        state=state,
        consumers=tuple(map(_consumer, consumers)),
        issuers=tuple(IssuerStatus(issuer=each, keys_age=age) for each, age in ages.items()),
        feed_age=feed.lag if isinstance(feed, RevocationFeed) else None,
        version=_installed("busauth"),
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def _consumer(consumer: Consumer[..., Any]) -> ConsumerStatus:
    return ConsumerStatus(
        queue=consumer.queue,
        handling=consumer.held,
        concurrency=consumer.concurrency,
        paused_for=consumer.waits_for,
        paused_since=consumer.paused_since,
    )
