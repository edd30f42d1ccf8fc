"""`busauth dev` and `busauth token`: the first minute, and somebody's own bus after it."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from busauth.cli import app
from busauth.testing import Issuer, IssuerServer
from tests.support import Broker

pytestmark = pytest.mark.processes

SECONDS = 60
SHOP = """\
import asyncio, os
from pydantic import BaseModel
from busauth import Bus, BusOptions, Caller, Guard, GuardOptions
print("pid", os.getpid())
guard = Guard(issuer="https://idp.example", audience="books", options=GuardOptions(concurrency=1))
options = BusOptions(prefetch=1, declare={declare})
bus = Bus("amqp://no.such.host/", guard=guard, service="shop", options=options)

class Book(BaseModel):
    number: int

@bus.consumer("{queue}", scopes={{"books:read"}})
async def read(book: Book, caller: Caller) -> None:
    {handles}
"""
LENDING = """
from busauth.integrations.threads import BusThread
publisher = BusThread(bus)

@bus.consumer("loans")
def lend(book: Book) -> None:
    publisher.publish("books", book, timeout=10)
"""


def shop_that(handles: str) -> str:
    """Return a shop whose queues an operator declares elsewhere, and whose handler does this."""
    return SHOP.format(queue="books", declare=False, handles=handles)


@dataclass
class Dev:
    """A running `busauth dev`, and all that it has printed."""

    process: Process
    printed: list[str] = field(default_factory=list)
    url: str = ""

    async def until(self, *wanted: str) -> str:
        """Read on to the first line in which all of this stands."""
        assert self.process.stdout
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while line := (await self.process.stdout.readline()).decode():
                    self.printed.append(line)
                    if all(each in line for each in wanted):
                        return line
        pytest.fail(f"{wanted} is not in what it printed:\n{''.join(self.printed)}")

    async def token(self, *arguments: str) -> str:
        """Return what `busauth token` prints on standard output, which is the token alone."""
        command = ("-m", "busauth", "token", *arguments, "--url", self.url)
        asked = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=PIPE, stderr=PIPE
        )
        out, _ = await asyncio.wait_for(asked.communicate(), SECONDS)
        assert re.fullmatch(rb"[\w-]+\.[\w-]+\.[\w-]+\n", out)
        return out.decode().strip()

    async def publish(self, queue: str, body: object, token: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                f"{self.url}/publish/{queue}",
                json=body,
                headers={"authorization": f"Bearer {token}"},
            )
        return answer.status_code


@asynccontextmanager
async def developing(folder: Path, *arguments: str) -> AsyncIterator[Dev]:
    """Run it in a folder, on free ports; Ctrl-C ends it, and what it started, within seconds."""
    ports = ("--port", "0", "--amqp-port", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "busauth", "dev", *arguments, *ports,
        stdout=PIPE, stderr=STDOUT, cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    dev = Dev(process)
    try:
        dev.url = (await dev.until("page    http://")).split()[1].rstrip("/")
        yield dev
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        await dev.until("Ending.")
        assert await asyncio.wait_for(process.wait(), SECONDS) == 0
        assert time.monotonic() - began < 10
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_first_minute(tmp_path: Path) -> None:
    """An order is handled, one parcel too, and the other is refused for its token's age."""
    async with developing(tmp_path) as dev:
        await dev.until("curl http://")
        token = await dev.token("alice", "--scope", "orders:write", "--lifetime", "5")
        assert await dev.publish("orders.placed", {"item": "teapot"}, token) == 202
        await dev.until("accepted", "orders.placed", "alice")
        await dev.until("handled", "parcels.due", "alice")
        await dev.until("delivered", "parcels.due", "after 7.")
        await dev.until("refused", "parcels.due", "alice", "token.expired", "past exp")
        await dev.until("dead-lettered", "parcels.due.dead")
        assert await dev.publish("orders.placed", {"item": "teapot"}, token) == 401
        await dev.until("refused", "at the edge", "token.expired")
        async with httpx.AsyncClient(trust_env=False) as http:
            shown = (await http.get(f"{dev.url}/timeline")).json()
    refused = [row for row in shown["rows"] if row["what"] == "refused"]
    assert [row["tone"] for row in refused] == ["bad", "bad"]
    assert "for development only" in dev.printed[0]
    everything = "".join(dev.printed) + str(shown)
    assert not any(part in everything for part in token.split("."))
    assert "\x1b" not in everything  # no terminal, no colours


async def test_bus_of_ones_own(tmp_path: Path) -> None:
    """A change starts it anew and loses no message; one that does not import waits for the next."""
    shop = tmp_path / "shop.py"
    waits = shop_that("await asyncio.Event().wait()")
    shop.write_text(waits)
    async with developing(tmp_path, "shop:bus") as dev:
        await dev.until("Bus of 'shop', consumes books")
        token = await dev.token("bob", "--scope", "books:read", "--claim", 'roles=["reader"]')
        for number in range(2):
            assert await dev.publish("books", {"number": number}, token) == 202
        await dev.until("accepted", "books", "bob")
        shop.write_text("import no_such_module\n")
        await dev.until("No module named 'no_such_module'")
        await dev.until("it starts again after a change")
        shop.write_text(shop_that('print("read", book, caller.roles)'))
        await dev.until("read number=0 frozenset({'reader'})")
        await dev.until("read number=1 frozenset({'reader'})")
        await dev.until("handled", "books", "bob")
        shop.write_text(waits)  # what is ended here is a handler that would never end
        pid = int((await dev.until("pid")).split()[1])
        await dev.until("Bus of 'shop', consumes books")
        assert await dev.publish("books", {"number": 2}, token) == 202
        await dev.until("accepted", "books", "bob")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_blocks_publishes_to_its_broker(tmp_path: Path) -> None:
    """A handler in a thread, by the bus that runs here, and not where that was made for."""
    shop = SHOP.format(queue="books", declare=True, handles="pass")
    (tmp_path / "shop.py").write_text(f"{shop}{LENDING}")
    async with developing(tmp_path, "shop:bus") as dev:
        await dev.until("consumes books, loans")
        token = await dev.token("bob", "--scope", "books:read")
        assert await dev.publish("loans", {"number": 7}, token) == 202
        await dev.until("handled", "books", "bob")


async def test_a_publication_that_is_never_awaited(tmp_path: Path) -> None:
    """It is told in a sentence, and each time."""
    (tmp_path / "shop.py").write_text(shop_that('bus.publish("stock", b"")'))
    async with developing(tmp_path, "shop:bus") as dev:
        await dev.until("Bus of 'shop', consumes books")
        token = await dev.token("bob", "--scope", "books:read")
        for number in range(2):
            assert await dev.publish("books", {"number": number}, token) == 202
            await dev.until("busauth: bus.publish(...) was called and never awaited", "shop.py")


async def test_broker_of_ones_own(tmp_path: Path, url: str, broker: Broker) -> None:
    """On another broker the bus tells by itself what every message met."""
    queue = broker.name("books")
    (tmp_path / "shop.py").write_text(SHOP.format(queue=queue, declare=True, handles="pass"))
    async with developing(tmp_path, "shop:bus", "--url", url) as dev:
        await dev.until("consumes", queue)
        token = await dev.token("bob")
        assert await dev.publish(queue, {"number": 0}, token) == 202
        await dev.until("refused", "bob", "books:read")


@pytest.mark.parametrize(
    "host",
    [
        *("rabbit.example", "10.0.0.5", "0.0.0.0", "[::]", "[fe80::1]", "[::ffff:10.0.0.5]"),
        *("127.0.0.1.example", "localhost.example", "2130706433", "127.1", "user:pw@rabbit"),
        *("localhost@rabbit.example", "127.0.0.1%2erabbit.example"),
    ],
)
def test_broker_elsewhere(host: str) -> None:
    """A broker that is not on this machine, by name or by address, is refused unasked."""
    result = CliRunner().invoke(app, ["dev", "--url", f"amqp://{host}/"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "--url: expected a broker on this machine" in result.stderr
    assert "pw" not in result.stderr


@pytest.mark.parametrize("option", ["--port", "--amqp-port"])
def test_port_that_is_taken(option: str) -> None:
    """Who else listens there is not disturbed; a sentence says which option helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--port": "0", "--amqp-port": "0", option: str(taken.getsockname()[1])}
        command = ["dev", *(each for pair in ports.items() for each in pair)]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert f"Try {option}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["alice", "--url", "http://127.0.0.1:1"], "start `busauth dev` first"),
        (["alice", "--url", "http://issuer.example"], "expected http:// and loopback"),
        (["alice", "--url", "https://127.0.0.1:1"], "expected http:// and loopback"),
        (["alice", "--url", "http://127.0.0.1"], "nothing answers at 127.0.0.1: start"),
        (["alice", "--claim", "roles"], "expected NAME=VALUE"),
        (["alice", "--claim", "level=NaN"], "are no JSON: expected another --lifetime or --claim"),
        (["alice", "--lifetime", "inf"], "are no JSON: expected another --lifetime or --claim"),
        (["\udcff"], "is no text: expected UTF-8"),
    ],
)
def test_no_token(arguments: list[str], said: str) -> None:
    """Where there is no token to be had, nothing is printed where one would be taken from."""
    result = CliRunner().invoke(app, ["token", *arguments])
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([], "is no `busauth dev`"),
        (1, "is no `busauth dev`"),
        ({"keys": []}, "is no `busauth dev`"),
        ({"error_description": "\x1b]0;"}, r"'\x1b]0;'"),
        ({"access_token": "\x1b]0;"}, "it answered 200"),
        ({"access_token": 1}, "it answered 200"),
    ],
)
def test_what_listens_there_is_somebody_elses(answer: Any, said: str) -> None:
    """Whatever it answers, nothing of it is a token or steers a terminal."""
    with IssuerServer(Issuer()) as server:
        server.replies["/mint"] = (200, json.dumps(answer).encode())
        url = f"http://127.0.0.1:{server.port}"
        result = CliRunner().invoke(app, ["token", "alice", "--url", url])
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "\x1b" not in result.stderr


async def test_a_signal_is_heard_while_a_broker_does_not_answer(tmp_path: Path) -> None:
    """Ctrl-C ends it at once, and nothing is told of a broker that nobody waits for any more."""
    arrived = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"amqp://127.0.0.1:{mute.sockets[0].getsockname()[1]}/"
    command = ("-m", "busauth", "dev", "shop:bus", "--url", url, "--port", "0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=tmp_path, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(SECONDS), mute:
        await arrived.wait()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        told, _ = await process.communicate()
    assert (process.returncode, told) == (0, b"")
    assert time.monotonic() - began < 5


def test_no_bus() -> None:
    """What names no bus is told before anything starts."""
    result = CliRunner().invoke(app, ["dev", "shop"])
    assert result.exit_code == 2
    assert "MODULE:BUS" in result.stderr
