"""The tx class: publications and acknowledgements that happen together (section 1.10)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from busauth.testing.broker.model.consumers import Held
from busauth.testing.broker.model.unacked import Settle, Unacked


@dataclass
class Transaction:
    """What waits for tx.commit."""

    publications: list[Callable[[], None]] = field(default_factory=list)
    settlements: list[tuple[Settle, list[tuple[int, Held]]]] = field(default_factory=list)

    def commit(self) -> None:
        """Do it."""
        for publish in self.publications:
            publish()
        for settle, items in self.settlements:
            settle([held for _, held in items])
        self._clear()

    def rollback(self, unacked: Unacked) -> None:
        """Forget the publications; deliveries wait for their acknowledgement again."""
        unacked.restore(item for _, items in self.settlements for item in items)
        self._clear()

    def _clear(self) -> None:
        self.publications, self.settlements = [], []
