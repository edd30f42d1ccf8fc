"""Deliveries of one channel that wait for their acknowledgement (AMQP 0-9-1, section 1.8.3)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, takewhile

from busauth.testing.broker.model.queues.queues import BaseQueue, Consumer
from busauth.testing.broker.model.queues.ready import Entry
from busauth.testing.broker.model.words.errors import PRECONDITION_FAILED, AMQPError


@dataclass(slots=True)
class Held:
    """A delivery that waits for its acknowledgement.

    Attributes:
        entry: what was delivered.
        queue: where it goes back to.
        consumer: who has it; None after basic.get.
    """

    entry: Entry
    queue: BaseQueue
    consumer: Consumer | None

    def settled(self) -> None:
        """Whoever had it has room again."""
        if self.consumer is not None:
            self.consumer.settled()


Settle = Callable[[list[Held]], None]


class Unacked:
    """Delivery tags, from 1 on, and who holds what."""

    def __init__(self) -> None:
        self._held: dict[int, Held] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._held)

    def next_tag(self) -> int:
        """Take the next delivery tag."""
        self._last += 1
        return self._last

    @property
    def following(self) -> int:
        """The delivery tag that is taken next."""
        return self._last + 1

    def add(self, tag: int, held: Held) -> None:
        """A delivery waits for its acknowledgement."""
        self._held[tag] = held
        if held.consumer is not None:
            held.consumer.took()

    def remove(self, tag: int, *, multiple: bool) -> list[tuple[int, Held]]:
        """Take out what a tag means: itself, or with `multiple` all up to it, and all for 0.

        Raises:
            AMQPError: 406 for a tag that is not waiting.
        """
        if multiple and tag == 0:
            return self.clear()
        if tag not in self._held:
            raise AMQPError(PRECONDITION_FAILED, f"unknown delivery tag {tag}")
        tags = list(takewhile(tag.__ge__, self._held)) if multiple else [tag]
        return [self._out(each) for each in tags]

    def items(self) -> Iterable[tuple[int, Held]]:
        """Return what is waiting, by tag."""
        return self._held.items()

    def clear(self) -> list[tuple[int, Held]]:
        """Take out everything."""
        return [self._out(tag) for tag in list(self._held)]

    def restore(self, items: Iterable[tuple[int, Held]]) -> None:
        """Put back what was taken out in a transaction that did not commit."""
        self._held = dict(sorted((*self._held.items(), *items)))

    def _out(self, tag: int) -> tuple[int, Held]:
        return tag, self._held.pop(tag)


def acked(items: list[Held]) -> None:
    """The messages were handled."""
    for held in items:
        held.settled()
        held.queue.ack(held.entry)


def rejected(items: list[Held]) -> None:
    """The messages are not wanted."""
    for held in items:
        held.settled()
        held.queue.reject(held.entry)


def requeued(items: list[Held]) -> None:
    """The messages go back to their queues, each queue's together; it is not their fault."""
    for queue, entries in _by_queue(items):
        queue.requeue(entries, failed=False)


def failed(items: list[Held]) -> None:
    """As `requeued`, but they were rejected, or their channel is closed: that counts."""
    for queue, entries in _by_queue(items):
        queue.requeue(entries, failed=True)


def _by_queue(items: list[Held]) -> Iterator[tuple[BaseQueue, list[Entry]]]:
    for queue, group in groupby(items, key=lambda held: held.queue):
        together = list(group)
        for held in together:
            held.settled()
        yield queue, [held.entry for held in together]
