"""How throughput holds as queues grow deep, and as processes share one.

Where more processes do not carry more, the table says what was busy: the broker and the processes
share this machine's cores, and once none is idle nothing can go faster.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from bench.figures import Spread, ratios
from bench.lab import Drained, Lab, picked, writer_of
from bench.patterns import Pattern, callers
from bench.scale import Scale
from bench.tokens import Pool

_LETTER = "e"
_ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class Scaled:
    """What was taken out of a queue at each step.

    Attributes:
        name: what grew.
        rounds: by how many there were.
    """

    name: str
    rounds: dict[int, list[Drained]]

    def rates(self) -> dict[int, Spread]:
        """Return messages per second at each step, as ratios to the first."""
        first = [drained.rate for drained in next(iter(self.rounds.values()))]
        return {
            step: ratios([drained.rate for drained in found], first)
            for step, found in self.rounds.items()
        }

    def costs(self) -> dict[int, Spread]:
        """Return the processes' own time for a message, as ratios to the first."""
        first = [drained.cpu for drained in next(iter(self.rounds.values()))]
        return {
            step: ratios([drained.cpu for drained in found], first)
            for step, found in self.rounds.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return what was measured."""
        rounds = {
            step: [drained.to_json() for drained in found] for step, found in self.rounds.items()
        }
        return {"name": self.name, "rounds": rounds}


def depth_steps(scale: Scale) -> int:
    """Return how many measurements of depths there will be."""
    return len(scale.depths) * scale.depth_rounds


def process_steps(scale: Scale) -> int:
    """Return how many measurements of processes there will be."""
    return len(scale.processes) * scale.process_rounds


async def depths(lab: Lab) -> Scaled:
    """Take the first messages out of queues of different depths, in turns.

    The queues are classic ones: a quorum queue of a million messages is the broker's memory, and
    no question to its consumer.
    """
    scale, pool = lab.scale, lab.pool(_ALGORITHM)
    queues = {}
    for depth in scale.depths:
        lab.progress.doing(f"depth: filling {depth:,}")
        queues[depth] = await lab.queues.declare("deep", kind="classic")
        await _fill(lab, queues[depth], pool, depth)
    found: dict[int, list[Drained]] = defaultdict(list)
    for _ in range(scale.depth_rounds):
        for depth, queue in queues.items():
            lab.progress.doing(f"depth: {depth:,}")
            found[depth].append(await _first(lab, queue, pool))
            await _fill(lab, queue, pool, depth - await lab.queues.resting(queue))
            lab.progress.done()
    await lab.queues.delete(*queues.values())
    return Scaled("queue depth", dict(found))


async def _fill(lab: Lab, queue: str, pool: Pool, count: int) -> None:
    whose = islice(cycle(picked(pool, callers(Pattern.WARM, 100))), count)
    await lab.queues.fill(queue, whose, writer_of(_LETTER))


async def _first(lab: Lab, queue: str, pool: Pool) -> Drained:
    """Take so many messages, and leave the rest where it lies."""
    count, warm_up = lab.scale.depth_messages, _warm_up(lab, pool)
    async with lab.started(_LETTER, pool, warm_up, queue, count, leave=True) as process:
        await process.ready()
        return await lab.drained([process], count)


async def processes(lab: Lab) -> Scaled:
    """Let more and more processes share a queue."""
    scale, pool = lab.scale, lab.pool(_ALGORITHM)
    found: dict[int, list[Drained]] = defaultdict(list)
    for _ in range(scale.process_rounds):
        for number in scale.processes:
            lab.progress.doing(f"processes: {number}")
            found[number].append(await _shared(lab, pool, number))
            lab.progress.done()
    return Scaled("processes", dict(found))


async def _shared(lab: Lab, pool: Pool, number: int) -> Drained:
    count, warm_up = lab.scale.process_messages, _warm_up(lab, pool)
    queue = await lab.queues.declare("shared")
    await _fill(lab, queue, pool, count)
    async with lab.several(_LETTER, number, pool, warm_up, queue) as ready:
        found = await lab.drained(ready, count)
    await lab.queues.delete(queue)
    return found


def _warm_up(lab: Lab, pool: Pool) -> list[str]:
    return picked(pool, callers(Pattern.WARM, lab.scale.warm_up))
