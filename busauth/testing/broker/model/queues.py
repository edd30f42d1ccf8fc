"""A queue: who waits in it, who takes from it, and what becomes of what leaves it.

Each message in a queue is either ready or unacknowledged. It leaves by being acknowledged, by
being dead-lettered (rejected, expired, over the length, over the delivery limit), or by being
dropped for one of these reasons where no dead-letter exchange takes it, purged, or deleted with the
queue.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final, Protocol

from busauth.testing.broker.model.arguments import Arguments, QueueOptions
from busauth.testing.broker.model.consumers import Consumer, Consumers
from busauth.testing.broker.model.journal import Journal, Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.ready import (
    ByArrival,
    ByPriority,
    Entry,
    Ready,
    drained,
)

EXPIRED: Final = "expired"
REJECTED: Final = "rejected"
MAXLEN: Final = "maxlen"
_MILLI = 1000


class Outcome(StrEnum):
    """What became of a dead letter."""

    ROUTED = "a queue took it"
    NO_EXCHANGE = "the queue has no dead-letter exchange"
    UNROUTABLE = "its dead-letter exchange routes it to no queue"
    CYCLE = "it came round by itself"


class Surroundings(Protocol):
    """What a queue needs of its virtual host."""

    journal: Journal

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

    def dead_letter(self, queue: "BaseQueue", message: Message, reason: str) -> Outcome:
        """Send on to the queue's dead-letter exchange."""
        ...

    def remove(self, queue: "BaseQueue") -> None:
        """Forget a queue that is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Declaration:
    """What queue.declare said.

    Attributes:
        name: the queue's name.
        durable, auto_delete: as declared.
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


class BaseQueue:
    """What all kinds of queues have in common.

    Args:
        declared: how it was declared.
        around: its virtual host.
    """

    def __init__(self, declared: Declaration, around: Surroundings) -> None:
        self.declared = declared
        self.name = declared.name
        self.options = options = declared.options
        self.around = around
        self.consumers = Consumers(single_active=options.single_active)
        self.deleted = False
        self.scheduled = math.inf
        self._used = around.monotonic()
        self.touch()

    def messages(self) -> int:
        """Return how many messages are ready."""
        raise NotImplementedError

    def enqueue(self, message: Message) -> bool:
        """Take a message in; False when the queue is full and refuses it."""
        raise NotImplementedError

    def take(self) -> Entry | None:
        """Remove the next message for basic.get."""
        raise NotImplementedError

    def deliver(self) -> None:
        """Hand out what consumers can take."""
        raise NotImplementedError

    def ack(self, entry: Entry) -> None:
        """The message was handled."""
        raise NotImplementedError

    def reject(self, entry: Entry) -> None:
        """The message is not wanted: dead-letter or drop it."""
        raise NotImplementedError

    def requeue(self, entries: Iterable[Entry]) -> None:
        """Take messages back, in the order given."""
        raise NotImplementedError

    def purge(self) -> int:
        """Drop what is ready; return how many that were."""
        raise NotImplementedError

    def fire(self) -> None:
        """Do what has become due."""
        raise NotImplementedError

    def delivery_headers(self, entry: Entry) -> dict[str, bytes | None] | None:
        """Return headers that a delivery gets on top, encoded."""
        del entry
        return None

    def has_work(self) -> bool:
        """Whether there is something that a consumer could take."""
        return self.messages() > 0

    def touch(self) -> None:
        """The queue was used: its expiry begins anew."""
        self._used = self.around.monotonic()
        if self.options.expires is not None:
            self.around.schedule(self, self._unused_at())

    def _unused_at(self) -> float:
        if self.options.expires is None or self.consumers:
            return math.inf
        return self._used + self.options.expires / _MILLI

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

    def delete(self) -> int:
        """Go away, tell the consumers, and return how many messages were ready."""
        self.deleted = True
        self.around.remove(self)
        for consumer in self.consumers:
            consumer.channel.lost(consumer)
        return self.purge()


class Queue(BaseQueue):
    """A classic queue; a quorum queue differs where it says so."""

    def __init__(self, declared: Declaration, around: Surroundings) -> None:
        super().__init__(declared, around)
        self.ready = self._order(declared.options)
        self.unacked: dict[int, Entry] = {}
        self.letters: list[tuple[Entry, str]] = []
        self._positions = count()

    @staticmethod
    def _order(options: QueueOptions) -> Ready:
        return ByPriority(options.max_priority) if options.max_priority else ByArrival()

    def messages(self) -> int:
        """Return how many messages are ready."""
        return len(self.ready)

    # --- in -------------------------------------------------------------------------------------

    def enqueue(self, message: Message) -> bool:
        """Hand to a consumer that waits, else store; False when the queue is full and refuses."""
        if self.options.overflow != "drop-head" and self._over(1, len(message.body)):
            self._refuse(message)
            return False
        entry = Entry(message, next(self._positions), self._expiry(message))
        self.around.hold(message.size)
        self.around.journal.tell(Step.QUEUED, message, self.name)
        consumer = None if self.ready else self.consumers.next()
        if consumer is not None:
            self._hand(entry, consumer)
            return True
        self.ready.append(entry)
        self._trim()
        self._settle_down()
        return True

    def _refuse(self, message: Message) -> None:
        self.around.journal.tell(Step.REFUSED, message, self.name, MAXLEN)
        if self.options.overflow == "reject-publish-dlx":
            self.around.dead_letter(self, message, MAXLEN)

    def _expiry(self, message: Message) -> float | None:
        limits = (self.options.message_ttl, message.expiration)
        given = [limit for limit in limits if limit is not None]
        return self.around.monotonic() + min(given) / _MILLI if given else None

    def _over(self, more: int = 0, more_bytes: int = 0) -> bool:
        longest, largest = self.options.max_length, self.options.max_bytes
        return (longest is not None and len(self.ready) + more > longest) or (
            largest is not None and self.ready.bytes + more_bytes > largest
        )

    def _trim(self) -> None:
        while self.options.overflow == "drop-head" and self.ready and self._over():
            self._bury(self.ready.pop(), MAXLEN)

    # --- out ------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Hand out what consumers can take."""
        self._drop_expired()
        while self.ready and (consumer := self.consumers.next()) is not None:
            self._hand(self.ready.pop(), consumer)
        self._watch_head()

    def _hand(self, entry: Entry, consumer: Consumer) -> None:
        self.around.journal.tell(Step.DELIVERED, entry.message, self.name, consumer.tag)
        extra, redelivered = self.delivery_headers(entry), entry.redelivered
        if consumer.no_ack:
            self._done(entry, Step.ACKED, "no-ack")
        else:
            self.unacked[entry.position] = entry
        consumer.channel.hand(consumer, entry, redelivered=redelivered, extra=extra)

    def take(self) -> Entry | None:
        """Remove the next message for basic.get; whoever called holds it now."""
        self.touch()
        self._drop_expired()
        if not self.ready:
            return None
        entry = self.ready.pop()
        self.unacked[entry.position] = entry
        self.around.journal.tell(Step.DELIVERED, entry.message, self.name, "basic.get")
        self._watch_head()
        return entry

    # --- settled --------------------------------------------------------------------------------

    def ack(self, entry: Entry) -> None:
        """The message was handled."""
        if self._held(entry):
            self._done(entry, Step.ACKED)

    def reject(self, entry: Entry) -> None:
        """The message is not wanted: dead-letter or drop it."""
        if self._held(entry):
            self._bury(entry, REJECTED)

    def requeue(self, entries: Iterable[Entry]) -> None:
        """Take messages back."""
        for entry in entries:
            if self._held(entry):
                self._give_back(entry)
        if not self.deleted:
            self._trim()
            self._settle_down()

    def _held(self, entry: Entry) -> bool:
        return self.unacked.pop(entry.position, None) is not None

    def _give_back(self, entry: Entry) -> None:
        entry.redelivered = True
        entry.returns += 1
        self.around.journal.tell(Step.RETURNED, entry.message, self.name)
        self.ready.give_back(entry)

    def _bury(self, entry: Entry, reason: str) -> None:
        """The queue no longer holds the entry: its message goes on, or is dropped."""
        outcome = self.around.dead_letter(self, entry.message, reason)
        if outcome is Outcome.ROUTED:
            self._done(entry, Step.DEAD_LETTERED, reason)
        else:
            self._done(entry, Step.DROPPED, f"{reason}; {outcome}")

    def _done(self, entry: Entry, step: Step, detail: str = "") -> None:
        self.around.hold(-entry.message.size)
        self.around.journal.tell(step, entry.message, self.name, detail)

    def purge(self) -> int:
        """Drop what is ready; what is unacknowledged goes too once the queue is deleted."""
        gone = list(drained(self.ready))
        ready = len(gone)
        if self.deleted:
            gone += self._remains()
        for entry in gone:
            self._done(entry, Step.PURGED)
        return ready

    def _remains(self) -> Iterable[Entry]:
        """What a deleted queue still holds besides what is ready."""
        unacked, self.unacked = self.unacked, {}
        return unacked.values()

    # --- time -----------------------------------------------------------------------------------

    def fire(self) -> None:
        """Drop what has expired, or the queue itself when nobody used it."""
        if self._unused_at() <= self.around.monotonic():
            self.delete()
            return
        self._drop_expired()
        self._watch_head()
        if self.options.expires is not None:
            self.around.schedule(self, self._unused_at())

    def _drop_expired(self) -> None:
        now = self.around.monotonic()
        while self.ready and (due := self.ready.head().expires_at) is not None and due <= now:
            self._bury(self.ready.pop(), EXPIRED)

    def _watch_head(self) -> None:
        if self.ready and (due := self.ready.head().expires_at) is not None:
            self.around.schedule(self, due)

    def _settle_down(self) -> None:
        """After messages were added: the head may have expired, consumers may have room."""
        if self.consumers:
            self.around.mark(self)
        else:
            self._drop_expired()
        self._watch_head()
