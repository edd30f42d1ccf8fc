"""`busauth run`: real processes, which are killed, signalled and probed."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from unittest import mock

import httpx
import psutil
import pytest
import typer

from busauth.cli.options import warn
from busauth.cli.run.lives import Pace
from busauth.cli.run.supervisor import GaveUpError, Supervisor
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.support import Broker, connected

pytestmark = pytest.mark.processes

SECONDS = 80
SERVICE = """
import asyncio, json, os
from pydantic import BaseModel
from busauth import Bus, BusOptions, Caller, Guard, StaticKeys, Verifier

keys = StaticKeys(json.loads(os.environ["TEST_KEYS"]))
guard = Guard(Verifier(keys, issuer=os.environ["TEST_ISSUER"], audience="shop"))
options = BusOptions(prefetch=5, drain=float(os.environ["TEST_DRAIN"]))
bus = Bus(os.environ["TEST_URL"], guard=guard, service="shop", options=options)

class Order(BaseModel):
    id: int

def note(what):
    with open("notes", "a") as notes:
        notes.write(f"{what} {os.getpid()} {os.environ.get('BUSAUTH_WORKER')}\\n")

@bus.consumer(os.environ["TEST_QUEUE"])
async def handle(order: Order, caller: Caller) -> None:
    note("begun")
    await asyncio.sleep(float(os.environ["TEST_TAKES"]))
    note(order.id)
"""

DEVELOPMENT = """
from busauth import Bus, Guard
guard = Guard(issuer="http://127.0.0.1:8000/busauth-dev", audience="shop")
bus = Bus("amqp://localhost/", guard=guard, service="shop")
"""


class Service:
    """A folder with a service in it, and what its handlers noted there."""

    def __init__(self, folder: Path, broker: Broker, issuer: Issuer) -> None:
        self.broker, self.issuer = broker, issuer
        self.queue = broker.name("orders")
        self._folder = folder
        self.write(SERVICE)
        (folder / "notes").touch()

    def write(self, module: str) -> None:
        (self._folder / "shop.py").write_text(module)

    @asynccontextmanager
    async def run(
        self, *arguments: str, takes: float = 0.01, drain: float = 60
    ) -> AsyncIterator["Run"]:
        """Run it, and leave nothing behind."""
        said = {
            "TEST_URL": self.broker.url,
            "TEST_QUEUE": self.queue,
            "TEST_ISSUER": self.issuer.url,
            "TEST_KEYS": json.dumps(self.issuer.jwks()),
            "TEST_TAKES": str(takes),
            "TEST_DRAIN": str(drain),
            "BUSAUTH_BUS__HEALTH": "127.0.0.1:0",
        }
        command = (sys.executable, "-m", "busauth", "run", "shop:bus")
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, cwd=self._folder, env={**os.environ, **said}, stderr=PIPE
        )
        async with httpx.AsyncClient() as client, asyncio.timeout(SECONDS):
            try:
                yield Run(process, client)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                await self.until_gone()

    async def publish(self, *numbers: int) -> None:
        token = self.issuer.token("alice")
        for number in numbers:
            body = json.dumps({"id": number}).encode()
            await self.broker.publish(self.queue, body, token=token)

    def notes(self) -> list[list[str]]:
        return [line.split() for line in (self._folder / "notes").read_text().splitlines()]

    def processes(self) -> set[int]:
        """Return who handled something, and lives."""
        return {pid for _, each, _ in self.notes() if lives(pid := int(each))}

    async def noted(self, what: str) -> None:
        while not any(note[0] == what for note in self.notes()):
            await asyncio.sleep(0.02)

    async def until_gone(self) -> None:
        while self.processes():
            await asyncio.sleep(0.02)

    async def left(self) -> int:
        """Return how many messages the broker still has."""
        declared = await self.broker.channel.declare_queue(self.queue, passive=True)
        return declared.declaration_result.message_count or 0


class Run:
    """The command, running."""

    def __init__(self, process: Process, client: httpx.AsyncClient) -> None:
        self.process, self._client = process, client
        self._health = ""

    async def line(self, part: str) -> str:
        """Return the next line on standard error with this in it."""
        assert self.process.stderr is not None
        said = []
        while line := (await self.process.stderr.readline()).decode():
            said.append(line)
            if part in line:
                return line
        pytest.fail(f"no {part!r} in {''.join(said)}")

    async def answer(self, path: str) -> httpx.Response:
        if not self._health:
            self._health = (await self.line("Health: ")).split()[1].removesuffix("/live")
        return await self._client.get(f"{self._health}{path}")

    async def until(self, status: int, part: str = "") -> str:
        """Return what readiness says, once it is so."""
        while True:
            answer = await self.answer("/ready")
            if answer.status_code == status and part in answer.text:
                return answer.text
            await asyncio.sleep(0.05)

    async def ended(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await self.process.wait()


def lives(pid: int) -> bool:
    """Return whether a process is there that nobody has to collect yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def service(tmp_path: Path, broker: Broker, issuer: Issuer) -> Service:
    return Service(tmp_path, broker, issuer)


@pytest.fixture
async def alone(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Service]:
    """Return a service on the embedded broker."""
    async with EmbeddedBroker() as server, connected(server.url) as broker:
        yield Service(tmp_path, broker, issuer)


async def test_a_worker_is_killed_and_nothing_is_lost(service: Service) -> None:
    """Under load one is killed: every message is handled, another comes, and SIGTERM drains all."""
    async with service.run("--workers", "2") as run:
        assert "worker 1: " in await run.until(503, "worker 2: ")
        assert (await run.answer("/live")).status_code == 200
        await run.until(200)
        await service.publish(*range(150))
        while len(service.processes()) < 2:
            await asyncio.sleep(0.01)
        os.kill(min(service.processes()), signal.SIGKILL)
        assert "was ended by SIGKILL: another one starts in 1 s" in await run.line("SIGKILL")
        await service.publish(*range(150, 300))
        while {note[0] for note in service.notes()} - {"begun"} != {*map(str, range(300))}:
            await asyncio.sleep(0.05)
        await run.until(200)
        assert {note[2] for note in service.notes()} == {"1", "2"}
        assert await run.ended(signal.SIGTERM) == 0
    assert await service.left() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_signal_drains(alone: Service, workers: int) -> None:
    """What has begun comes to its end, not ready meanwhile, although workers are told twice."""
    async with alone.run("--workers", str(workers), takes=2) as run:
        await run.until(200)
        await alone.publish(7)
        await alone.noted("begun")
        run.process.send_signal(signal.SIGINT)
        assert "shop is stopping" in await run.until(503, "shop is stopping")
        for worker in alone.processes() - {run.process.pid}:
            os.kill(worker, signal.SIGTERM)
        assert await run.process.wait() == 0
        assert alone.notes()[-1][0] == "7"


OWN_LOGS = """
import logging
logging.basicConfig(format="mine: %(message)s", level="INFO")
"""


@pytest.mark.parametrize(
    ("arguments", "module", "told"),
    [
        ((), "", " INFO busauth: shop: connected to 127.0.0.1:"),
        (("--workers", "2"), "", " INFO worker 2 busauth: shop: connected to 127.0.0.1:"),
        (("--log-level", "warning"), OWN_LOGS, "mine: shop: connected to 127.0.0.1:"),
    ],
    ids=["one", "several", "a program's own"],
)
async def test_what_it_logs(
    arguments: tuple[str, ...], module: str, told: str, alone: Service
) -> None:
    """Connecting is told at INFO, by whom, unless the program has configured logs itself."""
    alone.write(SERVICE + module)
    async with alone.run(*arguments) as run:
        assert "Traceback" not in await run.line(told)
        assert await run.ended(signal.SIGTERM) == 0


async def test_a_level_is_for_workers_too(alone: Service) -> None:
    """Below it nothing is shown, of whichever process."""
    async with alone.run("--workers", "2", "--log-level", "WARNING") as run:
        await run.until(200)
        assert await run.ended(signal.SIGTERM) == 0
        assert run.process.stderr is not None
        assert b"INFO" not in await run.process.stderr.read()


async def test_a_second_signal_breaks_off(alone: Service) -> None:
    """A handler that takes for ever is not waited for, and its message stays with the broker."""
    async with alone.run("--workers", "2", takes=600) as run:
        await run.until(200)
        await alone.publish(7)
        await alone.noted("begun")
        run.process.send_signal(signal.SIGTERM)
        assert "not ready: the service is stopping" in await run.until(503, ": shop is stopping")
        assert await run.ended(signal.SIGTERM) == 1
        assert "stays with the broker" in await run.line("did not drain")
    assert await alone.left() == 1


async def test_workers_end_without_their_supervisor(alone: Service) -> None:
    """It is killed, and they drain: nobody is left who would start them again, or end them."""
    async with alone.run("--workers", "2", takes=0.5) as run:
        await run.until(200)
        await alone.publish(*range(20))
        await alone.noted("1")
        assert await run.ended(signal.SIGKILL) == -signal.SIGKILL
        await alone.until_gone()
    done = [note[0] for note in alone.notes() if note[0] != "begun"]
    assert len(done) == len(alone.notes()) / 2
    assert len(done) + await alone.left() == 20


async def test_workers_are_started_anew(alone: Service) -> None:
    """SIGHUP replaces them one after the other, with one at least that consumes at any time."""
    async with alone.run("--workers", "2") as run:
        await run.until(200)
        await alone.publish(*range(20))
        while len(alone.processes()) < 2:
            await asyncio.sleep(0.01)
        before = alone.processes()
        run.process.send_signal(signal.SIGHUP)
        await run.line("all workers were started anew")
        assert not before & alone.processes()
        await run.until(200)
        assert await run.ended(signal.SIGTERM) == 0


WORKER = """
import os, pathlib, signal, socket, sys, time
link = socket.socket(fileno=int(sys.argv[-1].partition("=")[2]))
lives = pathlib.Path(sys.argv[1])
is_first = not lives.exists()
with lives.open("a") as file:
    file.write("+")

def say(reasons):
    link.send(b'{"reasons": [%s], "drain": 5}\\n' % reasons)

def end(*_):
    if is_first and sys.argv[2] == "late":
        say(b"")
        time.sleep(0.5)
    os._exit(0)

signal.signal(signal.SIGTERM, end)
say(b"" if sys.argv[2] == "soon" else b'"starting"')
while True:
    signal.pause()
"""


@asynccontextmanager
async def supervised(lives: Path, comes_up: str) -> AsyncIterator[tuple[Supervisor, list[str]]]:
    """Supervise one worker that comes up "soon", or "late": only as it is told to end."""
    told: list[str] = []
    command = (sys.executable, "-c", WORKER, str(lives), comes_up)
    supervisor = Supervisor(command, 1, tell=told.append, pace=Pace(first=0.01))
    running = asyncio.create_task(supervisor.run())
    try:
        async with asyncio.timeout(SECONDS):
            yield supervisor, told
    finally:
        supervisor.stop()
        await running


def count(lives: Path) -> int:
    return len(lives.read_text()) if lives.exists() else 0


async def begun(lives: Path, number: int) -> None:
    while count(lives) < number:
        await asyncio.sleep(0.01)


def test_nothing_ends_because_nobody_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What supervisors tell goes to standard error, which may be a file on a full disk."""
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(typer, "echo", full)
    warn("worker 1 ended")
    full.assert_called_once()


async def test_a_start_anew_is_not_lost_on_another(tmp_path: Path) -> None:
    """What came while workers were started anew counts as well: who began before has it not."""
    lives = tmp_path / "lives"
    async with supervised(lives, "soon") as (supervisor, told):
        await begun(lives, 1)
        supervisor.renew()
        await asyncio.sleep(0)
        supervisor.renew()
        supervisor.renew()
        while not told:
            await asyncio.sleep(0.01)
    assert told == ["all workers were started anew"]
    assert count(lives) == 3


async def test_who_is_ready_as_it_ends_is_not_the_next_one(tmp_path: Path) -> None:
    """A worker is replaced once the new one is ready, not once the old one has said so at last."""
    lives = tmp_path / "lives"
    async with supervised(lives, "late") as (supervisor, told):
        await begun(lives, 1)
        await asyncio.sleep(0.2)
        supervisor.renew()
        await begun(lives, 2)
        await asyncio.sleep(0.2)
        assert not told


async def test_one_that_never_comes_up_ends_all() -> None:
    """After five in a row it is said which, how it ended and how often; no process is left."""
    told: list[str] = []
    command = (sys.executable, "-c", "import sys; sys.exit(1)")
    supervisor = Supervisor(command, 1, tell=told.append, pace=Pace(first=0.01))
    with pytest.raises(
        GaveUpError, match=r"worker 1 \(process \d+\) ended with .* 5 times in a row"
    ):
        await supervisor.run()
    assert len(told) == 4
    assert told[-1].endswith("ended with exit code 1: another one starts in 0.08 s")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("from busauth import Guard; bus = Guard(issuer='', audience='')", "issuer"),
        ("bas = 1", "has no 'bus'"),
        (DEVELOPMENT, "'http://127.0.0.1:8000/busauth-dev' is an issuer of `busauth dev`"),
    ],
)
async def test_what_no_start_mends_ends_all_at_once(tmp_path: Path, module: str, told: str) -> None:
    """A wrong configuration is told in a sentence, and not tried again."""
    (tmp_path / "shop.py").write_text(module)
    command = (sys.executable, "-m", "busauth", "run", "shop:bus", "--workers", "2")
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=PIPE)
    _, error = await process.communicate()
    assert process.returncode == 1
    assert told in error.decode()
    assert "busauth: worker " in error.decode()
    assert "Traceback" not in error.decode()
    assert "another one starts" not in error.decode()


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """It is told before anything begins."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = (sys.executable, "-m", "busauth", "run", "shop:bus", "--workers", "2")
        process = await asyncio.create_subprocess_exec(
            *command, "--health", str(port), cwd=tmp_path, stderr=PIPE
        )
        _, error = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in error.decode()
