"""`busauth broker`: the embedded broker as a command."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq
import pytest
from pamqp.commands import Queue
from typer.testing import CliRunner, Result
from yarl import URL

from busauth.cli import app
from tests.conformance.client import ConnectionClosed, RawConnection

pytestmark = pytest.mark.processes

SECONDS = 60


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "busauth", *arguments, stdout=PIPE, stderr=PIPE
    )


def refused(*arguments: str) -> Result:
    """Run what ends before it serves, in this process; it prints nothing but an error."""
    result = CliRunner().invoke(app, arguments)
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    return result


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[tuple[Process, str]]:
    """Run a broker on a free port; its URL is the first thing that it prints."""
    process = await start("broker", "--port", "0", *arguments)
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
        assert line.startswith(b"amqp://"), await process.communicate()
        yield process, line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def outcome(process: Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal(number: signal.Signals) -> None:
    """It serves until a signal, then closes its connections with a word and ends with 0."""
    async with serving() as (process, url), RawConnection(url) as connection:
        await (await connection.channel()).call(Queue.Declare(queue="q"))
        process.send_signal(number)
        with pytest.raises(ConnectionClosed, match="shutdown") as closed:
            await connection.replies.get(seconds=SECONDS)
        assert closed.value.code == 320
        code, out, err = await outcome(process)
        assert (code, out) == (0, "")
        assert "Traceback" not in err


async def test_nothing_is_kept() -> None:
    """It says that nothing outlives it, and at its end how many messages are gone with it."""
    async with serving() as (process, url):
        async with await aiormq.connect(url) as connection:
            channel = await connection.channel()
            await channel.queue_declare("q", durable=True)
            await channel.basic_publish(b"x", routing_key="q")
            await channel.basic_publish(b"y", routing_key="q")
        process.terminate()
        code, _, err = await outcome(process)
    assert code == 0
    first, last = err.splitlines()
    assert "gone when it ends" in first
    assert "2 messages" in last


async def test_taken_port() -> None:
    """A taken port is one sentence that says what to do, and exit code 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = await outcome(await start("broker", "--port", str(port)))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"127.0.0.1:{port}" in err
    assert "--port 0" in err


async def test_address() -> None:
    """It listens where it is told to; this machine's own names and addresses need no users."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with serving("--host", "localhost", "--port", str(port)) as (_, url):
        assert (URL(url).host, URL(url).port) == ("localhost", port)
        await (await aiormq.connect(url)).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "host.example"])
def test_open_to_others(host: str) -> None:
    """Others than this machine get in by name and password only, never as guest."""
    result = refused("broker", "--port", "0", "--host", host)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "--user" in result.stderr


def test_no_host() -> None:
    """A name that no host can have is told as one that is taken would be."""
    result = refused("broker", "--port", "0", "--host", "a..b", "--user", "ann:secret")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "--host a..b: no host can have that name" in result.stderr


async def test_open_to_named_users() -> None:
    """With users it may listen everywhere."""
    async with serving("--host", "0.0.0.0", "--user", "ann:secret") as (_, url):
        await (await aiormq.connect(str(URL(url).with_host("127.0.0.1")))).close()


async def test_users_and_vhosts() -> None:
    """Named users get into named virtual hosts and into /; guest does not."""
    options = ("--user", "ann:se:cret", "--user", "bob:", "--vhost", "shop", "--vhost", "a/b")
    async with serving(*options) as (_, url):
        assert (URL(url).user, URL(url).password) == ("ann", "se:cret")
        at = f"127.0.0.1:{URL(url).port}"
        for login in ("ann:se%3Acret", "bob:"):
            for vhost in ("", "shop", "a%2Fb"):
                async with RawConnection(f"amqp://{login}@{at}/{vhost}"):
                    pass
        with pytest.raises(aiormq.exceptions.ProbableAuthenticationError):
            await aiormq.connect(f"amqp://guest:guest@{at}/")


@pytest.mark.parametrize("user", ["ann", ":secret"])
def test_user_without_a_password(user: str) -> None:
    """A user is a name, a colon and a password, and the password is never told."""
    result = refused("broker", "--port", "0", "--user", user)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "NAME:PASSWORD" in result.stderr
    assert "secret" not in result.stderr


async def test_memory() -> None:
    """Publishers have to wait once it holds as much as it may; it ends all the same."""
    async with serving("--memory", "1") as (process, url), RawConnection(url) as connection:
        channel = await connection.channel()
        await channel.call(Queue.Declare(queue="q"))
        for _ in range(3):
            channel.publish(b"x" * 2**19, "q")
        assert "memory" in (await connection.blocked.get(seconds=SECONDS)).reason
        process.terminate()
        assert (await outcome(process))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--help",), "broker"),
        (("broker", "--help"), "in memory"),
        (("--version",), "busauth "),
        *(
            ((*name, "--help"), "Exit codes: 0 done;")
            for name in ((), ("release",), ("letters", "redrive"))
        ),
    ],
)
def test_help(arguments: tuple[str, ...], text: str) -> None:
    """It tells what it does, and its version."""
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert text in result.stdout


@pytest.mark.parametrize(
    "arguments", [("--port", "65536"), ("--port", "x"), ("--memory", "0"), ("--nonsense",)]
)
def test_usage(arguments: tuple[str, ...]) -> None:
    """What it cannot read is a usage error with exit code 2."""
    result = refused("broker", *arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
