"""The tx class: publications and acknowledgements that happen together (section 1.10)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from busauth.testing.broker.model.queues.unacked import Held, Settle, Unacked
from busauth.testing.broker.model.words.errors import PRECONDITION_FAILED, AMQPError


@dataclass
class Transaction:
    """What waits for tx.commit.

    Attributes:
        hold: counts bytes in memory, for as long as they wait here.
        publications: each says whether the queues took the message.
        settlements: what was acknowledged or rejected, and how.
    """

    hold: Callable[[int], None]
    publications: list[Callable[[], bool]] = field(default_factory=list)
    settlements: list[tuple[Settle, list[tuple[int, Held]]]] = field(default_factory=list)
    _bytes: int = 0

    def add(self, size: int, publish: Callable[[], bool]) -> None:
        """Publish a message of this size at tx.commit."""
        self.hold(size)
        self._bytes += size
        self.publications.append(publish)

    def commit(self, done: Callable[[Settle, list[tuple[int, Held]]], None]) -> None:
        """Do it; `done` settles.

        Raises:
            AMQPError: 406, a queue refused a message; all else was done.
        """
        taken = [publish() for publish in self.publications]
        for settle, items in self.settlements:
            done(settle, items)
        self.forget()
        if not all(taken):
            raise AMQPError(PRECONDITION_FAILED, "partial tx completion")

    def rollback(self, unacked: Unacked) -> None:
        """Forget the publications; deliveries wait for their acknowledgement again."""
        unacked.restore(item for _, items in self.settlements for item in items)
        self.forget()

    def forget(self) -> None:
        """Nothing waits any more."""
        size, self._bytes = self._bytes, 0
        self.publications, self.settlements = [], []
        self.hold(-size)
