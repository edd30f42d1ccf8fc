"""A quorum queue: counts failures, and keeps a dead letter until a queue has taken it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from busauth.testing.broker.model.queues.classic import Queue
from busauth.testing.broker.model.queues.queues import Consumer, Declaration, Outcome, Surroundings
from busauth.testing.broker.model.queues.ready import Entry, Ready, ReturnsFirst
from busauth.testing.broker.model.queues.turns import Consumers, SingleActive
from busauth.testing.broker.model.words import properties
from busauth.testing.broker.model.words.arguments import QueueOptions
from busauth.testing.broker.model.words.errors import NOT_IMPLEMENTED, AMQPError

DELIVERY_LIMIT: Final = "delivery_limit"
_AGAIN = 1.0
"""Seconds until a dead letter that no queue took is tried again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter that has not reached every queue yet.

    Attributes:
        entry: what died.
        reason: of what.
        reached: names of the queues that have it.
    """

    entry: Entry
    reason: str
    reached: set[str]


class QuorumQueue(Queue):
    """As a classic queue, but for the counts, the delivery limit and at-least-once."""

    def __init__(self, declared: Declaration, around: Surroundings) -> None:
        super().__init__(declared, around)
        self.letters: list[Letter] = []
        self._letter_bytes = 0

    @staticmethod
    def _order(options: QueueOptions) -> Ready:
        del options
        return ReturnsFirst()

    @staticmethod
    def _turns(options: QueueOptions) -> Consumers[Consumer]:
        return SingleActive(by_priority=False) if options.single_active else Consumers()

    def held(self) -> Iterable[Entry]:
        """Return everything that is in the queue, in whatever state."""
        return (*super().held(), *(letter.entry for letter in self.letters))

    def _length(self) -> tuple[int, int]:
        """Letters that wait count, too."""
        length, size = super()._length()
        return length + len(self.letters), size + self._letter_bytes

    # --- returns --------------------------------------------------------------------------------

    def delivery_headers(self, entry: Entry) -> dict[str, bytes | None] | None:
        """Say how often it came back, and how often it failed, from the first time on."""
        counts = {"x-acquired-count": entry.returns, "x-delivery-count": entry.failures}
        return {name: properties.long(count) for name, count in counts.items() if count} or None

    def _give_back(self, entry: Entry, why: str) -> None:
        limit = self.options.delivery_limit
        if limit is not None and entry.failures > limit:
            self._bury(entry, DELIVERY_LIMIT)
        else:
            super()._give_back(entry, why)

    # --- dead letters ---------------------------------------------------------------------------

    def _bury(self, entry: Entry, reason: str) -> None:
        self._send(Letter(entry, reason, set()))

    def _send(self, letter: Letter) -> None:
        entry, reason = letter.entry, letter.reason
        outcome = self.around.dead_letter(self, entry.message, reason, letter.reached)
        if self.options.at_least_once and outcome in (Outcome.UNROUTABLE, Outcome.PARTLY):
            self.letters.append(letter)
            self._letter_bytes += len(entry.message.body)
            self.around.schedule(self, self.around.monotonic() + _AGAIN)
        else:
            self._buried(entry, reason, outcome)

    def send_letters(self) -> None:
        """Try again what no queue has taken; called whenever a route may have appeared."""
        waiting, self.letters, self._letter_bytes = self.letters, [], 0
        for letter in waiting:
            self._send(letter)

    def fire(self) -> None:
        """Do what a classic queue does, and try the dead letters that wait."""
        super().fire()
        if not self.deleted:
            self.send_letters()

    # --- gone -----------------------------------------------------------------------------------

    def check_delete(self, *, if_unused: bool, if_empty: bool) -> None:
        """Refuse conditions: a quorum queue has none."""
        for flag, is_set in (("if-unused", if_unused), ("if-empty", if_empty)):
            if is_set:
                text = (
                    f"cannot delete {self.resource}. queue.delete operations with {flag} flag set"
                    " are not supported by quorum queues"
                )
                raise AMQPError(NOT_IMPLEMENTED, text)

    def _empty(self) -> int:
        ready = super()._empty()
        self.letters = []
        return ready
