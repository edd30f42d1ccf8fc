"""Who takes deliveries from a queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from busauth.testing.broker.model.queues.ready import Entry

if TYPE_CHECKING:
    from busauth.testing.broker.model.channels.channel import Channel
    from busauth.testing.broker.model.queues.queues import BaseQueue


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
        return self.no_ack or not self.prefetch or self.unacked < self.prefetch

    def took(self) -> None:
        """It holds one more."""
        self.unacked += 1

    def settled(self) -> None:
        """It holds one less."""
        self.unacked -= 1


class Consumers:
    """A queue's consumers: by priority, and in turns within one.

    Who cannot take anything when its turn comes is passed over until it can, and then queues up
    behind its peers.
    """

    def __init__(self) -> None:
        self._turns: list[Consumer] = []
        self._passed_over: list[Consumer] = []

    def __len__(self) -> int:
        return len(self._turns) + len(self._passed_over)

    def __iter__(self) -> Iterator[Consumer]:
        return iter((*self._turns, *self._passed_over))

    @property
    def exclusive(self) -> bool:
        """Whether one of them tolerates no other."""
        return any(consumer.exclusive for consumer in self)

    def add(self, consumer: Consumer) -> None:
        """Queue up behind those of the same priority."""
        lower = (at for at, each in enumerate(self._turns) if each.priority < consumer.priority)
        self._turns.insert(next(lower, len(self._turns)), consumer)

    def remove(self, consumer: Consumer) -> None:
        """Take out of the turns."""
        (self._turns if consumer in self._turns else self._passed_over).remove(consumer)

    def resume(self) -> None:
        """Whoever was passed over and can take again has its turns again."""
        for consumer in [each for each in self._passed_over if each.can_take()]:
            self._passed_over.remove(consumer)
            self.add(consumer)

    def next(self) -> Consumer | None:
        """Return whose turn it is, and move it behind its peers; None when nobody can take."""
        if self._passed_over:
            self.resume()
        while self._turns:
            consumer = self._turns[0]
            if not consumer.can_take():
                self._passed_over.append(self._turns.pop(0))
                continue
            if len(self._turns) > 1:
                self.add(self._turns.pop(0))
            return consumer
        return None


class SingleActive(Consumers):
    """Only one is served, until it goes.

    Args:
        by_priority: the highest priority takes over, else who waited longest.
    """

    def __init__(self, *, by_priority: bool) -> None:
        super().__init__()
        self._by_priority = by_priority
        self.active: Consumer | None = None

    def add(self, consumer: Consumer) -> None:
        """Become the active one, or wait; an active one stays active."""
        if self._by_priority:
            super().add(consumer)
        else:
            self._turns.append(consumer)
        self.active = self.active or consumer

    def remove(self, consumer: Consumer) -> None:
        """Leave; when the active one does, the next takes over."""
        super().remove(consumer)
        if consumer is self.active:
            self.active = self._turns[0] if self._turns else None

    def next(self) -> Consumer | None:
        """Return the active one, if it can take."""
        active = self.active
        return active if active is not None and active.can_take() else None


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

    def settled(self) -> None:
        """Whoever had it has room again."""
        if self.consumer is not None:
            self.consumer.settled()
