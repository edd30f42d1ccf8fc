"""What a look at a queue of letters costs while somebody writes more: seconds, memory, order.

    python -m bench.letters [--letters 50000]

The broker is the one that BUSAUTH_AMQP_URL names. The look is a process of its own, whose peak
memory is its own; the queue is deleted afterwards.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from uuid import uuid4

import aio_pika
import aiormq

from busauth.letters import groups, look

_IN_FLIGHT = 1_000
_QUORUM: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}
_PROOF = f"eyJhbGciOiJFUzI1NiJ9.{'eyJpc3MiOiJ3ZWIifQ'}.{'c2ln' * 20}"


def letter(number: int) -> aio_pika.Message:
    """Return what a guard would have written, its kept token included."""
    at = f"2026-01-31T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000+00:00"
    headers: aio_pika.abc.HeadersType = {
        "busauth-refusal": "handler.failed",
        "busauth-detail": f"handler.failed: got KeyError: 'order {number}'",
        "busauth-queue": "orders.placed",
        "busauth-at": at,
        "busauth-issuer": "https://idp.example",
        "busauth-subject": f"user-{number % 200}",
        "busauth-token-sha256": uuid4().hex * 2,
        "busauth-letter": uuid4().hex,
        "busauth-seal": uuid4().hex * 2,
        "busauth-proof": _PROOF,
        "busauth-token": "k" * 1200,
    }
    return aio_pika.Message(b"x" * 1000, headers=headers, message_id=uuid4().hex)


async def write(url: str, queue: str, count: int) -> None:
    """Fill the queue."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments={**_QUORUM})
        for first in range(0, count, _IN_FLIGHT):
            numbers = range(first, min(count, first + _IN_FLIGHT))
            publish = channel.default_exchange.publish
            await asyncio.gather(*(publish(letter(number), queue) for number in numbers))


async def write_on(url: str, queue: str) -> None:
    """Write 100 letters a second until cancelled, as consumers do meanwhile."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        while True:
            await channel.default_exchange.publish(letter(0), queue)
            await asyncio.sleep(0.01)


async def measure(url: str, queue: str) -> None:
    """Look once, and say what that took."""
    begun, idle = time.perf_counter(), time.process_time()
    found = await look(url, queue)
    seconds, busy = time.perf_counter() - begun, time.process_time() - idle
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{found.total} letters in {seconds:.1f} s ({busy:.1f} s of CPU), {peak:.0f} MB at most, "
        f"{len(groups(found.letters))} group(s)"
    )


async def main(url: str, count: int) -> None:
    """Measure three looks, and whether the order was kept."""
    queue = f"bench.{uuid4().hex[:8]}.dead"
    await write(url, queue, count)
    writing = asyncio.create_task(write_on(url, queue))
    for _ in range(3):
        looking = [sys.executable, "-m", "bench.letters", "--look", queue]
        await asyncio.to_thread(subprocess.run, looking, check=True)
    writing.cancel()
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    seen = list[str]()
    for _ in range(min(count, 5_000)):
        got = await channel.basic_get(queue, no_ack=True)
        seen.append(str((got.header.properties.headers or {})["busauth-at"]))
    in_order = all(earlier <= later for earlier, later in pairwise(seen))
    print(f"the first {len(seen)} are in their order: {in_order}")
    await channel.queue_delete(queue)
    await connection.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--letters", type=int, default=50_000)
    parser.add_argument("--look", metavar="QUEUE")
    chosen = parser.parse_args()
    address = os.environ["BUSAUTH_AMQP_URL"]
    asyncio.run(measure(address, chosen.look) if chosen.look else main(address, chosen.letters))
