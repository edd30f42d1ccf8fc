"""Processes killed, brokers restarted, connections cut: nothing genuine is lost."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from busauth import Bus, Caller, PublishError
from busauth.testing import Issuer
from scripts.broker import PrivateNode
from tests.support import Broker, Order, Trail, guard_for

pytestmark = pytest.mark.processes


@asynccontextmanager
async def worker(queue: str, issuer: Issuer, url: str) -> AsyncIterator[Process]:
    """Run a worker process, and end it in any case."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.worker", queue, issuer.url, json.dumps(issuer.jwks()),
        stdout=PIPE, env={**os.environ, "BUSAUTH_AMQP_URL": url},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def handled_by(process: Process, handled: Counter[int], *, until: int) -> None:
    """Read what a worker has handled, until so many different orders were."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while len(handled) < until:
            line = await process.stdout.readline()
            assert line, f"the worker ended after {len(handled)} orders"
            handled[int(line)] += 1


async def rest_of(process: Process, handled: Counter[int]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        handled[int(line)] += 1


async def test_2_a_worker_killed_in_mid_handler(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Of a thousand messages none is lost when their worker is killed twice with SIGKILL."""
    queue = broker.name("orders")
    handled: Counter[int] = Counter()
    tokens = [issuer.token(f"user-{number}") for number in range(20)]
    async with worker(queue, issuer, url) as first:
        async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
            await published(bus, queue, tokens, range(1000))
        await handled_by(first, handled, until=200)
        first.kill()
        await rest_of(first, handled)
    async with worker(queue, issuer, url) as second:
        await handled_by(second, handled, until=600)
        second.kill()
        await rest_of(second, handled)
    async with Bus(url, guard=guard_for(issuer, trail), service="edge") as bus:
        await published(bus, queue, tokens, [1000])  # the third has something to do in any case
    async with worker(queue, issuer, url) as third:
        await handled_by(third, handled, until=1001)
        third.send_signal(signal.SIGTERM)
        await asyncio.wait_for(third.wait(), 20)
    assert third.returncode == 0
    assert set(handled) == set(range(1001))
    for name in (queue, f"{queue}.dead", f"{queue}.rejected"):
        await broker.settles_at(name, 0)


async def published(bus: Bus, queue: str, tokens: list[str], numbers: Iterable[int]) -> None:
    """Publish until confirmed; the queue may not be declared yet."""
    for number in numbers:
        async with asyncio.timeout(90):
            while True:
                try:
                    await bus.publish(queue, Order(id=number), token=tokens[number % len(tokens)])
                    break
                except PublishError:
                    await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_2_the_broker_restarted_under_load(issuer: Issuer, trail: Trail) -> None:
    """Every message whose publication was confirmed is handled, across a restart of the broker."""
    with await asyncio.to_thread(lambda: PrivateNode().__enter__()) as node:
        bus = Bus(node.url, guard=guard_for(issuer, trail), service="orders")
        handled: Counter[int] = Counter()
        everything = asyncio.Event()

        @bus.consumer("orders")
        async def handle(order: Order, caller: Caller) -> None:
            await asyncio.sleep(0.005)
            handled[order.id] += 1
            if len(handled) == 1500:
                everything.set()

        async with bus:
            token = issuer.token()
            load = asyncio.create_task(published(bus, "orders", [token], range(1500)))
            await trail.until("handled", count=200)
            await asyncio.to_thread(node.restart)
            await asyncio.wait_for(load, 120)
            await asyncio.wait_for(everything.wait(), 60)
        assert set(handled) == set(range(1500))
        refused = [event for event in trail.events if event.kind == "refused"]
        assert not refused
