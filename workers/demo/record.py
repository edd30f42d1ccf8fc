"""What was seen in a scene: short facts, taken from events, answers and dead letters alone.

``payments: refused token.expired`` is such a fact. A scene says which it expects; it has succeeded
when these were seen and no others.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from busauth import Event

_STEPS = ("accepted", "accepted-late", "published", "exchanged")
"""Kinds of event that lead to an outcome and are none."""

_HTTP = {"gateway": (), "ledger": ("accepted", "refused", "deferred")}
"""Over HTTP the decision is the outcome; the gateway's is seen from its answer instead."""


class Trouble(Exception):  # noqa: N818 -- it is what happens to a play, not a mistake in it
    """The scene cannot go on."""


class Record:
    """The facts of the scene that is being played."""

    def __init__(self) -> None:
        self._facts: list[str] = []
        self._trouble: str | None = None
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Forget the scene before."""
        self._facts = []

    def add(self, fact: str) -> None:
        """Note something that was seen."""
        self._facts.append(fact)
        self._changed.set()

    def add_event(self, service: str, event: Event) -> None:
        """Note an event, if it is an outcome; waiting longer is not another outcome."""
        fact = fact_of(service, event)
        if fact and not (event.kind == "deferred" and fact in self._facts):
            self.add(fact)

    def give_up(self, why: str) -> None:
        """Let nobody wait any longer, in this scene and all that follow."""
        self._trouble = self._trouble or why
        self._changed.set()

    async def until(self, *facts: str) -> None:
        """Return once all of these were seen, as often as they are named.

        Raises:
            Trouble: they will not be.
        """
        while Counter(facts) - Counter(self._facts):
            self._changed.clear()
            self.check()
            await self._changed.wait()

    def check(self) -> None:
        """Raise `Trouble` if there is any."""
        if self._trouble:
            raise Trouble(self._trouble)

    def seen(self, expected: Sequence[str]) -> tuple[str, ...]:
        """Return the facts, those that were expected first and in that order."""
        order = {fact: position for position, fact in enumerate(expected)}
        return tuple(sorted(self._facts, key=lambda fact: order.get(fact, len(order))))


def fact_of(service: str, event: Event) -> str | None:
    """Return an event's outcome, None where it is only a step on the way."""
    outcomes = _HTTP.get(service)
    if event.kind in _STEPS if outcomes is None else event.kind not in outcomes:
        return None
    words = [f"{service}:", event.kind, "late" if event.late else "", event.code or ""]
    return " ".join(word for word in words if word)
