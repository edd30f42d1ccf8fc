"""Messages that are published now and arrive later: a ladder of queues, one for each power of two.

``busauth.delay.4`` holds all that comes there for 16 seconds, so that nothing in it waits behind
anything else, and no delay makes queues of its own. A routing key begins with the delay's bits,
highest first, and ends with the queue where the message is to arrive. The exchange of each level
looks at its own bit: 1 leads to the level's queue, from where the broker dead-letters, at least
once, to the exchange of the level below; 0 leads there at once. Below the lowest one,
``busauth.delay.due`` has a binding for each queue that anything was delayed for.

What arrives where no queue is any more would be tried for ever, and hold others up: it goes to
``busauth.delay.unrouted`` (docs/adr/0042).
"""

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiormq.exceptions
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic, Queue

from busauth._amqp.connecting.patience import answered, leaving
from busauth._amqp.connecting.rights import Step, permitted
from busauth._amqp.connecting.within import Within
from busauth._amqp.publishing.copies import LAST, Outgoing
from busauth._amqp.publishing.publisher import check_frame, frame_max
from busauth._amqp.topology import KEPT, forwarding
from busauth._loops import PerLoop
from busauth._tokens.claims import instant
from busauth._tokens.compact import split
from busauth._tokens.profiles.profile import VOUCHER_JWT, media_type_of
from busauth.caller import as_nobody
from busauth.clock import Clock
from busauth.errors import ConfigurationError, PublishError, evidence

LEVELS: Final = 22
"""Queues of the whole ladder; the longest holds for 24 days, and RabbitMQ's longest TTL is 49."""

LONGEST: Final = 2**LEVELS - 1
"""Seconds: 48 days."""

_NAME = "busauth.delay"
_DUE, _UNROUTED = f"{_NAME}.due", f"{_NAME}.unrouted"
_LONGEST_KEY = 255
_ROOM = _LONGEST_KEY - 2 * LEVELS
"""Bytes that are left of a routing key for a queue's name."""

_DEATH, _DEATHS = 200, 512
"""Bytes that a broker notes of each queue that a message went through, without its key; of all."""

_BELIEVED: Final = 60.0
"""Seconds for which a queue is taken to be bound: deleted and declared anew, it is no more."""

_TARGETS: Final = 1000
"""Queues that are remembered; who forgets one binds it again."""

_DELAY = Step(
    f"declare and bind what delays messages ({_NAME}.…)",
    "configure, and write to",
    "configure, write to, and read from",
)
_ACTED_ON = frozenset({"cc", "bcc", "x-death"})
"""Headers by which a message would go elsewhere as well, or be taken for one in a circle."""


def check_delay(delay: float | None, exchange: str) -> None:
    """Refuse what no ladder of delays can do.

    Raises:
        ConfigurationError: a delay that is no span of time, or too long; or no queue's.
    """
    if delay is None:
        return
    is_number = isinstance(delay, int | float) and not isinstance(delay, bool)
    if not is_number or not 0 < delay <= LONGEST:
        raise ConfigurationError(
            f"delay={delay!r}: expected seconds above 0, at most {LONGEST} (48 days), or None"
        )
    if exchange:
        raise ConfigurationError(
            f"delay=... with exchange={exchange!r}: expected the name of one queue alone, as the "
            "routing key on the default exchange: that is where it arrives"
        )


@dataclass(frozen=True, slots=True)
class Way:
    """How a message goes to a queue for a while.

    Args:
        target: the queue.
        seconds: whole ones, above 0.

    Attributes:
        levels: how many levels it needs.
    """

    target: str
    seconds: int
    levels: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", self.seconds.bit_length())

    @property
    def route(self) -> tuple[str, str]:
        """Return the exchange and the routing key that it is published with."""
        bits = ".".join(f"{self.seconds:0{LEVELS}b}")
        return _level(self.levels - 1), f"{bits}.{self.target}"

    @property
    def stops(self) -> int:
        """Return in how many queues it waits."""
        return self.seconds.bit_count()


def _level(number: int) -> str:
    """Return the name of a level's queue and exchange; of the exchange below the lowest one."""
    return f"{_NAME}.{number}" if number >= 0 else _DUE


def _pattern(number: int, bit: str) -> str:
    return f"{'*.' * (LEVELS - 1 - number)}{bit}.#"


def _arrival(target: str) -> str:
    return f"{'*.' * LEVELS}{target}"


def _arguments(number: int) -> Mapping[str, Any]:
    """Return a level's queue; whoever looks at it changes nothing."""
    ttl = 1000 * 2**number
    return {**KEPT, "x-message-ttl": ttl, **forwarding(_level(number - 1))}


class Delays:
    """What delays a bus's publications, declared as it is first needed.

    What is known to be there is forgotten with its connection: what is declared on a broker may be
    gone when that is back. That a queue is bound is forgotten sooner: declared anew, it is no more.
    """

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._turns = PerLoop(asyncio.Lock)

    async def way(
        self,
        connection: AbstractConnection,
        outgoing: Outgoing,
        target: str,
        delay: float,
        *,
        clock: Clock,
        within: Within,
        declares: bool,
    ) -> tuple[str, str]:
        """Return with which exchange and routing key a message arrives at a queue after a while.

        Args:
            connection: on which it will be published.
            outgoing: the message.
            target: the queue.
            delay: seconds, rounded up.
            clock: how long what is there is believed in, and what a voucher's end is compared with.
            within: how long that may take.
            declares: whether what is missing is declared; else it is only looked whether it is
                there.

        Raises:
            PublishError: the queue is not there, the message could not wait, or it took too long.
            ConfigurationError: what delays is there with other arguments, or may not be declared,
                or is not there; or no routing key has room for the queue's name.
        """
        check_target(target)
        way = Way(target, math.ceil(delay))
        _check_waits(outgoing, way, frame_max(connection))
        _check_lasts(outgoing, way, clock.now())
        try:
            async with within.limit(), self._turns.here:
                known, now = self._known, clock.monotonic()
                if known is None or known.connection is not connection:
                    known = self._known = _Known(connection)
                if known.lacks(way, now):
                    with as_nobody():  # what a channel starts outlives the handler
                        await (known.declare(way) if declares else known.look(way))
                    known.remember(way, now)
        except TimeoutError as error:
            raise PublishError(
                f"what delays it was not declared within {within.seconds:g} s: it was not sent"
            ) from error
        return way.route


class _Known:
    """What is known to be there, on one connection."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self._levels = 0
        self._until: dict[str, float] = {}

    def lacks(self, way: Way, now: float) -> bool:
        return way.levels > self._levels or now >= self._until.get(way.target, now)

    def remember(self, way: Way, now: float) -> None:
        self._levels = max(self._levels, way.levels)
        self._until.pop(way.target, None)
        self._until[way.target] = now + _BELIEVED
        if len(self._until) > _TARGETS:
            del self._until[next(iter(self._until))]

    async def declare(self, way: Way) -> None:
        """Declare what is missing, from below: what a level leads to is there before it is."""
        with _told(way.target):
            async with leaving(await self._channel()) as channel:
                if not self._levels:
                    await answered(channel, _declare_end(channel))
                for number in range(self._levels, way.levels):
                    await answered(channel, _declare_level(channel, number))
                    self._levels = number + 1
                bound = channel.queue_bind(way.target, _DUE, _arrival(way.target))
                await answered(channel, bound)

    async def look(self, way: Way) -> None:
        """Look whether what an operator declares is there; its bindings cannot be looked at."""
        with _told(way.target):
            await self._look_for_levels(way)
            async with leaving(await self._channel()) as channel:
                await answered(channel, channel.queue_declare(way.target, passive=True))

    async def _look_for_levels(self, way: Way) -> None:
        try:
            async with leaving(await self._channel()) as channel:
                for number in (-1, *range(way.levels)):
                    there = channel.exchange_declare(_level(number), passive=True)
                    await answered(channel, there)
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            raise ConfigurationError(
                f"a delay of {way.seconds} s: {error}; expected the levels 0 to {way.levels - 1} "
                f"of {_NAME} and {_DUE}, with BusOptions(declare=False) declared by an operator as "
                f"docs/protocol.md has them, and {way.target!r} bound to {_DUE} with the key "
                f"{_arrival(way.target)!r}"
            ) from error

    async def _channel(self) -> AbstractChannel:
        return await answered(self.connection, self.connection.channel(publisher_confirms=False))


async def _declare_end(channel: AbstractChannel) -> None:
    """Declare where messages are due, and where those go whose queue is gone."""
    await channel.exchange_declare(_UNROUTED, exchange_type="fanout", durable=True)
    await channel.queue_declare(_UNROUTED, durable=True, arguments=dict(KEPT))
    await channel.queue_bind(_UNROUTED, _UNROUTED)
    alternate: dict[str, Any] = {"alternate-exchange": _UNROUTED}
    await channel.exchange_declare(_DUE, exchange_type="topic", durable=True, arguments=alternate)


async def _declare_level(channel: AbstractChannel, number: int) -> None:
    name = _level(number)
    await channel.exchange_declare(name, exchange_type="topic", durable=True)
    await channel.queue_declare(name, durable=True, arguments=dict(_arguments(number)))
    await channel.exchange_bind(_level(number - 1), name, _pattern(number, "0"))
    await channel.queue_bind(name, name, _pattern(number, "1"))


@contextmanager
def _told(target: str) -> Iterator[None]:
    """Tell what stands in the way of a message that is to arrive later."""
    try:
        with permitted(_DELAY):
            yield
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        raise PublishError(
            f"queue {target!r} is not there ({error}), and a delayed message would arrive nowhere: "
            "it was not sent; declare the queue first"
        ) from error
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise ConfigurationError(
            f"what delays messages is there with other arguments: {error}. Delete what is named "
            f"{_NAME}.… once its queues are empty, or declare it yourself as docs/protocol.md has "
            "it, and set BusOptions(declare=False)"
        ) from error
    except (aiormq.exceptions.AMQPError, ConnectionError) as error:
        raise PublishError(
            f"what delays it was not declared ({type(error).__name__}: {error}): it was not sent"
        ) from error


def check_target(target: str) -> None:
    """Refuse a queue that the ladder cannot lead to.

    Raises:
        ConfigurationError: its name is too long, or another one is expected, and which.
    """
    size = len(target.encode("utf-8", "replace"))
    if size > _ROOM:
        raise ConfigurationError(
            f"a delay for queue {evidence(target)}: its name has {size} bytes: expected {_ROOM} at "
            "most, as the delay stands before it in the routing key"
        )
    if (expected := _in_place_of(target)) is not None:
        raise ConfigurationError(f"a delay for queue {evidence(target)!r}: expected {expected}")


def _in_place_of(target: str) -> str | None:
    """Return which name is expected in place of one that cannot be bound; None for a good one."""
    if target.startswith(f"{_NAME}."):
        return (
            "a queue that somebody consumes, none of those that messages wait in: a broker drops "
            "what comes to the same one twice"
        )
    if not target or {"*", "#"} & set(target.split(".")):
        return (
            "a name without '*' and '#' between its dots, which stand for other queues' names there"
        )
    try:
        Queue.Bind(queue=target)
    except ValueError:  # other clients may have one of this name: published to, and not bound
        return (
            "a name of letters A to Z, digits, blanks and '-_.:@#,/+', as the client library binds "
            "no other"
        )
    return None


def _check_lasts(outgoing: Outgoing, way: Way, now: float) -> None:
    """Refuse a voucher that is over when its message arrives: nobody exchanges it then.

    Raises:
        PublishError: says how long it counts.
    """
    token = outgoing.token
    if token is None or media_type_of(token) != VOUCHER_JWT:
        return
    ends_at = instant(split(token, max_bytes=len(token)).payload, "exp")
    if ends_at is not None and ends_at <= now + way.seconds:
        raise PublishError(
            f"its voucher counts for {ends_at - now:.0f} s, and the delay is {way.seconds} s: it "
            "was not sent; expected a server that gives vouchers for longer, or a shorter delay"
        )


def _check_waits(outgoing: Outgoing, way: Way, limit: int) -> None:
    """Refuse a message that would not wait, or would hold others up; give it their priority.

    Raises:
        PublishError: says what is in the way.
    """
    said: Basic.Properties = outgoing.properties
    for name, value, why in (
        ("expiration", said.expiration, "its delay would end with that"),
        ("priority", said.priority, "others would wait behind it"),
    ):
        if value:
            raise PublishError(f"{name}={value!r} on a delayed message: {why}; leave it out")
    said.priority = LAST  # as all have it: RabbitMQ 4.3 takes one that says none before them
    if odd := [name for name in said.headers or {} if name.lower() in _ACTED_ON]:
        raise PublishError(f"the header {odd[0]!r} on a delayed message: leave it out")
    if limit:  # what each queue notes on it must still fit
        _, key = way.route
        check_frame(outgoing, max(1, limit - _DEATHS - way.stops * (_DEATH + len(key.encode()))))
