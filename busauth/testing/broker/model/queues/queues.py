"""What all kinds of queues have in common, who takes from one, and what it needs of others."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from busauth.testing.broker.model.journal import Journal
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues.ready import Entry
from busauth.testing.broker.model.queues.turns import Consumers
from busauth.testing.broker.model.sinks import ChannelSink
from busauth.testing.broker.model.words.arguments import Arguments, QueueOptions

EXPIRED: Final = "expired"
REJECTED: Final = "rejected"
FAILED: Final = "failed"
MAXLEN: Final = "maxlen"
MILLI: Final = 1000
"""Milliseconds, as arguments have them, in a second."""


class Outcome(StrEnum):
    """What became of a dead letter."""

    ROUTED = "each queue took it"
    PARTLY = "some queues took it, and some refused it"
    NO_EXCHANGE = "the queue has no dead-letter exchange"
    UNROUTABLE = "its dead-letter exchange routes it to no queue"
    CYCLE = "it came round by itself"


class Surroundings(Protocol):
    """What a queue needs of its virtual host."""

    journal: Journal

    def shown(self, kind: str, name: str) -> str:
        """Return how RabbitMQ names a resource in its texts."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def mark(self, queue: "BaseQueue") -> None:
        """Look at this queue's deliveries at the next pump."""
        ...

    def schedule(self, queue: "BaseQueue", due: float) -> None:
        """Call the queue's `fire` at an instant."""
        ...

    def hold(self, size: int) -> None:
        """Bytes more, or less, in memory."""
        ...

    def dead_letter(
        self, queue: "BaseQueue", message: Message, reason: str, reached: set[str] | None = None
    ) -> Outcome:
        """Send on to the queue's dead-letter exchange.

        Args:
            queue: where it was.
            message: what it is.
            reason: why it goes.
            reached: names of queues that have it already; those that take it now are added.
        """
        ...

    def later(self, step: Callable[[], object]) -> None:
        """Do something, not within anything else that is done this way."""
        ...

    def remove(self, queue: "BaseQueue") -> None:
        """Forget a queue that is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Declaration:
    """What queue.declare said.

    Attributes:
        name: the queue's name.
        durable, auto_delete: as declared; an exclusive queue is never durable.
        owner: the connection that alone may use it; None when it is not exclusive.
        arguments: as declared.
        options: the arguments, read.
    """

    name: str
    durable: bool
    auto_delete: bool
    owner: object | None
    arguments: Arguments
    options: QueueOptions


class Receiver(Protocol):
    """What a queue needs of a consumer's channel."""

    sink: ChannelSink

    def hand(
        self,
        consumer: "Consumer",
        entry: Entry,
        *,
        redelivered: bool,
        extra: dict[str, bytes | None] | None,
    ) -> None:
        """Deliver; `extra` are encoded headers on top."""
        ...

    def lost(self, consumer: "Consumer") -> None:
        """The queue is gone."""
        ...


@dataclass(eq=False, slots=True)
class Consumer:
    """One basic.consume.

    Attributes:
        tag: the consumer tag.
        channel: where its deliveries go.
        queue: where they come from.
        no_ack: deliveries count as acknowledged.
        exclusive: nobody else may consume.
        priority: the higher is served first.
        prefetch: how many unacknowledged deliveries it takes; 0 for any number.
        unacked: how many it holds.
        offset: of a stream: what it reads next.
    """

    tag: str
    channel: Receiver
    queue: "BaseQueue"
    no_ack: bool
    exclusive: bool = False
    priority: int = 0
    prefetch: int = 0
    unacked: int = 0
    offset: int = 0

    def can_take(self) -> bool:
        """Whether a delivery may be sent now."""
        if not self.channel.sink.writable():
            return False
        return self.no_ack or not self.prefetch or self.unacked < self.prefetch

    def took(self) -> None:
        """It holds one more."""
        self.unacked += 1

    def settled(self) -> None:
        """It holds one less."""
        self.unacked -= 1


class BaseQueue:
    """What all kinds of queues have in common.

    Args:
        declared: how it was declared.
        around: its virtual host.
    """

    def __init__(self, declared: Declaration, around: Surroundings) -> None:
        self.declared = declared
        self.name = declared.name
        self.options = declared.options
        self.around = around
        self.consumers = self._turns(declared.options)
        self.deleted = False
        self.scheduled = math.inf
        self._used = around.monotonic()
        self.touch()

    @staticmethod
    def _turns(options: QueueOptions) -> Consumers[Consumer]:
        """Who is served when."""
        del options
        return Consumers()

    @property
    def resource(self) -> str:
        """The queue, as RabbitMQ's texts name it."""
        return self.around.shown("queue", self.name)

    def messages(self) -> int:
        """Return how many messages are ready."""
        raise NotImplementedError

    def enqueue(self, message: Message) -> bool:
        """Take a message in; False when the queue is full and refuses it."""
        raise NotImplementedError

    # --- out ------------------------------------------------------------------------------------

    def take(self) -> Entry | None:
        """Remove the next message for basic.get.

        Raises:
            AMQPError: 540 of a stream.
        """
        raise NotImplementedError

    def deliver(self) -> None:
        """Hand out what consumers can take."""
        raise NotImplementedError

    def delivery_headers(self, entry: Entry) -> dict[str, bytes | None] | None:
        """Return headers that a delivery gets on top, encoded."""
        del entry
        return None

    # --- settled --------------------------------------------------------------------------------

    def check_return(self) -> None:
        """Refuse basic.nack and basic.reject where nothing can be given back.

        Raises:
            AMQPError: 540 of a stream.
        """

    def ack(self, entry: Entry) -> None:
        """The message was handled."""
        raise NotImplementedError

    def reject(self, entry: Entry) -> None:
        """The message is not wanted: dead-letter or drop it."""
        raise NotImplementedError

    def requeue(self, entries: Iterable[Entry], *, failed: bool) -> None:
        """Take messages back, in the order given.

        Args:
            entries: what comes back.
            failed: whether it was rejected, or its channel is closed; else nobody blames it.
        """
        raise NotImplementedError

    # --- use ------------------------------------------------------------------------------------

    def touch(self) -> None:
        """The queue was used: its expiry begins anew."""
        self._used = self.around.monotonic()
        if self.options.expires is not None:
            self.around.schedule(self, self._unused_at())

    def _unused_at(self) -> float:
        if self.options.expires is None or self.consumers:
            return math.inf
        return self._used + self.options.expires / MILLI

    def fire(self) -> None:
        """Do what has become due."""
        raise NotImplementedError

    def subscribe(self, consumer: Consumer) -> None:
        """Serve a consumer from the next pump on."""
        self.consumers.add(consumer)
        self.around.mark(self)

    def unsubscribe(self, consumer: Consumer) -> None:
        """Serve it no longer; an auto-delete queue goes with its last consumer."""
        self.consumers.remove(consumer)
        self.touch()
        if self.declared.auto_delete and not self.consumers:
            self.delete()
        else:
            self.around.mark(self)

    # --- gone -----------------------------------------------------------------------------------

    def purge(self) -> int:
        """Drop what is ready; return how many that were.

        Raises:
            AMQPError: 540 of a stream.
        """
        raise NotImplementedError

    def check_delete(self, *, if_unused: bool, if_empty: bool) -> None:
        """Refuse to go under queue.delete's conditions.

        Raises:
            AMQPError: 406 when they are not met, 540 where there are none.
        """

    def delete(self) -> int:
        """Go away, tell the consumers, and return how many messages were ready."""
        self.deleted = True
        self.around.remove(self)
        for consumer in self.consumers:
            consumer.channel.lost(consumer)
        return self._empty()

    def _empty(self) -> int:
        """Drop everything; return how many messages were ready."""
        raise NotImplementedError
