"""Small steps that take turns: medians in microseconds, as a table of two columns."""

import argparse
from collections.abc import Callable, Mapping
from time import perf_counter

from bench.figures import Spread

Step = Callable[[], object]
_MICRO = 1e6


def measured(compared: Mapping[str, Step], rounds: int, times: int) -> dict[str, float]:
    """Return the median microseconds of each step, taken so many times in each of its turns."""
    return {name: spread.median for name, spread in spreads(compared, rounds, times).items()}


def spreads(compared: Mapping[str, Step], rounds: int, times: int) -> dict[str, Spread]:
    """Return the microseconds of each step over its turns, each the mean of so many times."""
    taken: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(rounds):
        for name, step in compared.items():
            since = perf_counter()
            for _ in range(times):
                step()
            taken[name].append((perf_counter() - since) / times * _MICRO)
    return {name: Spread.of(each) for name, each in taken.items()}


def show(description: str | None, compared: Mapping[str, Step], *, rounds: int, times: int) -> None:
    """Measure as many rounds as were asked for, and print the table."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds)
    width = max(map(len, compared)) + 1
    for name, micros in measured(compared, parser.parse_args().rounds, times).items():
        print(f"{name:{width}} {micros:8.1f} us")
