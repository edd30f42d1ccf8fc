"""All contestants side by side, in rounds, on each pattern of tokens and each algorithm."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from bench.contestants import CONTESTANTS
from bench.figures import Spread, ratios
from bench.lab import Drained, Lab, picked
from bench.patterns import callers
from bench.scale import Cell, Scale
from bench.tokens import ALGORITHMS


@dataclass(frozen=True, slots=True)
class Compared:
    """One cell's measurements, round by round."""

    cell: Cell
    rounds: dict[str, list[Drained]]

    def rates(self, letter: str) -> list[float]:
        """Return a contestant's messages per second."""
        return [drained.rate for drained in self.rounds[letter]]

    def costs(self, letter: str) -> list[float]:
        """Return a contestant's own microseconds for each message."""
        return [drained.cpu for drained in self.rounds[letter]]

    def faster(self, one: str, other: str) -> Spread:
        """Return how many times as many messages one carries as the other."""
        return ratios(self.rates(one), self.rates(other))

    def cheaper(self, one: str, other: str) -> Spread:
        """Return how many times as much processor time the other takes."""
        return ratios(self.costs(other), self.costs(one))

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {
            "pattern": self.cell.pattern,
            "algorithm": ALGORITHMS[self.cell.algorithm],
            "rounds": {
                letter: [drained.to_json() for drained in found]
                for letter, found in self.rounds.items()
            },
        }


def steps(scale: Scale) -> int:
    """Return how many measurements there will be."""
    return sum(cell.rounds for cell in scale.cells) * len(CONTESTANTS)


async def measure(lab: Lab) -> list[Compared]:
    """Measure every cell."""
    return [await _compared(lab, cell) for cell in lab.scale.cells]


async def _compared(lab: Lab, cell: Cell) -> Compared:
    """Let contestants take turns, each round beginning with another."""
    found: dict[str, list[Drained]] = defaultdict(list)
    letters = list(CONTESTANTS)
    for number in range(cell.rounds):
        first = number % len(letters)
        for letter in letters[first:] + letters[:first]:
            lab.progress.doing(f"consume: {cell.pattern} {cell.algorithm} ({letter})")
            found[letter].append(await _once(lab, cell, letter))
            lab.progress.done()
    return Compared(cell, {letter: found[letter] for letter in letters})


async def _once(lab: Lab, cell: Cell, letter: str) -> Drained:
    scale, pool = lab.scale, lab.pool(cell.algorithm)
    warm_up = picked(pool, callers(cell.pattern, scale.warm_up))
    measured = picked(pool, callers(cell.pattern, scale.messages, since=scale.warm_up))
    return await lab.consume(letter, pool, warm_up, measured)
