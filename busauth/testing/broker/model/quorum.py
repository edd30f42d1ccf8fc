"""A quorum queue: counts returns, and keeps a dead letter until a queue has taken it."""

from collections.abc import Iterable
from typing import Final

from busauth.testing.broker.model import properties
from busauth.testing.broker.model.arguments import QueueOptions
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.queues import Outcome, Queue
from busauth.testing.broker.model.ready import Entry, Ready, ReturnsFirst

DELIVERY_LIMIT: Final = "delivery_limit"
_AGAIN = 1.0
"""Seconds until a dead letter that no queue took is tried again."""


class QuorumQueue(Queue):
    """As a classic queue, but for the delivery count, the delivery limit and at-least-once."""

    @staticmethod
    def _order(options: QueueOptions) -> Ready:
        del options
        return ReturnsFirst()

    def delivery_headers(self, entry: Entry) -> dict[str, bytes | None] | None:
        """Say how often it came back, from the first time on."""
        return {"x-delivery-count": properties.long(entry.returns)} if entry.returns else None

    def _give_back(self, entry: Entry) -> None:
        limit = self.options.delivery_limit
        if limit is not None and entry.returns >= limit:
            self._bury(entry, DELIVERY_LIMIT)
        else:
            super()._give_back(entry)

    def _bury(self, entry: Entry, reason: str) -> None:
        if not self.options.at_least_once:
            super()._bury(entry, reason)
            return
        self.letters.append((entry, reason))
        self.send_letters()

    def send_letters(self) -> None:
        """Try again what no queue has taken; called whenever a route may have appeared."""
        waiting, self.letters = self.letters, []
        for entry, reason in waiting:
            outcome = self.around.dead_letter(self, entry.message, reason)
            if outcome is Outcome.ROUTED:
                self._done(entry, Step.DEAD_LETTERED, reason)
            elif outcome is Outcome.UNROUTABLE:
                self.letters.append((entry, reason))
            else:
                self._done(entry, Step.DROPPED, f"{reason}; {outcome}")

        if self.letters:
            self.around.schedule(self, self.around.monotonic() + _AGAIN)

    def fire(self) -> None:
        """Do what a classic queue does, and try the dead letters that wait."""
        super().fire()
        if not self.deleted:
            self.send_letters()

    def _remains(self) -> Iterable[Entry]:
        letters, self.letters = self.letters, []
        return (*super()._remains(), *(entry for entry, _ in letters))
