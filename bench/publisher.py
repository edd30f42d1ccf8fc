"""One way to publish, in a process of its own; run as ``python -m bench.publisher``.

Every way is confirmed and carries a token. *One* waits for each confirmation, *many* has up to
`BATCH` messages on their way.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import aio_pika
import uvloop

from bench import child, messages
from bench.tokens import AUDIENCE
from busauth import Bus, Guard, Publication, StaticKeys, Verifier

BATCH = 1000
_WARM_UP = 100

Send = Callable[[list[str]], Awaitable[object]]
"""Publishes one message for each token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process publishes.

    Attributes:
        way: a name in `WAYS`.
        url: the broker.
        queue: where to.
        count: how many messages.
        tokens: whose they are, in turn.
        issuer, jwk, algorithm: whose tokens these are.
        uvloop: whether to run on uvloop.
    """

    way: str
    url: str
    queue: str
    count: int
    tokens: list[str]
    issuer: str
    jwk: dict[str, Any]
    algorithm: str
    uvloop: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@asynccontextmanager
async def _aio_pika(job: Job) -> AsyncIterator[Callable[[str], Awaitable[object]]]:
    async with await aio_pika.connect_robust(job.url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)

        def publish(token: str) -> Awaitable[object]:
            message = aio_pika.Message(
                messages.ORDER.model_dump_json().encode(),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                headers={messages.HEADER: f"Bearer {token}"},
            )
            return channel.default_exchange.publish(message, job.queue)

        yield publish


def _bus(job: Job) -> Bus:
    keys = StaticKeys(job.jwk)
    verifier = Verifier(keys, issuer=job.issuer, audience=AUDIENCE, algorithms=[job.algorithm])
    return Bus(job.url, guard=Guard(verifier), service="bench")


@asynccontextmanager
async def aio_pika_one(job: Job) -> AsyncIterator[Send]:
    """aio-pika, one at a time."""
    async with _aio_pika(job) as publish:

        async def send(tokens: list[str]) -> None:
            for token in tokens:
                await publish(token)

        yield send


@asynccontextmanager
async def aio_pika_many(job: Job) -> AsyncIterator[Send]:
    """aio-pika, all at once."""
    async with _aio_pika(job) as publish:
        yield lambda tokens: asyncio.gather(*map(publish, tokens))


@asynccontextmanager
async def busauth_one(job: Job) -> AsyncIterator[Send]:
    """busauth, one at a time."""
    async with _bus(job) as bus:

        async def send(tokens: list[str]) -> None:
            for token in tokens:
                await bus.publish(job.queue, messages.ORDER, token=token)

        yield send


@asynccontextmanager
async def busauth_many(job: Job) -> AsyncIterator[Send]:
    """busauth, all at once."""
    async with _bus(job) as bus:
        yield lambda tokens: bus.publish_many(
            Publication(job.queue, messages.ORDER, token=token) for token in tokens
        )


WAYS = {
    "aio-pika, one": aio_pika_one,
    "aio-pika, many": aio_pika_many,
    "busauth, one": busauth_one,
    "busauth, many": busauth_many,
}
"""The ways, by the names that results show."""


async def measure(job: Job) -> None:
    """Warm up, say so, and publish against time."""
    whose = [job.tokens[number % len(job.tokens)] for number in range(job.count)]
    async with WAYS[job.way](job) as send:
        await send(whose[:_WARM_UP])
        child.say({"ready": True})
        await child.told_to_go()
        began, cpu = time.monotonic(), time.process_time()
        for start in range(0, job.count, BATCH):
            await send(whose[start : start + BATCH])
        child.say({"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu})


def warm_up_of(count: int) -> int:
    """Return how many messages come on top of a job's."""
    return min(count, _WARM_UP)


def main() -> None:
    """Read the job and do it."""
    job = Job(**child.job())
    factory = uvloop.new_event_loop if job.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(measure(job))


if __name__ == "__main__":
    main()
