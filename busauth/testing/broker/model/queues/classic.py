"""A classic queue: who waits in it, who takes from it, and what becomes of what leaves it.

Each message in a queue is either ready or unacknowledged. It leaves by being acknowledged, by
being dead-lettered (rejected, expired, over the length, over the delivery limit), or by being
dropped for one of these reasons where no dead-letter exchange takes it, purged, or deleted with the
queue.
"""

from collections.abc import Iterable
from functools import partial
from itertools import count

from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues.queues import (
    EXPIRED,
    FAILED,
    MAXLEN,
    MILLI,
    REJECTED,
    BaseQueue,
    Consumer,
    Declaration,
    Outcome,
    Surroundings,
)
from busauth.testing.broker.model.queues.ready import ByArrival, ByPriority, Entry, Ready, drained
from busauth.testing.broker.model.queues.turns import Consumers, SingleActive
from busauth.testing.broker.model.words.arguments import QueueOptions
from busauth.testing.broker.model.words.errors import PRECONDITION_FAILED, AMQPError


class Queue(BaseQueue):
    """A classic queue; a quorum queue differs where it says so."""

    def __init__(self, declared: Declaration, around: Surroundings) -> None:
        super().__init__(declared, around)
        self.ready = self._order(declared.options)
        self.unacked: dict[int, Entry] = {}
        self._positions = count()

    @staticmethod
    def _order(options: QueueOptions) -> Ready:
        return ByPriority(options.max_priority) if options.max_priority else ByArrival()

    @staticmethod
    def _turns(options: QueueOptions) -> Consumers[Consumer]:
        return SingleActive(by_priority=True) if options.single_active else Consumers()

    def messages(self) -> int:
        """Return how many messages are ready."""
        return len(self.ready)

    def held(self) -> Iterable[Entry]:
        """Return everything that is in the queue, in whatever state."""
        return (*self.ready, *self.unacked.values())

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
        self.around.later(self._tidy)
        return True

    def _tidy(self) -> None:
        self._trim()
        self._settle_down()

    def _refuse(self, message: Message) -> None:
        self.around.journal.tell(Step.REFUSED, message, self.name, MAXLEN)
        if self.options.overflow == "reject-publish-dlx":
            self.around.later(partial(self.around.dead_letter, self, message, MAXLEN))

    def _expiry(self, message: Message) -> float | None:
        limits = (self.options.message_ttl, message.expiration)
        given = [limit for limit in limits if limit is not None]
        return self.around.monotonic() + min(given) / MILLI if given else None

    def _length(self) -> tuple[int, int]:
        """How many messages, and bytes of bodies, count for the limits."""
        return len(self.ready), self.ready.bytes

    def _over(self, more: int = 0, more_bytes: int = 0) -> bool:
        longest, largest = self.options.max_length, self.options.max_bytes
        if longest is None and largest is None:
            return False
        length, size = self._length()
        return (longest is not None and length + more > longest) or (
            largest is not None and size + more_bytes > largest
        )

    def _trim(self) -> None:
        while self.options.overflow == "drop-head" and self.ready and self._over():
            self._bury(self.ready.pop(), MAXLEN)

    # --- out ------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Hand out what consumers can take, and nothing that has expired."""
        self.consumers.resume()
        self._drop_expired()
        while self.ready and (consumer := self.consumers.next()) is not None:
            self._hand(self.ready.pop(), consumer)
            self._drop_expired()
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
        self._drop_expired()
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

    def requeue(self, entries: Iterable[Entry], *, failed: bool) -> None:
        """Take messages back, each to its place."""
        for entry in entries:
            if self._held(entry):
                entry.failures += failed
                self._give_back(entry, FAILED if failed else "")
        if not self.deleted:
            self._trim()
            self._settle_down()

    def _held(self, entry: Entry) -> bool:
        return self.unacked.pop(entry.position, None) is not None

    def _give_back(self, entry: Entry, why: str) -> None:
        entry.redelivered = True
        entry.returns += 1
        self.around.journal.tell(Step.RETURNED, entry.message, self.name, why)
        self.ready.give_back(entry)

    def _bury(self, entry: Entry, reason: str) -> None:
        """The queue no longer holds the entry: its message goes on, or is dropped."""
        self._buried(entry, reason, self.around.dead_letter(self, entry.message, reason))

    def _buried(self, entry: Entry, reason: str, outcome: Outcome) -> None:
        if outcome in (Outcome.ROUTED, Outcome.PARTLY):
            self._done(entry, Step.DEAD_LETTERED, reason)
        else:
            self._done(entry, Step.DROPPED, f"{reason}; {outcome}")

    def _done(self, entry: Entry, step: Step, detail: str = "") -> None:
        self.around.hold(-entry.message.size)
        self.around.journal.tell(step, entry.message, self.name, detail)

    # --- gone -----------------------------------------------------------------------------------

    def purge(self) -> int:
        """Drop what is ready; return how many that were."""
        ready = len(self.ready)
        for entry in drained(self.ready):
            self._done(entry, Step.PURGED)
        return ready

    def check_delete(self, *, if_unused: bool, if_empty: bool) -> None:
        """Refuse to go while there are messages, or consumers."""
        if if_empty and self.ready:
            raise AMQPError(PRECONDITION_FAILED, f"{self.resource} not empty")
        if if_unused and self.consumers:
            raise AMQPError(PRECONDITION_FAILED, f"{self.resource} in use")

    def _empty(self) -> int:
        ready = self.purge()
        for entry in self.held():
            self._done(entry, Step.PURGED)
            entry.let_go()
        self.unacked = {}
        return ready

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
        while self.ready and self._has_expired(self.ready.head()):
            self._bury(self.ready.pop(), EXPIRED)

    def _has_expired(self, entry: Entry) -> bool:
        return entry.expires_at is not None and entry.expires_at <= self.around.monotonic()

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
