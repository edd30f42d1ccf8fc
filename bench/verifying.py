"""One verification of a new token against what nobody can leave out, in rounds.

What is compared comes from `bench.verification`, which looks closer.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from bench import verification
from bench.figures import Spread, ratios
from bench.tokens import ALGORITHMS

_TIMES = 400
_WAYS = {
    "floor": verification.floor,
    "busauth": verification.cold,
    "PyJWT": verification.by_pyjwt,
    "joserfc": verification.by_joserfc,
}


@dataclass(frozen=True, slots=True)
class Verified:
    """Microseconds for one verification, by way, round by round."""

    algorithm: str
    costs: dict[str, list[float]]

    def floors(self) -> dict[str, Spread]:
        """Return how many floors each way takes."""
        return {way: ratios(found, self.costs["floor"]) for way, found in self.costs.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what was measured."""
        return {"algorithm": ALGORITHMS[self.algorithm], "costs": self.costs}


def measure(rounds: int) -> list[Verified]:
    """Measure every algorithm."""
    return [_verified(algorithm, rounds) for algorithm in ALGORITHMS]


def _verified(algorithm: str, rounds: int) -> Verified:
    issuer = verification.issuer_of(algorithm)
    tokens = verification.tokens_of(issuer)
    steps = {way: make(issuer, tokens) for way, make in _WAYS.items()}
    costs: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for way, step in steps.items():
            costs[way].append(_timed(step))
    return Verified(algorithm, dict(costs))


def _timed(step: verification.Step) -> float:
    began = time.process_time_ns()
    for _ in range(_TIMES):
        step()
    return (time.process_time_ns() - began) / _TIMES / 1000
