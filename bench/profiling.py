"""Where a contestant's time goes, function by function, in microseconds for each message.

    python -m bench.profiling e [--pattern warm] [--messages 40000]

The broker is the one that BUSAUTH_AMQP_URL names.
"""

import argparse
import asyncio
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import lab, progress
from bench.contestants import CONTESTANTS
from bench.lab import Drained, picked
from bench.patterns import Pattern, callers
from bench.scale import QUICK

_SHOWN = 45


async def profile(url: str, letter: str, pattern: Pattern, count: int, path: str) -> Drained:
    """Let a contestant empty a queue while its stack is looked at."""
    with progress.shown(Console(stderr=True), 1) as bar:
        async with lab.opened(url, "quorum", QUICK, bar) as found:
            pool = found.pool("RS256")
            warm_up = picked(pool, callers(pattern, 1000))
            measured = picked(pool, callers(pattern, count, since=1000))
            return await found.consume(letter, pool, warm_up, measured, profile=path)


def tables(samples: dict[str, Any], cost: float) -> Iterator[Table]:
    """Return what packages and functions take, the greatest first."""
    each = cost / samples["total"]
    packages: Counter[str] = Counter()
    for name, count in samples["own"].items():
        packages[name.partition(":")[0].partition("/")[0]] += count
    title = f"{cost:.0f} us of processor time for a message"
    yield _table(f"{title}, by package", packages, each)
    yield _table(f"{title}, by function", Counter(samples["own"]), each)
    yield _table("the same, with what they call", Counter(samples["with callees"]), each)


def _table(title: str, counts: Counter[str], each: float) -> Table:
    table = Table("what", "us", title=title)
    for name, count in counts.most_common(_SHOWN):
        table.add_row(name, f"{count * each:.1f}")
    return table


def main() -> None:
    """Profile and show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("letter", choices=tuple(CONTESTANTS))
    parser.add_argument("--pattern", default=Pattern.WARM, type=Pattern)
    parser.add_argument("--messages", default=40_000, type=int)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.json"
        url = os.environ["BUSAUTH_AMQP_URL"]
        work = profile(url, asked.letter, asked.pattern, asked.messages, str(path))
        cost = asyncio.run(work).cpu
        Console(width=110).print(*tables(json.loads(path.read_text()), cost))


if __name__ == "__main__":
    main()
