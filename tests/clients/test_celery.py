"""Celery: a worker as the command starts it, with its pool of processes, and a client of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import AccessRefused  # type: ignore[import-untyped]
from celery.exceptions import TaskRevokedError  # type: ignore[import-untyped]
from kombu import pools

from scripts.broker.process import until
from tests.clients import celery_app
from tests.clients.serving import KINDS, Remote, serving_apart

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


@contextmanager
def client(url: str, prefix: str) -> Iterator[Any]:
    """An application whose connections are closed, which Celery leaves to the process's end."""
    with celery_app.application(url, prefix) as app:
        try:
            yield app
        finally:
            if app.backend.result_consumer._connection is not None:
                app.backend.result_consumer.stop()
            pools.reset()  # type: ignore[no-untyped-call]


@contextmanager
def worker(
    url: str, prefix: str, name: str, folder: Path, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker; it and its pool are gone afterwards, whatever happens."""
    environment = os.environ | {celery_app.BROKER: url, celery_app.PREFIX: prefix}
    command = ["-m", "celery", "-A", celery_app.__name__, "worker", "-n", name, "-c", "1", "-E"]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--loglevel", "INFO", *options],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        await_log(folder, name, "ready.")
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_log(folder: Path, name: str, text: str, count: int = 1) -> None:
    log = folder / f"{name}.log"
    if not until(lambda: log.read_text().count(text) >= count, SECONDS):
        pytest.fail(f"{name} did not say {text!r}: {log.read_text()}")


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest) -> Iterator[Remote]:
    """A broker for all tests here: a worker takes a while to start."""
    with serving_apart(request.param) as remote:
        yield remote


def prefix_on(remote: Remote, name: str) -> str:
    """What a worker's names begin with; they are deleted at the end."""
    for each in ("q", "event", "control.pidbox"):
        remote.name(f"{name}.{each}")
    prefix = f"{remote.server.prefix}.{name}"
    remote.server.names.append(f"reply.{prefix}.control.pidbox")
    return prefix


@pytest.fixture(scope="module")
def prefix(shared: Remote) -> str:
    return prefix_on(shared, "shared")


@pytest.fixture(scope="module")
def app(shared: Remote, prefix: str) -> Iterator[Any]:
    with client(shared.url, prefix) as app:
        yield app


@pytest.fixture(scope="module")
def first(shared: Remote, prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A worker that several tests use; its log."""
    folder = tmp_path_factory.mktemp("first")
    with worker(shared.url, prefix, "first", folder):
        yield folder / "first.log"


def test_wrong_password(shared: Remote, prefix: str) -> None:
    """A client with a wrong password is told so."""
    with (
        client(shared.wrong_password, prefix) as app,
        pytest.raises(AccessRefused),
    ):
        app.send_task("add", (1, 2), retry=False)


@pytest.mark.usefixtures("first")
def test_results(app: Any) -> None:
    """Tasks are run by the worker, and their results and errors come back."""
    results = [app.send_task("add", (number, 1)) for number in range(20)]
    assert [result.get(timeout=SECONDS) for result in results] == list(range(1, 21))
    with pytest.raises(ValueError, match="out of stock"):
        app.send_task("fail", ("out of stock",)).get(timeout=SECONDS)


@pytest.mark.usefixtures("first")
def test_retry(app: Any) -> None:
    """A task that retries with a countdown is run again until it succeeds."""
    assert app.send_task("flaky", (2,)).get(timeout=SECONDS) == [2, False]


@pytest.mark.usefixtures("first")
def test_eta(app: Any) -> None:
    """A task with an instant to be run at waits for it, and others pass it meanwhile."""
    eta = datetime.now(UTC) + timedelta(seconds=0.5)
    late = app.send_task("add", (1, 2), eta=eta)
    soon = [app.send_task("add", (1, number)) for number in range(5)]
    assert [result.get(timeout=SECONDS) for result in soon] == [1, 2, 3, 4, 5]
    assert late.get(timeout=SECONDS) == 3
    assert late.date_done >= eta


@pytest.mark.usefixtures("first")
def test_expires(app: Any) -> None:
    """A task that expired is not run."""
    result = app.send_task("add", (1, 2), expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(TaskRevokedError):
        result.get(timeout=SECONDS)


@pytest.mark.usefixtures("first")
def test_large_arguments(app: Any) -> None:
    """Arguments and results of many frames arrive whole."""
    large = "x" * 300_000
    assert app.send_task("add", (large, large)).get(timeout=SECONDS) == large * 2


@pytest.mark.usefixtures("first")
def test_remote_control(app: Any, prefix: str) -> None:
    """The worker answers what is broadcast to all of them."""
    assert app.control.ping(limit=1, timeout=SECONDS) == [{"celery@first": {"ok": "pong"}}]
    (queues,) = app.control.inspect(limit=1, timeout=SECONDS).active_queues().values()
    assert [queue["name"] for queue in queues] == [f"{prefix}.q"]


@pytest.mark.usefixtures("first")
def test_lost_worker(app: Any, shared: Remote, prefix: str, tmp_path: Path) -> None:
    """A late-acknowledged task of a killed worker is run by another one, as redelivered."""
    marker, queue = tmp_path / "started", shared.name("shared.lost")
    with worker(shared.url, prefix, "lost", tmp_path, "-Q", queue):
        await_log(tmp_path, "lost", "mingle: sync with 1 nodes")
        result = app.send_task("once", (str(marker),), queue=queue)
        assert until(marker.exists, SECONDS)
    app.control.add_consumer(queue, destination=["celery@first"])
    assert result.get(timeout=SECONDS) is True


def test_cut(remote: Remote, tmp_path: Path) -> None:
    """A worker that was cut connects again by itself, and works on."""
    prefix = prefix_on(remote, "cut")
    with (
        remote.cuttable() as (url, cut),
        worker(url, prefix, "cut", tmp_path, "--without-mingle"),
    ):
        cut()
        await_log(tmp_path, "cut", "Connection to broker lost")
        await_log(tmp_path, "cut", "Connected to", count=2)
        with client(remote.url, prefix) as app:
            assert app.send_task("add", (1, 2)).get(timeout=SECONDS) == 3
