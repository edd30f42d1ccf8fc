"""Signals stop every service of a process, and a host's own handlers are told and put back."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from busauth import Bus
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.support import Trail, guard_for

WATCHED = (signal.SIGINT, signal.SIGTERM)
SECONDS = 20

TWO_SERVICES = """
import asyncio, json, sys
from busauth import Bus, Caller, Guard, StaticKeys, Verifier

async def main(url, issuer, keys, seconds):
    buses = []
    for name in ("one", "two"):
        verifier = Verifier(StaticKeys(json.loads(keys)), issuer=issuer, audience="shop")
        bus = Bus(url, guard=Guard(verifier), service=name)

        @bus.consumer(name)
        async def handle(caller: Caller, name: str = name) -> None:
            print("began", name, flush=True)
            await asyncio.sleep(float(seconds))
            print("done", name, flush=True)

        buses.append(bus)
    await asyncio.gather(*(bus.run() for bus in buses))
    print("drained", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def handlers() -> list[Any]:
    """Return who is told of signals now."""
    return [signal.getsignal(number) for number in WATCHED]


@pytest.fixture
async def services(issuer: Issuer, trail: Trail) -> Any:
    """Return two services without consumers."""
    async with EmbeddedBroker() as broker:
        yield [
            Bus(broker.url, guard=guard_for(issuer, trail), service=name) for name in ("one", "two")
        ]


async def connected(*services: Bus) -> None:
    async with asyncio.timeout(SECONDS):
        while not all(bus._connections.are_open for bus in services):
            await asyncio.sleep(0.01)


async def begun(services: list[Bus], **named: Any) -> list[asyncio.Task[None]]:
    """Return runs once all are connected."""
    tasks = [asyncio.create_task(bus.run(**named)) for bus in services]
    await connected(*services)
    return tasks


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("number", WATCHED)
async def test_a_signal_stops_all_and_tells_the_host(
    number: signal.Signals, services: list[Bus]
) -> None:
    """Both services stop; a handler of the process and one of the loop are told, once each."""
    told: list[str] = []
    others = signal.signal(number, lambda *_: told.append("process"))
    (other,) = {*WATCHED} - {number}
    asyncio.get_running_loop().add_signal_handler(other, told.append, "loop")
    try:
        tasks = await begun(services)
        os.kill(os.getpid(), number)
        await ended(tasks)
        assert told == ["process"]
        os.kill(os.getpid(), other)
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
        assert sorted(told) == ["loop", "process", "process"]
    finally:
        asyncio.get_running_loop().remove_signal_handler(other)
        signal.signal(number, others)


async def test_a_handler_of_the_loop_is_told_while_services_run(services: list[Bus]) -> None:
    """What `loop.add_signal_handler` has installed is called next to them."""
    told: list[str] = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.append, "loop")
    tasks = await begun(services)
    os.kill(os.getpid(), signal.SIGTERM)
    await ended(tasks)
    assert told == ["loop"]
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_services_may_stop_in_any_order(services: list[Bus]) -> None:
    """The first to begin may be the first to stop: the other one still hears signals."""
    before = handlers()
    first, second = await begun(services)
    services[0].stop()
    await ended([first])
    os.kill(os.getpid(), signal.SIGTERM)
    await ended([second])
    assert handlers() == before


async def test_a_host_may_mind_signals_itself(services: list[Bus]) -> None:
    """With signals=False nothing is installed; `stop` ends it."""
    before = handlers()
    tasks = await begun(services, signals=False)
    assert handlers() == before
    for bus in services:
        bus.stop()
    await ended(tasks)


async def test_in_a_thread_it_runs_and_leaves_signals_alone(
    services: list[Bus], caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once; `stop` ends it from any thread."""
    before = handlers()
    caplog.set_level(logging.INFO, "busauth")
    running = asyncio.create_task(asyncio.to_thread(asyncio.run, services[0].run()))
    try:
        await connected(services[0])
        assert handlers() == before
    finally:
        services[0].stop()
        await ended([running])
    assert caplog.text.count("outside of the main thread") == 1


@pytest.fixture
def put_back() -> Iterator[None]:
    """Leave the handlers as they were."""
    before = handlers()
    yield
    for number, handler in zip(WATCHED, before, strict=True):
        signal.signal(number, handler)


async def saved_and_put_back(bus: Bus) -> None:
    """Do as a web server that runs beside: save handlers, and put them back when it is over."""
    (running,) = await begun([bus])
    saved = [signal.signal(number, signal.SIG_IGN) for number in WATCHED]
    bus.stop()
    await ended([running])
    for number, handler in zip(WATCHED, saved, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("put_back")
async def test_what_a_host_puts_back_too_late_does_what_was_done_before(
    services: list[Bus],
) -> None:
    """A callable is called, Python's own handler raises, and what the host ignores is ignored."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    await saved_and_put_back(services[0])
    signal.raise_signal(signal.SIGTERM)
    assert told == [signal.SIGTERM]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await saved_and_put_back(services[0])
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("put_back")
async def test_what_a_host_puts_back_too_late_ends_no_service_that_runs(
    services: list[Bus],
) -> None:
    """A service behind which it stands drains, and the process lives."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    await saved_and_put_back(services[0])
    for number in WATCHED:
        tasks = await begun(services[1:])
        signal.raise_signal(number)
        await ended(tasks)


@pytest.mark.usefixtures("put_back")
async def test_a_service_in_a_thread_leaves_alone_what_a_host_put_back_too_late(
    services: list[Bus],
) -> None:
    """It ends without an error: it installed nothing, and takes nothing out."""
    await saved_and_put_back(services[0])
    running = asyncio.create_task(asyncio.to_thread(asyncio.run, services[1].run()))
    await connected(services[1])
    services[1].stop()
    await ended([running])


@pytest.mark.processes
def test_a_process_can_be_ended_after_its_services() -> None:
    """SIGTERM ends a process whose host has put back too late what it had saved."""
    late = """
import signal
from busauth._amqp.signals import told_by_signals
with told_by_signals(print):
    saved = signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGTERM, saved)
signal.raise_signal(signal.SIGTERM)
print("lives")
"""
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("signals", "seconds", "code"), [(1, "0.3", 0), (2, "30", -signal.SIGTERM)]
)
async def test_two_services_of_a_process(
    signals: int, seconds: str, code: int, issuer: Issuer
) -> None:
    """The first SIGTERM lets both drain; a second one ends the process while they do."""
    async with EmbeddedBroker() as broker:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", TWO_SERVICES, broker.url, issuer.url,
            json.dumps(issuer.jwks()), seconds,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        lines = process.stdout
        assert lines is not None
        edge = Bus(broker.url, guard=guard_for(issuer, Trail()), service="edge")
        try:
            async with asyncio.timeout(SECONDS), edge:
                for name in ("one", "two"):
                    while True:
                        try:
                            await edge.publish(name, b"{}", token=issuer.token())
                            break
                        except Exception:
                            await asyncio.sleep(0.05)
                began = {await lines.readline() for _ in range(2)}
                for _ in range(signals):
                    process.send_signal(signal.SIGTERM)
                    await asyncio.sleep(0.1)
                rest = await lines.read()
                assert await process.wait() == code
        finally:
            if process.returncode is None:
                process.kill()
    assert began == {b"began one\n", b"began two\n"}
    if code == 0:
        assert rest.splitlines()[-1] == b"drained"
        assert rest.count(b"done") == 2
