"""Who takes deliveries from a queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from busauth.testing.broker.model.ready import Entry

if TYPE_CHECKING:
    from busauth.testing.broker.model.channel import Channel
    from busauth.testing.broker.model.queues import BaseQueue


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
    channel: "Channel"
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
        if self.no_ack:
            return True
        return (not self.prefetch or self.unacked < self.prefetch) and self.channel.has_room()


class Consumers:
    """A queue's consumers: by priority, and in turns within one.

    Args:
        single_active: only the first one is served, until it goes.
    """

    def __init__(self, *, single_active: bool) -> None:
        self._single_active = single_active
        self._all: list[Consumer] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Consumer]:
        return iter(tuple(self._all))

    @property
    def exclusive(self) -> bool:
        """Whether one of them tolerates no other."""
        return any(consumer.exclusive for consumer in self._all)

    def add(self, consumer: Consumer) -> None:
        """Queue up behind those of the same priority; an active one stays active."""
        if self._single_active:
            self._all.append(consumer)
        else:
            self._all.insert(self._end_of(consumer.priority), consumer)

    def remove(self, consumer: Consumer) -> None:
        """Take out of the turns."""
        self._all.remove(consumer)

    def next(self) -> Consumer | None:
        """Return whose turn it is, and move it behind its peers; None when nobody can take."""
        if self._single_active:
            return self._all[0] if self._all and self._all[0].can_take() else None
        for at, consumer in enumerate(self._all):
            if consumer.can_take():
                if len(self._all) > 1:
                    del self._all[at]
                    self._all.insert(self._end_of(consumer.priority), consumer)
                return consumer
        return None

    def _end_of(self, priority: int) -> int:
        higher = (at for at, each in enumerate(self._all) if each.priority < priority)
        return next(higher, len(self._all))


@dataclass(slots=True)
class Held:
    """A delivery that waits for its acknowledgement.

    Attributes:
        entry: what was delivered.
        queue: where it goes back to.
        consumer: who has it; None after basic.get.
    """

    entry: Entry
    queue: "BaseQueue"
    consumer: Consumer | None
