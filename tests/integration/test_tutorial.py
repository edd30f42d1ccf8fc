"""The tutorial, typed as it stands: its services run under `busauth dev`, and its tests pass."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.blocks import in_pages, modules
from tests.integration.test_dev_command import SECONDS, Dev, developing
from tests.support import amqp_url

BLOCKS = in_pages()["docs/tutorial.md"]
MODULES = modules(BLOCKS)
SCOPES = "orders:write payments:charge"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What its reader has saved by the last step."""
    for language, name in (("toml", "busauth.toml"), ("ini", "pytest.ini")):
        (text,) = (block.code for block in BLOCKS if block.language == language)
        (tmp_path / name).write_text(text)
    for name, texts in MODULES.items():
        (tmp_path / name).write_text(texts[-1])
    return tmp_path


@asynccontextmanager
async def ordering(folder: Path, dev: Dev, broker: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the edge by uvicorn, told by its variables where `busauth dev` is."""
    surroundings = {"BUSAUTH_ISSUER": f"{dev.url}/busauth-dev", "BUSAUTH_BUS__URL": broker}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "uvicorn", "edge:app", "--port", "0", "--reset-contextvars"),
        stdout=PIPE, stderr=STDOUT, cwd=folder, env={**os.environ, **surroundings},
    )  # fmt: skip
    try:
        line = await Dev(process).until("Uvicorn running on")
        url = re.search(r"http://[\d.:]+", line)
        assert url
        async with httpx.AsyncClient(base_url=url[0], trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), SECONDS)


async def order(edge: httpx.AsyncClient, token: str) -> int:
    bearer = {"authorization": f"Bearer {token}"}
    placed = {"id": 1, "item": "teapot"}
    return (await edge.post("/orders", json=placed, headers=bearer)).status_code


@pytest.mark.processes
async def test_three_services_in_development(folder: Path) -> None:
    """An order is paid; without a scope it is not; one that waits for too long is refused."""
    payments = folder / "payments.py"
    first, _ = MODULES["payments.py"]  # the last one is what its tests are of
    payments.write_text(first)
    async with developing(folder, "payments:bus", "orders:bus") as dev:
        broker = (await dev.until("broker", "amqp://")).split()[1]
        for _ in range(2):
            await dev.until("consumes", "it takes this issuer's tokens")
        async with ordering(folder, dev, broker) as edge:
            assert await order(edge, await dev.token("ann", "--scope", SCOPES)) == 202
            await dev.until("accepted", "orders.placed", "ann")
            await dev.until("handled", "payments.requested", "ann")
            assert "charged ann 2900 cents for order 1\n" in dev.printed
            assert await order(edge, await dev.token("ann", "--scope", "orders:write")) == 202
            await dev.until("refused", "payments.requested", "ann", "caller.scope")

            payments.write_text(f"1 / 0\n{first}")
            await dev.until("payments:bus ended with 1; it starts again after a change")
            late = await dev.token("ann", "--scope", SCOPES, "--lifetime", "5")
            assert await order(edge, late) == 202
            await dev.until("queued", "payments.requested")
            async with asyncio.timeout(SECONDS):  # no queue takes it, while the token counts
                while await dev.publish("nobody.consumes.this", {}, late) != 401:
                    await asyncio.sleep(0.1)
            payments.write_text(first)
            await dev.until("refused", "payments.requested", "ann", "token.expired")


@pytest.mark.processes
@pytest.mark.alone
@pytest.mark.parametrize(
    "broker", ["embedded", pytest.param("rabbitmq", marks=pytest.mark.reference)]
)
async def test_its_tests(folder: Path, broker: str) -> None:
    """The tests that the tutorial ends with pass, on either broker."""
    given = (f"--busauth-broker={broker}", "--busauth-vhost=shared", "--strict-markers", "-v")
    where = {"BUSAUTH_AMQP_URL": amqp_url()} if broker == "rabbitmq" else {}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", *given,
        stdout=PIPE, stderr=STDOUT, cwd=folder, env={**os.environ, **where},
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, out.decode()
    passed, skipped = (out.decode().count(word) for word in (" PASSED", " SKIPPED"))
    assert (passed, skipped) == ((12, 0) if broker == "embedded" else (11, 1))
