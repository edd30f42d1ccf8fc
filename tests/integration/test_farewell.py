"""Whatever was connected is closed: soon, and whatever the broker does meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from busauth import ANONYMOUS, Bus, BusOptions, Caller, PublishError
from busauth._amqp.connecting import connections, patience
from busauth._amqp.connecting.address import broker_url
from busauth._amqp.connecting.connect import connected, connected_below
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.proxy import proxied
from tests.support import Trail, guard_for

SECONDS = 20
MUCH = b"x" * 15_000_000
"""More than lies between two sockets."""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_service_stops_while_the_broker_reads_nothing(
    issuer: Issuer, trail: Trail, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publication that is half written, as under a memory alarm, holds up no stop."""
    monkeypatch.setattr(patience.closed, "__defaults__", (0.2,))
    async with proxied(url) as (proxy, through):
        guard = guard_for(issuer, trail)
        bus = Bus(through, guard=guard, service="one", options=BusOptions(drain=1))
        running = asyncio.create_task(bus.run(signals=False))
        await until(lambda: bus.ready)
        with pytest.raises(PublishError):
            await bus.publish("none", b"", token=ANONYMOUS)
        proxy.hold()
        with pytest.raises(PublishError, match="not confirmed"):
            await bus.publish("none", MUCH, token=ANONYMOUS, timeout=0.5)
        bus.stop()
        async with asyncio.timeout(3):
            await running
        proxy.release()


@pytest.mark.parametrize("kind", ["stop", "cancel", "cancel twice"])
async def test_no_connection_outlives_a_start_that_was_cut_off(
    kind: str,
    issuer: Issuer,
    trail: Trail,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whatever turn of the loop a start is cut off, what was connected by then is closed."""
    monkeypatch.setattr(connections, "_RECONNECT_SECONDS", 0.01)
    async with EmbeddedBroker() as broker:
        for turns in range(64):
            bus = Bus(broker.url, guard=guard_for(issuer, trail), service="one")

            @bus.consumer("q")
            async def place(caller: Caller) -> None: ...

            running = asyncio.create_task(bus.run(signals=False))
            for _ in range(turns):
                await asyncio.sleep(0)
            if kind == "stop":
                bus.stop()
            else:
                running.cancel()
                if kind == "cancel twice":
                    await asyncio.sleep(0)
                    running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await until(lambda: not broker.connections)
    assert "reader exited abnormally" not in caplog.text


@pytest.mark.parametrize("connect", [connected, lambda url: connected_below(broker_url(url))])
async def test_no_connection_outlives_an_attempt_that_was_cancelled(
    connect: Callable[[str], Coroutine[Any, Any, Any]],
) -> None:
    """The same, of connections that are not restored."""
    async with EmbeddedBroker() as broker:
        for turns in range(40):
            connecting = asyncio.create_task(connect(broker.url))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait({connecting})
            if not connecting.cancelled():
                await patience.left(connecting.result())
            await until(lambda: not broker.connections)


async def test_a_stop_belongs_to_the_run_that_it_was_said_in(issuer: Issuer, trail: Trail) -> None:
    """Said before the first run it holds; said once more after one, it does not end the next."""
    async with EmbeddedBroker() as broker:
        bus = Bus(broker.url, guard=guard_for(issuer, trail), service="one")
        bus.stop()
        async with asyncio.timeout(SECONDS):
            await bus.run(signals=False)
        bus.stop()
        running = asyncio.create_task(bus.run(signals=False))
        await until(lambda: bus.ready)
        bus.stop()
        async with asyncio.timeout(SECONDS):
            await running


async def test_a_close_that_holds_on_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library's swallows cancellations, and would keep the event loop from its end."""
    monkeypatch.setattr(patience, "_ONCE_MORE", 0.001)
    ended = asyncio.Event()

    class Holding:
        async def close(self) -> None:
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            ended.set()

    with pytest.raises(patience.UnansweredError):
        await patience.closed(Holding(), 0.01)
    async with asyncio.timeout(10):
        await ended.wait()
