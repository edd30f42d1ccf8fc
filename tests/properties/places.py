"""What happened to messages in the embedded broker, told against what its clients did."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from busauth.testing.broker.model.channels.channel import Channel
from busauth.testing.broker.model.journal import Record, Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.node import Node
from busauth.testing.broker.model.queues.classic import Queue
from busauth.testing.broker.model.queues.unacked import Held

Place = tuple[int, str]
"""A message in a queue."""

ENDINGS = {Step.ACKED, Step.DEAD_LETTERED, Step.DROPPED, Step.PURGED}
_MOMENT = 1e-6


def place(message: Message, queue: str) -> Place:
    return id(message), queue


def places(items: Iterable[Held]) -> set[Place]:
    """Where these are; a queue that is gone has nothing any more."""
    there = [held for held in items if not held.queue.deleted]
    return {place(held.entry.message, held.queue.name) for held in there}


def meant(channel: Channel, tag: int, *, multiple: bool) -> list[Held]:
    """What a delivery tag means, said once more than the broker does."""
    held = dict(channel.unacked.items())
    if multiple:
        return [each for number, each in held.items() if not tag or number <= tag in held]
    return [held[tag]] if tag in held else []


class Ledger:
    """Reads the journal on, and asks of each ending whether it had a cause.

    Attributes:
        came, left: how often each message came into each queue, and left it.
        options: how each queue was declared last.
        acked, rejected: what clients settled, be its queue still there or not.
        no_ack: tags of consumers that do not acknowledge.
        emptied: queues that were purged or deleted.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._read = 0
        self.came, self.left = Counter[Place](), Counter[Place]()
        self.options: dict[str, dict[str, Any]] = {}
        self.acked: set[Place] = set()
        self.rejected: set[Place] = set()
        self.no_ack: set[str] = set()
        self.emptied: set[str] = set()
        self.made_of: dict[int, Record] = {}
        self._queued_at: dict[Place, float] = {}
        self._failures = Counter[Place]()
        self._had_by: dict[Place, str] = {}
        self._fates: dict[int, set[Step]] = {}

    def read(self) -> list[Record]:
        """Take in what is new."""
        new = list(self._node.journal)[self._read :]
        self._read += len(new)
        for record in new:
            self._fates.setdefault(id(record.message), set()).add(record.step)
            if record.source is not None:
                self.made_of[id(record.message)] = record
        for record in new:
            self._note(record)
        return new

    def _note(self, record: Record) -> None:
        at = place(record.message, record.queue)
        if record.step is Step.QUEUED:
            self.came[at] += 1
            self._queued_at[at] = record.at
        elif record.step is Step.RETURNED:
            self._failures[at] += record.detail == "failed"
        elif record.step is Step.DELIVERED:
            self._had_by[at] = record.detail
        elif record.step in ENDINGS:
            self.left[at] += 1
            self._has_a_cause(record, at)

    def _has_a_cause(self, record: Record, at: Place) -> None:
        reason, _, outcome = record.detail.partition("; ")
        if record.step is Step.ACKED:
            assert self._had_by[at] in self.no_ack if reason else at in self.acked
        elif record.step is Step.PURGED:
            assert record.queue in self.emptied | self._gone()
        else:
            _CAUSES[reason](self, record, at)
            self._went_on(record, reason, outcome)

    def _gone(self) -> set[str]:
        return set(self.options) - set(self._node.vhosts["/"].queues)

    def _expired(self, record: Record, at: Place) -> None:
        limits = (self.options[record.queue].get("message_ttl"), record.message.expiration)
        age = record.at - self._queued_at[at]
        assert age + _MOMENT >= min(limit for limit in limits if limit is not None) / 1000

    def _rejected(self, record: Record, at: Place) -> None:
        assert at in self.rejected

    def _too_many(self, record: Record, at: Place) -> None:
        options = self.options[record.queue]
        assert {"max_length", "max_length_bytes"} & options.keys()
        assert options.get("overflow", "drop-head") == "drop-head" or (
            options.get("queue_type") == "quorum" and options["overflow"] == "reject-publish-dlx"
        )

    def _returned_often(self, record: Record, at: Place) -> None:
        limit = self.options[record.queue].get("delivery_limit", 20)
        assert self._failures[at] == limit >= 0

    def _went_on(self, record: Record, reason: str, outcome: str) -> None:
        """A dead letter is another message in a queue; what is dropped had nowhere to go."""
        options = self.options[record.queue]
        if record.step is Step.DEAD_LETTERED:
            heirs = [key for key, each in self.made_of.items() if each.source is record.message]
            assert any(Step.QUEUED in self._fates[heir] for heir in heirs)
        elif "dead_letter_exchange" not in options:
            assert outcome == "the queue has no dead-letter exchange"
        elif outcome == "it came round by itself":
            assert reason != "rejected"
        else:
            assert outcome == "its dead-letter exchange routes it to no queue"
            assert not (
                options.get("dead_letter_strategy") == "at-least-once"
                and options.get("overflow") == "reject-publish"
            )

    def fates(self) -> Iterable[set[Step]]:
        """The steps of each message."""
        return self._fates.values()


_CAUSES = {
    "expired": Ledger._expired,
    "rejected": Ledger._rejected,
    "maxlen": Ledger._too_many,
    "delivery_limit": Ledger._returned_often,
}


def waiting(channel: Channel) -> list[Held]:
    """What a channel has not settled: what it holds, and what its transaction settles later."""
    transaction = channel.publisher.transaction
    later = [] if transaction is None else transaction.settlements
    items = [*channel.unacked.items(), *(item for _, items in later for item in items)]
    return [held for _, held in items]


def queues_of(node: Node) -> list[Queue]:
    """All queues; there are no streams among them."""
    found = list(node.vhosts["/"].queues.values())
    assert all(isinstance(queue, Queue) for queue in found)
    return [queue for queue in found if isinstance(queue, Queue)]
