"""Ways to publish side by side, in rounds: confirmed, one at a time and many."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from bench import child
from bench.figures import Spread, ratios
from bench.lab import Lab
from bench.patterns import WARM_CALLERS
from bench.publisher import WAYS, Job, warm_up_of
from bench.scale import Scale

BASELINE = "aio-pika, one"
_ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class Published:
    """Messages per second and microseconds of processor time, by way, round by round."""

    rates: dict[str, list[float]]
    costs: dict[str, list[float]]

    def faster(self, way: str, other: str = BASELINE) -> Spread:
        """Return how many times as many messages one way publishes as the other."""
        return ratios(self.rates[way], self.rates[other])

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {"rates": self.rates, "cpu": self.costs}


def steps(scale: Scale) -> int:
    """Return how many measurements there will be."""
    return scale.publish_rounds * len(WAYS)


async def measure(lab: Lab) -> Published:
    """Let the ways take turns."""
    rates: dict[str, list[float]] = defaultdict(list)
    costs: dict[str, list[float]] = defaultdict(list)
    for _ in range(lab.scale.publish_rounds):
        for way in WAYS:
            lab.progress.doing(f"publish: {way}")
            rate, cpu = await _once(lab, way)
            rates[way].append(rate)
            costs[way].append(cpu)
            lab.progress.done()
    return Published(dict(rates), dict(costs))


async def _once(lab: Lab, way: str) -> tuple[float, float]:
    queue = await lab.queues.declare("published")
    one, many = lab.scale.published
    count = many if way.endswith("many") else one
    async with child.running("bench.publisher", _job(lab, way, queue, count).to_json()) as process:
        await process.ready()
        await process.go()
        result = await process.result()
    await lab.queues.settles_at(queue, count + warm_up_of(count))
    await lab.queues.delete(queue)
    return count / result["seconds"], result["cpu"] / count * 1e6


def _job(lab: Lab, way: str, queue: str, count: int) -> Job:
    pool = lab.pool(_ALGORITHM)
    return Job(
        way=way,
        url=lab.url,
        queue=queue,
        count=count,
        tokens=pool.tokens[:WARM_CALLERS],
        issuer=pool.issuer,
        jwk=pool.jwk,
        algorithm=pool.algorithm,
        uvloop=lab.uvloop,
    )
