"""The embedded broker against RabbitMQ, through aio-pika, in one run.

    python -m bench.embedded_broker [--json FILE] [--rounds 5] [--messages 20000]

Both brokers are processes of their own; rounds on the one and on the other take turns, so that a
busy machine slows both. The client is Python, too: what it can do at most is seen on RabbitMQ.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

EMBEDDED: Final = "embedded"
RABBITMQ: Final = "RabbitMQ"
_BODY: Final = bytes(1024)
_WINDOW: Final = 200
"""Publications that wait for their confirmation, and deliveries for their acknowledgement."""
_HELD: Final = 100_000
_MIB: Final = 2**20


@dataclass
class Server:
    """A broker, and how many messages a second went through it, round by round."""

    name: str
    url: str
    pid: int | None = None
    published: list[float] = field(default_factory=list)
    consumed: list[float] = field(default_factory=list)


@asynccontextmanager
async def embedded(memory: int) -> AsyncIterator[Server]:
    """Start a broker of `memory` MiB in a process of its own."""
    command = ("-m", "busauth", "broker", "--port", "0", "--memory", str(memory))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    if process.stdout is None:
        raise RuntimeError("the broker has no output")
    try:
        url = (await process.stdout.readline()).decode().strip()
        yield Server(EMBEDDED, url, process.pid)
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def queue_on(server: Server) -> AsyncIterator[tuple[AbstractChannel, AbstractQueue]]:
    """Open a channel with confirms, and a queue that is gone afterwards."""
    async with await aio_pika.connect(server.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(f"bench-{uuid4().hex}", durable=True)
        try:
            yield channel, queue
        finally:
            await queue.delete(if_unused=False, if_empty=False)


async def publish(channel: AbstractChannel, queue: str, count: int) -> None:
    """Publish with confirms, a window of them at a time."""
    waiting: deque[asyncio.Task[object]] = deque()
    for _ in range(count):
        if len(waiting) >= _WINDOW:
            await waiting.popleft()
        message = aio_pika.Message(_BODY)
        confirmed = channel.default_exchange.publish(message, routing_key=queue)
        waiting.append(asyncio.create_task(_whole(confirmed)))
    await asyncio.gather(*waiting)


async def _whole(confirmed: Awaitable[object]) -> object:
    return await confirmed


async def consume(channel: AbstractChannel, queue: AbstractQueue, count: int) -> None:
    """Consume with acknowledgements."""
    done = asyncio.Event()
    left = count

    async def handle(message: AbstractIncomingMessage) -> None:
        nonlocal left
        await message.ack()
        left -= 1
        if not left:
            done.set()

    await channel.set_qos(prefetch_count=_WINDOW)
    tag = await queue.consume(handle)
    await done.wait()
    await queue.cancel(tag)


async def one_round(server: Server, count: int) -> None:
    """Publish and consume, and note both rates."""
    async with queue_on(server) as (channel, queue):
        server.published.append(await _rate(publish(channel, queue.name, count), count))
        server.consumed.append(await _rate(consume(channel, queue, count), count))


async def _rate(work: Awaitable[None], count: int) -> float:
    started = perf_counter()
    await work
    return count / (perf_counter() - started)


async def growth(step: Callable[[], object]) -> dict[str, Any]:
    """Fill a queue of a new broker, and measure how much larger its process is then."""
    async with embedded(400) as server, queue_on(server) as (channel, queue):
        before = resident(server.pid)
        for _ in range(10):
            await publish(channel, queue.name, _HELD // 10)
            step()
        grown = resident(server.pid) - before
    return {"messages": _HELD, "body_bytes": len(_BODY), "growth_mib": round(grown / _MIB, 1)}


def resident(pid: int | None) -> int:
    """Return the bytes of a process that are in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def report(servers: list[Server]) -> dict[str, Any]:
    """Return rates as medians, and ratios as medians of rounds that followed one another."""
    rates = {
        server.name: {
            "publish_per_second": round(statistics.median(server.published)),
            "consume_per_second": round(statistics.median(server.consumed)),
        }
        for server in servers
    }
    ours, theirs = servers
    return {
        "window": _WINDOW,
        "rates": rates,
        "ratios": {
            "publish": _ratio(ours.published, theirs.published),
            "consume": _ratio(ours.consumed, theirs.consumed),
        },
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def table(found: dict[str, Any]) -> Table:
    """Show the report."""
    shown = Table("", EMBEDDED, RABBITMQ, "ratio")
    for what in ("publish", "consume"):
        cells = (f"{rate[f'{what}_per_second']:,}/s" for rate in found["rates"].values())
        shown.add_row(what, *cells, str(found["ratios"][what]))
    held = found["memory"]
    shown.add_row(f"{held['messages']:,} messages of 1 KB", f"{held['growth_mib']} MiB", "", "")
    return shown


async def measure(url: str, rounds: int, count: int) -> dict[str, Any]:
    """Run everything, with a bar."""
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(embedded(256))
        servers = [ours, Server(RABBITMQ, url)]
        bar = stack.enter_context(Progress())
        task = bar.add_task("embedded broker and RabbitMQ", total=2 * rounds + 12)
        for server in servers:
            await one_round(server, count // 10)  # the first one warms up, and does not count
            server.published.clear()
            server.consumed.clear()
            bar.advance(task)
        for _ in range(rounds):
            for server in servers:
                await one_round(server, count)
                bar.advance(task)
        memory = await growth(lambda: bar.advance(task))
    return {**report(servers), "memory": memory}


def main() -> None:
    """Measure, show, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000, help="in each round")
    asked = parser.parse_args()
    url = os.environ.get("BUSAUTH_AMQP_URL")
    if not url:
        parser.error("set BUSAUTH_AMQP_URL to a RabbitMQ")
    found = asyncio.run(measure(url, asked.rounds, asked.messages))
    Console(stderr=True).print(table(found))
    text = json.dumps(found, indent=2)
    if asked.json:
        asked.json.write_text(f"{text}\n")
    else:
        Console().print_json(text)


if __name__ == "__main__":
    main()
