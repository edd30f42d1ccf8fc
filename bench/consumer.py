"""A contestant in a process of its own: refuses bad tokens, warms up, then consumes against time.

Run by the harness as ``python -m bench.consumer``; see `Job` for what it is told.
"""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench import child
from bench.contestants import Consuming, Setting, load
from bench.sampling import Samples
from bench.tally import Tally

_SECONDS = 300.0
_QUIET = 0.3
"""Seconds after the last message in which acknowledgements go out; no part of what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process consumes.

    Attributes:
        module: the contestant.
        url, algorithm, issuer, audience, jwk, prefetch: its setting.
        probe: a queue of bad tokens' messages, and a good one behind them; empty for none.
        warm_up, warm_up_count: a queue that it consumes before the clock runs.
        queue: what it is measured on.
        count: how many messages; 0 to share the queue with others until it is empty.
        leave: whether there are more, which it leaves in the queue.
        uvloop: whether to run on uvloop.
        profile: where to write what took the time; empty for no look at that.
    """

    module: str
    url: str
    algorithm: str
    issuer: str
    audience: str
    jwk: dict[str, Any]
    prefetch: int
    probe: str
    warm_up: str
    warm_up_count: int
    queue: str
    count: int
    leave: bool = False
    uvloop: bool = False
    profile: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


async def measure(job: Job) -> None:
    """Show that bad tokens are refused, warm up, say so, and consume against time."""
    tally = Tally()
    contestant = load(job.module, _setting(job, tally))
    if contestant.checks:
        await _probe(contestant, job.probe, tally)
    await _consume(contestant, job.warm_up, job.warm_up_count, tally)
    child.say({"ready": True})
    await child.told_to_go()
    before = contestant.checked
    with Samples(job.profile):
        await _consume(contestant, job.queue, job.count, tally, leave=job.leave)
    _check_that_it_checked(contestant, before, tally.count)
    child.say(tally.result())


def _setting(job: Job, tally: Tally) -> Setting:
    return Setting(
        url=job.url,
        algorithm=job.algorithm,
        issuer=job.issuer,
        audience=job.audience,
        jwk=job.jwk,
        prefetch=job.prefetch,
        handled=tally,
    )


async def _probe(contestant: Consuming, queue: str, tally: Tally) -> None:
    """Bad tokens must not reach the handler; the good one behind them must."""
    await _consume(contestant, queue, 0, tally)
    if tally.count != 1:
        raise AssertionError(f"the handler saw {tally.count} messages: expected the good one alone")


async def _consume(
    contestant: Consuming, queue: str, count: int, tally: Tally, *, leave: bool = False
) -> None:
    tally.begin(count)
    async with contestant.consuming(queue):
        await tally.reached(_SECONDS)
        if not leave:
            await tally.idle(_QUIET)


def _check_that_it_checked(contestant: Consuming, before: int | None, count: int) -> None:
    """A check that did not run for every message was not measured."""
    if before is not None and contestant.checked != before + count:
        ran = (contestant.checked or 0) - before
        raise AssertionError(f"the check ran {ran} times for {count} messages")


def main() -> None:
    """Read the job and do it."""
    job = Job(**child.job())
    factory = uvloop.new_event_loop if job.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(measure(job))


if __name__ == "__main__":
    main()
