"""The tx class: publications and acknowledgements that happen together (section 1.10)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from busauth.testing.broker.model.consumers import Held
from busauth.testing.broker.model.errors import PRECONDITION_FAILED, AMQPError
from busauth.testing.broker.model.unacked import Settle, Unacked


@dataclass
class Transaction:
    """What waits for tx.commit.

    Attributes:
        publications: each says whether the queues took the message.
        settlements: what was acknowledged or rejected, and how.
    """

    publications: list[Callable[[], bool]] = field(default_factory=list)
    settlements: list[tuple[Settle, list[tuple[int, Held]]]] = field(default_factory=list)

    def commit(self, done: Callable[[Settle, list[tuple[int, Held]]], None]) -> None:
        """Do it; `done` settles.

        Raises:
            AMQPError: 406, a queue refused a message; all else was done.
        """
        taken = [publish() for publish in self.publications]
        for settle, items in self.settlements:
            done(settle, items)
        self._clear()
        if not all(taken):
            raise AMQPError(PRECONDITION_FAILED, "partial tx completion")

    def rollback(self, unacked: Unacked) -> None:
        """Forget the publications; deliveries wait for their acknowledgement again."""
        unacked.restore(item for _, items in self.settlements for item in items)
        self._clear()

    def _clear(self) -> None:
        self.publications, self.settlements = [], []
