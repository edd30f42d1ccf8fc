"""amqp-tools: the C library's commands, each a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from scripts.broker.process import until
from scripts.programs import missing
from tests.clients.serving import Remote

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20


@pytest.fixture(autouse=True)
def _installed() -> None:
    if "amqp-tools" in missing():
        pytest.fail("no amqp-tools: run `python -m scripts.programs`", pytrace=False)


def whole(url: str) -> str:
    """The URL with its virtual host spelled out: to this library, `/` alone is none."""
    return f"{url}%2F" if url.endswith("/") else url


def run(
    command: str, url: str, *arguments: str, body: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [f"amqp-{command}", "--url", whole(url), *arguments],
        input=body,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def done(command: str, url: str, *arguments: str, body: bytes = b"") -> bytes:
    """Run a command that has to succeed; its output."""
    result = run(command, url, *arguments, body=body)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def queue(remote: Remote) -> str:
    queue = remote.name()
    assert done("declare-queue", remote.url, "-q", queue, "-d") == f"{queue}\n".encode()
    return queue


@contextmanager
def consuming(url: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a consumer; it and its command are gone afterwards."""
    process = subprocess.Popen(
        ["amqp-consume", "--url", whole(url), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("attribute", "text"), [("wrong_password", "ACCESS_REFUSED"), ("wrong_vhost", "nowhere")]
)
def test_refused(remote: Remote, attribute: str, text: str) -> None:
    """A wrong password and a wrong virtual host are told with the broker's words."""
    result = run("get", getattr(remote, attribute), "-q", "q")
    assert result.returncode == 1
    assert text in result.stderr.decode()


def test_publish_and_get(remote: Remote, queue: str) -> None:
    """What is published is got once; an empty queue is exit code 2."""
    arguments = ("-r", queue, "-p", "-C", "text/plain", "-H", "kind: order")
    done("publish", remote.url, *arguments, "-b", "hello")
    assert done("get", remote.url, "-q", queue) == b"hello"
    assert run("get", remote.url, "-q", queue).returncode == 2


def test_server_named(remote: Remote) -> None:
    """A queue without a name gets one from the broker, and is deleted by it."""
    name = done("declare-queue", remote.url, "-q", "").decode().strip()
    assert name.startswith("amq.gen-")
    assert done("delete-queue", remote.url, "-q", name) == b"0\n"


def test_declared_otherwise(remote: Remote, queue: str) -> None:
    """A queue declared otherwise is told as a failed precondition."""
    result = run("declare-queue", remote.url, "-q", queue)
    assert (result.returncode, b"PRECONDITION_FAILED" in result.stderr) == (1, True)


def test_delete(remote: Remote, queue: str) -> None:
    """A queue with messages is deleted, unless only an empty one may be; then it is gone."""
    done("publish", remote.url, "-r", queue, "-b", "x")
    assert b"not empty" in run("delete-queue", remote.url, "-q", queue, "-e").stderr
    assert done("delete-queue", remote.url, "-q", queue) == b"1\n"
    assert b"NOT_FOUND" in run("get", remote.url, "-q", queue).stderr


def test_large_body(remote: Remote, queue: str) -> None:
    """A body of many frames arrives whole."""
    body = bytes(range(256)) * 4_000
    done("publish", remote.url, "-r", queue, body=body)
    assert done("get", remote.url, "-q", queue) == body


def test_consume(remote: Remote, queue: str) -> None:
    """A consumer with a prefetch runs its command for each message and acknowledges it."""
    done("publish", remote.url, "-r", queue, "-l", body=b"1\n2\n3\n")
    assert done("consume", remote.url, "-q", queue, "-p", "1", "-c", "3", "cat") == b"1\n2\n3\n"
    assert run("get", remote.url, "-q", queue).returncode == 2


def test_exchange(remote: Remote) -> None:
    """A consumer with a queue of its own gets what is published to its exchange."""
    key = remote.server.prefix
    with consuming(
        remote.url, "-x", "-e", "amq.topic", "-r", f"{key}.*", "-c", "1", "cat"
    ) as process:
        assert process.stderr
        assert b"amq.gen-" in process.stderr.readline()

        def came() -> bool:
            done("publish", remote.url, "-e", "amq.topic", "-r", f"{key}.x", "-b", "x")
            return process.poll() is not None

        assert until(came, SECONDS)
        assert process.stdout
        assert process.stdout.read() == b"x"


def test_given_back(remote: Remote, queue: str) -> None:
    """What a killed consumer held comes again."""
    done("publish", remote.url, "-r", queue, "-b", "x")
    slow = ("--", "sh", "-c", "echo started; sleep 600")
    with consuming(remote.url, "-q", queue, *slow) as process:
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
    assert until(lambda: run("get", remote.url, "-q", queue).stdout == b"x", SECONDS)


def test_cut(remote: Remote) -> None:
    """A consumer that is cut ends, and says that its connection is gone."""
    queue = remote.name("cut")
    done("declare-queue", remote.url, "-q", queue, "-d")
    done("publish", remote.url, "-r", queue, "-b", "x")
    with (
        remote.cuttable() as (url, cut),
        consuming(url, "-q", queue, "--heartbeat", "10", "cat") as process,
    ):
        assert process.stdout
        assert process.stdout.read(1) == b"x"
        cut()
        assert process.wait(SECONDS) == 1
        assert process.stderr
        assert re.search(rb"closed unexpectedly|a socket error", process.stderr.read())


def test_script(tmp_path: Path) -> None:
    """Where the commands are missing and cannot be installed, one sentence says what to do."""
    result = subprocess.run(
        [sys.executable, "-m", "scripts.programs"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "apt-get install amqp-tools" in result.stderr
