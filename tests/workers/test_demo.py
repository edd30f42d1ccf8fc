"""The demo as a whole, against a real broker."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from workers.demo.scenes import SCENES

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def kill_group(process: Process) -> bool:
    """Kill what is left of the demo and its services; return whether there was anything."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        return True
    return False


@pytest.fixture
async def demo(url: str) -> AsyncIterator[Process]:
    """The demo in a process group of its own, so that its services can be counted."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.demo",
        cwd=ROOT, env={**os.environ, "BUSAUTH_AMQP_URL": url}, stdout=PIPE, stderr=STDOUT,
        start_new_session=True,
    )  # fmt: skip
    yield process
    kill_group(process)
    await process.communicate()


@pytest.mark.timeout(90)
async def test_every_scene_goes_as_expected(demo: Process) -> None:
    """The demo exits with 0, shows every scene as equal, and no token, and leaves no process."""
    shown = (await demo.communicate())[0].decode()
    verdicts = [line.split()[-1] for line in shown.splitlines() if line.strip().endswith("equal")]
    assert demo.returncode == 0, shown
    assert len(verdicts) == len(SCENES), shown
    assert "DIFFERS" not in shown
    assert "eyJ" not in shown
    assert f"All {len(SCENES)} scenes went as expected" in shown
    assert not kill_group(demo)


@pytest.mark.timeout(60)
async def test_a_demo_that_is_told_to_stop_leaves_nothing(demo: Process) -> None:
    """SIGTERM in the middle of a scene ends every service, and says nothing of success."""
    assert demo.stdout is not None
    async for line in demo.stdout:
        if b"payments is paused" in line:
            break
    demo.terminate()
    rest = (await demo.communicate())[0].decode()
    assert demo.returncode == 128 + signal.SIGTERM, rest
    assert "as expected" not in rest
    assert not kill_group(demo)


@pytest.mark.timeout(60)
async def test_a_missing_broker_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker the demo fails and says what it looked for."""
    monkeypatch.setenv("BUSAUTH_AMQP_URL", "amqp://127.0.0.1:1/")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.demo", cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"no broker answers at BUSAUTH_AMQP_URL" in said
    assert b"Traceback" not in said
