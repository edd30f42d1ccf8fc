"""Whose turn it is among those who take deliveries from a queue."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Taker(Protocol):
    """What must be known of a consumer to give it its turn."""

    exclusive: bool
    priority: int

    def can_take(self) -> bool:
        """Whether a delivery may be sent now."""
        ...


T = TypeVar("T", bound=Taker)


class Consumers(Generic[T]):
    """A queue's consumers: by priority, and in turns within one.

    Who cannot take anything when its turn comes is passed over until it can, and then queues up
    behind its peers.
    """

    def __init__(self) -> None:
        self._turns: list[T] = []
        self._passed_over: list[T] = []

    def __len__(self) -> int:
        return len(self._turns) + len(self._passed_over)

    def __iter__(self) -> Iterator[T]:
        return iter((*self._turns, *self._passed_over))

    @property
    def exclusive(self) -> bool:
        """Whether one of them tolerates no other."""
        return any(consumer.exclusive for consumer in self)

    def add(self, consumer: T) -> None:
        """Queue up behind those of the same priority."""
        lower = (at for at, each in enumerate(self._turns) if each.priority < consumer.priority)
        self._turns.insert(next(lower, len(self._turns)), consumer)

    def remove(self, consumer: T) -> None:
        """Take out of the turns."""
        (self._turns if consumer in self._turns else self._passed_over).remove(consumer)

    def resume(self) -> None:
        """Whoever was passed over and can take again has its turns again."""
        for consumer in [each for each in self._passed_over if each.can_take()]:
            self._passed_over.remove(consumer)
            self.add(consumer)

    def next(self) -> T | None:
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


class SingleActive(Consumers[T]):
    """Only one is served, until it goes.

    Args:
        by_priority: the highest priority takes over, else who waited longest.
    """

    def __init__(self, *, by_priority: bool) -> None:
        super().__init__()
        self._by_priority = by_priority
        self.active: T | None = None

    def add(self, consumer: T) -> None:
        """Become the active one, or wait; an active one stays active."""
        if self._by_priority:
            super().add(consumer)
        else:
            self._turns.append(consumer)
        self.active = self.active or consumer

    def remove(self, consumer: T) -> None:
        """Leave; when the active one does, the next takes over."""
        super().remove(consumer)
        if consumer is self.active:
            self.active = self._turns[0] if self._turns else None

    def next(self) -> T | None:
        """Return the active one, if it can take."""
        active = self.active
        return active if active is not None and active.can_take() else None
