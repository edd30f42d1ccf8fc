"""The queues around a consumer's queue, and how they are declared.

``orders`` is a quorum queue with a delivery limit, dead-lettering at least once to ``orders.dead``,
which never drops, and whose own limit is never reached, so that looking at it is harmless.
``orders.parked``, where a policy parks, holds what waits for its caller, and never drops either.
``orders.rejected`` holds what was not genuine: bounded, the oldest go first. ``orders.retry.1000``
and its neighbours hold failed messages for so many milliseconds, one delay each: with a delay per
message, a long one would hold up the short ones behind it.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiormq.exceptions
from aio_pika.abc import AbstractRobustChannel

from busauth._amqp.connecting.rights import DECLARE, LOOK, permitted, there
from busauth._amqp.options import BusOptions, RetryOptions
from busauth.errors import ConfigurationError

_REJECTED_BYTES = 64 * 1024 * 1024  # who is not genuine chooses how large: a disk must not fill up
_NEVER_REACHED = 2**31 - 1
"""A delivery limit for queues that are only looked at (docs/adr/0002).

Without one, RabbitMQ 4 deletes a message at its 21st return; -1 is not known to versions before 4,
and a queue that was declared without it cannot be declared with it after an upgrade.
"""

_QUORUM: Mapping[str, Any] = {"x-queue-type": "quorum"}
KEPT: Mapping[str, Any] = {**_QUORUM, "x-delivery-limit": _NEVER_REACHED}
"""A queue that whoever looks at it leaves as it is."""


def dead_queue(queue: str) -> str:
    """Return where genuine but refused messages of a queue go."""
    return f"{queue}.dead"


def parked_queue(queue: str) -> str:
    """Return where messages of a queue wait for their callers."""
    return f"{queue}.parked"


def rejected_queue(queue: str) -> str:
    """Return where messages of a queue go that were not genuine."""
    return f"{queue}.rejected"


def history_stream(queue: str) -> str:
    """Return the stream that tells what was done to letters of a queue."""
    return f"{queue}.history"


@dataclass(frozen=True, slots=True)
class RetryLadder:
    """Delay queues, each with one TTL, each twice as long as the one below.

    Args:
        queue: where a message comes back to.
        options: how many attempts, and which delays.
    """

    queue: str
    options: RetryOptions
    delays: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        options = self.options
        # In milliseconds; one more than the limit, as `rung` may choose the upper neighbour.
        delays = (
            int(1000 * min(options.longest, options.first * 2.0**attempt))
            for attempt in range(options.limit + 1 if options.limit else 0)
        )
        # Each once: from the longest on they are all the same queue.
        object.__setattr__(self, "delays", tuple(dict.fromkeys(delays)))

    def rung(self, attempt: int) -> str | None:
        """Return the delay queue after this many retries, None where the limit is reached.

        Between a rung and its upper neighbour the choice is random, so that messages that failed
        together do not come back together.
        """
        if attempt >= self.options.limit:
            return None
        chosen = attempt + random.choice((0, 1))  # noqa: S311 -- spreads load, guards nothing
        return self.name(self.delays[min(chosen, len(self.delays) - 1)])

    def longest(self) -> str:
        """Return the queue with the longest delay; without a ladder, the end of its own."""
        return self.name(self.delays[-1]) if self.delays else self.queue

    def names(self) -> tuple[str, ...]:
        """Return the names of all delay queues."""
        return tuple(map(self.name, self.delays))

    def name(self, delay: int) -> str:
        """Return the name of the queue that delays by so many milliseconds."""
        return f"{self.queue}.retry.{delay}"


@dataclass(frozen=True, slots=True)
class Tail:
    """Where messages wait that have no ladder: at the end of their own queue, behind all others.

    Args:
        queue: that queue.
        limit: how often a message waits there whose handler failed.
    """

    queue: str
    limit: int = 0

    def rung(self, attempt: int) -> str | None:
        """Return the queue after this many retries, None where the limit is reached."""
        return self.queue if attempt < self.limit else None

    def longest(self) -> str:
        """Return the queue."""
        return self.queue


def queues_around(queue: str, retries: RetryLadder | Tail) -> tuple[str, ...]:
    """Return the names of all queues to which messages of a queue may go."""
    around = dead_queue(queue), rejected_queue(queue), parked_queue(queue)
    return (*around, *retries.names()) if isinstance(retries, RetryLadder) else around


def arguments_of(
    queue: str, options: BusOptions, *, parks: bool = False
) -> dict[str, dict[str, Any]]:
    """Return every queue around a consumer's queue, with its arguments; the same on all versions.

    Args:
        queue: the consumer's queue.
        options: limits and delays.
        parks: whether its late messages may wait for their callers.
    """
    ladder = RetryLadder(queue, options.retry)
    return {
        **({parked_queue(queue): dict(KEPT)} if parks else {}),
        dead_queue(queue): dict(KEPT),
        rejected_queue(queue): {
            **KEPT,
            "x-max-length": options.rejected_limit,
            "x-max-length-bytes": _REJECTED_BYTES,
        },
        **{
            ladder.name(delay): {"x-message-ttl": delay, **_forwarding(queue)}
            for delay in ladder.delays
        },
        queue: {"x-delivery-limit": options.delivery_limit, **_forwarding(dead_queue(queue))},
    }


def _forwarding(queue: str) -> dict[str, Any]:
    return {**forwarding(""), "x-dead-letter-routing-key": queue}


def forwarding(exchange: str) -> dict[str, Any]:
    """Return a queue that dead-letters at least once: kept here until the exchange has routed it.

    Args:
        exchange: where to, with the routing key that a message came with.
    """
    return {
        **_QUORUM,
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # without it, the broker falls back to at most once
    }


async def declare(
    channel: AbstractRobustChannel, queue: str, options: BusOptions, *, parks: bool = False
) -> None:
    """Declare a consumer's queue and those around it; a reconnection declares them again.

    Raises:
        ConfigurationError: one exists with other arguments; says which, and what to do.
    """
    for name, arguments in arguments_of(queue, options, parks=parks).items():
        try:
            with permitted(DECLARE):
                await channel.declare_queue(name, durable=True, arguments=arguments)
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            raise ConfigurationError(
                f"queue {name!r} exists with other arguments: {error}. Delete it once it is empty, "
                "or declare the queues yourself and set BusOptions(declare=False)"
            ) from error


async def check(channel: AbstractRobustChannel, queue: str) -> None:
    """Look whether a queue is there that somebody else declares.

    Raises:
        ConfigurationError: it is not.
    """
    what = (
        "it before the service starts: with BusOptions(declare=False) its operator declares it, "
        "those around it (`Bus.queues`) and its bindings"
    )
    with permitted(LOOK), there(queue, what):
        await channel.get_queue(queue)
