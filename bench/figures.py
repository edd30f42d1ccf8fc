"""Medians, their spread, and ratios within one run: absolute figures are a machine's, ratios last.

A ratio is taken round by round, between measurements that lay side by side in time, and only then
summarized: what slowed a whole round down slowed both sides of its ratio.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its quartiles.

    Attributes:
        median: the middle value.
        low, high: the first and the third quartile.
        count: how many values there were.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Summarize values.

        Raises:
            ValueError: there are none.
        """
        ordered = sorted(values)
        if not ordered:
            raise ValueError("expected at least one value: got none")
        return cls(median(ordered), quantile(ordered, 0.25), quantile(ordered, 0.75), len(ordered))

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return a quantile of sorted values, between neighbours in proportion."""
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Summarize the ratios of measurements that were made in the same rounds.

    Raises:
        ValueError: there are more rounds on one side, or none.
    """
    return Spread.of(above / below for above, below in zip(over, under, strict=True))
