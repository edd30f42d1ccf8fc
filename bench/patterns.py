"""Whose token a message carries: few callers', many callers' with unequal shares, or a new one."""

import random
from enum import StrEnum
from itertools import accumulate, cycle, islice

WARM_CALLERS = 100
MIXED_CALLERS = 10_000
_EXPONENT = 1.1


class Pattern(StrEnum):
    """How tokens repeat in a queue."""

    WARM = "warm"
    """100 callers, one after the other."""

    MIXED = "mixed"
    """10,000 callers, their shares by Zipf's law."""

    COLD = "cold"
    """Every token is new."""


def callers(pattern: Pattern, count: int, *, since: int = 0) -> list[int]:
    """Return whose token each of `count` messages carries, the same in every run.

    Args:
        pattern: how tokens repeat.
        count: how many messages.
        since: how many messages came before, so that a cold one stays new.
    """
    match pattern:
        case Pattern.WARM:
            return list(islice(cycle(range(WARM_CALLERS)), count))
        case Pattern.MIXED:
            return zipf(MIXED_CALLERS, count, seed=since)
        case Pattern.COLD:
            return list(range(since, since + count))


def zipf(size: int, count: int, *, seed: int, exponent: float = _EXPONENT) -> list[int]:
    """Draw ranks from 0: rank k comes in proportion to ``1 / (k + 1) ** exponent``."""
    weights = list(accumulate(rank**-exponent for rank in range(1, size + 1)))
    draw = random.Random(seed)
    return draw.choices(range(size), cum_weights=weights, k=count)
