"""Measure busauth next to what a user would pick instead, in one run against one broker.

    python -m bench [--quick] [--only consume,publish,...] [--queue-type quorum|classic]

The broker is the one that BUSAUTH_AMQP_URL names; `make bench` starts a private one.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import (
    consuming,
    delegation,
    lab,
    machine,
    plots,
    progress,
    publishing,
    report,
    scaling,
    stages,
    sweeps,
    tokens,
    verification,
    verifying,
)
from bench.lab import Lab
from bench.progress import Progress
from bench.results import Results
from bench.scale import FULL, QUICK, Scale

PARTS = ("stages", "delegation", "memory", "sweeps", "publish", "processes", "depth", "consume")
"""What can be measured, in the order in which it is: what takes longest comes last."""

_FOLDER = Path("docs/benchmarks")
_WITH_BROKER = {
    "publish": publishing.steps,
    "processes": scaling.process_steps,
    "depth": scaling.depth_steps,
    "consume": consuming.steps,
}


def _asked(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="about 3 minutes instead of 25")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--queue-type", default="quorum", choices=("quorum", "classic"))
    parser.add_argument("--uvloop", action="store_true", help="run all contestants on uvloop")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where results are written")
    asked = parser.parse_args(words)
    asked.parts = asked.only.split(",")
    for part in set(asked.parts) - set(PARTS):
        parser.error(f"{part!r}: expected some of {', '.join(PARTS)}")
    return asked


def _measured(asked: argparse.Namespace, url: str, console: Console) -> Results:
    scale = QUICK if asked.quick else FULL
    results = Results(
        command=f"python -m bench {' '.join(sys.argv[1:])}".strip(),
        machine=machine.described(),
        queue_type=asked.queue_type,
    )
    with progress.shown(console, _steps(asked.parts, scale)) as bar:
        _in_process(asked.parts, scale, bar, results)
        asyncio.run(_on_broker(asked, url, scale, bar, results))
    return results


def _steps(parts: list[str], scale: Scale) -> int:
    return sum(_WITH_BROKER[part](scale) if part in _WITH_BROKER else 1 for part in parts)


def _in_process(parts: list[str], scale: Scale, bar: Progress, results: Results) -> None:
    """Measure what needs no RabbitMQ."""
    if "stages" in parts:
        bar.doing("stages of a guard")
        results.stages = stages.measure(tokens.pool("RS256", lab.MIXED_POOL), scale)
        results.verified = verifying.measure(scale.loop_rounds)
        bar.done()
    if "delegation" in parts:
        bar.doing("whose authority goes on")
        results.delegated = delegation.measure(scale)
        bar.done()
    if "memory" in parts:
        bar.doing(f"memory of {scale.cached:,} cached tokens")
        results.memory = verification.remembered(scale.cached)
        bar.done()
    if "sweeps" in parts:
        results.swept = sweeps.measure(scale, bar.doing)
        bar.done()


async def _on_broker(
    asked: argparse.Namespace, url: str, scale: Scale, bar: Progress, results: Results
) -> None:
    kind = asked.queue_type
    async with lab.opened(url, kind, scale, bar, uvloop=asked.uvloop) as found:
        await _with_queues(asked.parts, found, results)


async def _with_queues(parts: list[str], found: Lab, results: Results) -> None:
    if "publish" in parts:
        results.published = await publishing.measure(found)
    if "processes" in parts:
        results.scaled.append(await scaling.processes(found))
    if "depth" in parts:
        results.scaled.append(await scaling.depths(found))
    if "consume" in parts:
        results.compared = await consuming.measure(found)


def _write(results: Results, folder: Path) -> list[Path]:
    """Write figures, tables and plots."""
    folder.mkdir(parents=True, exist_ok=True)
    figures, text = folder / "results.json", folder / "results.txt"
    figures.write_text(json.dumps(results.to_json(), indent=1) + "\n")
    with text.open("w") as file:
        console = Console(file=file, width=150)
        console.print(f"$ {results.command}", markup=False)
        console.print(f"{results.queue_type} queues; {results.machine}", markup=False)
        console.print(*report.tables(results), sep="\n")
    return [figures, text, *plots.draw(results, folder)]


def main() -> None:
    """Measure, show, write."""
    asked = _asked(sys.argv[1:])
    url = os.environ.get("BUSAUTH_AMQP_URL")
    if not url:
        sys.exit("bench: no broker: run `make bench`, or set BUSAUTH_AMQP_URL")
    console = Console()
    results = _measured(asked, url, console)
    console.print(*report.tables(results), sep="\n")
    for path in _write(results, asked.folder):
        console.print(f"written: {path}")


if __name__ == "__main__":
    main()
