"""Where measurements are made: one broker, its queues, tokens, and contestants in processes."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import child, queues, tokens
from bench.consumer import Job
from bench.contestants import CONTESTANTS, ENVELOPED
from bench.machine import Load, Watch
from bench.messages import Writer, enveloped, plain
from bench.progress import Progress
from bench.queues import Queues
from bench.scale import Scale
from bench.tokens import Pool

PREFETCH = 200
MIXED_POOL = 10_000


@dataclass(frozen=True, slots=True)
class Drained:
    """What processes took out of a queue together.

    Attributes:
        rate: messages per second, from the first to the last.
        cpu: microseconds of the processes' own time for each message.
        load: what the machine and the broker did meanwhile.
    """

    rate: float
    cpu: float
    load: Load

    def to_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {"rate": self.rate, "cpu": self.cpu, **self.load.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What every measurement needs.

    Attributes:
        url: the broker.
        queues: its queues.
        scale: how much is measured.
        progress: what the user sees meanwhile.
        uvloop: whether contestants run on uvloop.
    """

    url: str
    queues: Queues
    scale: Scale
    progress: Progress
    uvloop: bool = False
    _pools: dict[str, Pool] = field(default_factory=dict)

    def pool(self, algorithm: str) -> Pool:
        """Return an algorithm's tokens: enough for any pattern."""
        if algorithm not in self._pools:
            count = max(MIXED_POOL, self.scale.most_tokens)
            self._pools[algorithm] = tokens.pool(algorithm, count)
        return self._pools[algorithm]

    async def consume(
        self,
        letter: str,
        pool: Pool,
        warm_up: list[str],
        measured: list[str],
        **more: Any,
    ) -> Drained:
        """Fill a queue, and let one process of a contestant empty it."""
        queue = await self.queues.declare("measured")
        async with self.started(letter, pool, warm_up, queue, len(measured), **more) as process:
            await self.queues.fill(queue, measured, writer_of(letter))
            await process.ready()
            found = await self.drained([process], len(measured))
        await self._check_empty(queue)
        return found

    async def drained(self, processes: list[child.Child], count: int) -> Drained:
        """Let processes that are ready go, and sum up what they did."""
        async with Watch(self.url) as watch:
            await asyncio.gather(*(process.go() for process in processes))
            results = await asyncio.gather(*(process.result() for process in processes))
        first = min(result["first"] for result in results if result["count"])
        last = max(result["last"] for result in results)
        handled = sum(result["count"] for result in results)
        if handled != count:
            raise AssertionError(f"{handled} messages were handled: expected {count}")
        cpu = sum(result["cpu"] for result in results) / count * 1e6
        return Drained((count - 1) / (last - first), cpu, watch.load(first, last))

    @asynccontextmanager
    async def started(
        self,
        letter: str,
        pool: Pool,
        warm_up: list[str],
        queue: str,
        count: int,
        **more: Any,
    ) -> AsyncIterator[child.Child]:
        """Start a contestant's process, with a queue of bad tokens and one to warm up on.

        What more there is to tell it goes into its job.
        """
        probe = await self.queues.declare("probe")
        warming = await self.queues.declare("warm-up")
        await self.queues.fill(probe, [*pool.bad.values(), pool.tokens[0]], writer_of(letter))
        await self.queues.fill(warming, warm_up, writer_of(letter))
        job = self._job(
            letter,
            pool,
            probe=probe,
            warm_up=warming,
            warm_up_count=len(warm_up),
            queue=queue,
            count=count,
            **more,
        )
        async with child.running("bench.consumer", job) as process:
            yield process
        await self.queues.delete(probe, warming)

    @asynccontextmanager
    async def several(
        self, letter: str, number: int, pool: Pool, warm_up: list[str], queue: str
    ) -> AsyncIterator[list[child.Child]]:
        """Start several processes that will share a queue, and wait until all are ready."""
        async with AsyncExitStack() as stack:
            processes = [
                await stack.enter_async_context(self.started(letter, pool, warm_up, queue, 0))
                for _ in range(number)
            ]
            for process in processes:
                await process.ready()
            yield processes

    def _job(self, letter: str, pool: Pool, **work: Any) -> dict[str, Any]:
        return Job(
            module=CONTESTANTS[letter],
            url=self.url,
            algorithm=pool.algorithm,
            issuer=pool.issuer,
            audience=tokens.AUDIENCE,
            jwk=pool.jwk,
            prefetch=PREFETCH,
            uvloop=self.uvloop,
            **work,
        ).to_json()

    async def _check_empty(self, queue: str) -> None:
        """A contestant that did not acknowledge everything was too fast."""
        await self.queues.settles_at(queue, 0, seconds=10)
        await self.queues.delete(queue)


def writer_of(letter: str) -> Writer:
    """Return how messages for a contestant are written."""
    return enveloped if letter in ENVELOPED else plain


def picked(pool: Pool, callers: Iterable[int]) -> list[str]:
    """Return the tokens of callers."""
    return [pool.tokens[caller] for caller in callers]


@asynccontextmanager
async def opened(
    url: str, kind: str, scale: Scale, progress: Progress, *, uvloop: bool = False
) -> AsyncIterator[Lab]:
    """Connect to the broker; this run's queues are deleted at the end."""
    async with queues.opened(url, kind) as found:
        yield Lab(url=url, queues=found, scale=scale, progress=progress, uvloop=uvloop)
