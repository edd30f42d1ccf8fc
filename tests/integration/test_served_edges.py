"""Applications as they are served: uvicorn, sockets, clients that go away, a signal."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from aio_pika.abc import AbstractIncomingMessage
from fastapi import BackgroundTasks
from starlette.applications import Starlette

from busauth import Bus, Caller
from busauth.caller import Lease, current_lease
from busauth.integrations.httpx import CallerAuth
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.support import Trail, guard_for
from tests.unit.edges import EDGES, Make, bearer_of

pytestmark = [pytest.mark.processes, pytest.mark.parametrize("edge", EDGES)]
SECONDS = 20

PROGRAM = """
import asyncio, json, logging, sys
import uvicorn
from busauth import Bus, Guard, StaticKeys, Verifier
from tests.unit import edges

logging.basicConfig(stream=sys.stdout, level=logging.WARNING)
logging.getLogger("busauth").setLevel(logging.INFO)
make, url, issuer, keys = sys.argv[1:]
verifier = Verifier(StaticKeys(json.loads(keys)), issuer=issuer, audience="shop")
bus = Bus(url, guard=Guard(verifier), service="edge")

async def job(caller, tasks):
    await bus.publish("steps", b"began")
    await asyncio.to_thread(sys.stdin.readline)
    await bus.publish("steps", b"done")
    return caller.subject

app = getattr(edges, make)(bus, job, bus)
server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
startup = server.startup

async def told(sockets=None):
    await startup(sockets)
    print("port", server.servers[0].sockets[0].getsockname()[1], flush=True)

server.startup = told
server.run()
"""


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serve an application on a port of its own, in this process; return its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def steps(bus: Bus) -> asyncio.Queue[tuple[str, str]]:
    """Have a bus consume; return what it is told, and by whom."""
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    @bus.consumer("steps")
    async def step(message: AbstractIncomingMessage, caller: Caller) -> None:
        heard.put_nowait((message.body.decode(), caller.subject))

    return heard


async def test_a_chain_of_services_over_sockets(edge: Make, issuer: Issuer) -> None:
    """A request's caller goes on over HTTP to a declared service, and from there onto the bus."""
    async with EmbeddedBroker() as broker, asyncio.timeout(SECONDS):
        bus = Bus(broker.url, guard=guard_for(issuer, Trail()), service="stock")
        heard = steps(bus)

        async def reserve(caller: Caller, tasks: BackgroundTasks) -> str:
            await bus.publish("steps", b"reserved")
            return caller.subject

        async with served(edge(bus, reserve, bus)) as stock:
            auth = CallerAuth([f"http://{stock}"])

            async def order(caller: Caller, tasks: BackgroundTasks) -> str:
                async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
                    answer = await client.post(f"http://{stock}/orders")
                return f"{answer.status_code} {answer.json()}"

            async with (
                served(edge(guard_for(issuer, Trail()), order)) as shop,
                httpx.AsyncClient(base_url=f"http://{shop}", trust_env=False) as client,
            ):
                for name in ("ann", "bob"):
                    answer = await client.post("/orders", headers=bearer_of(issuer, name))
                    assert answer.json() == f"200 {name}"
                    assert await heard.get() == ("reserved", name)


async def test_a_client_that_goes_away(edge: Make, issuer: Issuer) -> None:
    """The route ends as its caller's, and nothing of them is left on the server's connection."""
    leases: list[Lease] = []
    begun, gone, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def job(caller: Caller, tasks: BackgroundTasks) -> str:
        leases.append(current_lease())
        if caller.subject == "ann":
            begun.set()
            await gone.wait()
            over.set()
        return f"{caller.subject} {current_lease().token() == caller.bearer()}"

    async with (
        asyncio.timeout(SECONDS),
        served(edge(guard_for(issuer, Trail()), job)) as address,
    ):
        _, writer = await asyncio.open_connection(*address.split(":"))
        bearer = bearer_of(issuer)["authorization"]
        head = f"POST /orders HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n"
        writer.write(f"{head}content-length: 0\r\n\r\n".encode())
        await begun.wait()
        writer.transport.abort()
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            answer = await client.post("/orders", headers=bearer_of(issuer, "bob"))
        assert answer.json() == "bob True"
        gone.set()
        await over.wait()
    assert [repr(lease) for lease in leases] == ["<Lease ended>"] * 2


async def test_the_next_request_of_a_connection_is_nobodys(edge: Make, issuer: Issuer) -> None:
    """A server may begin a pipelined request in the context of the one before: it is as empty."""

    async def job(caller: Caller, tasks: BackgroundTasks) -> str:
        return caller.subject

    async with (
        asyncio.timeout(SECONDS),
        served(edge(guard_for(issuer, Trail()), job)) as address,
    ):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        bearer = bearer_of(issuer)["authorization"]
        first = f"POST /orders HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n"
        last = "GET /whoever HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        writer.write(f"{first}content-length: 0\r\n\r\n{last}".encode())
        answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
        writer.close()
    assert [answer[:3] for answer in answers] == [b"200", b"200"]
    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [b'"ann"', b"false"]


async def test_a_signal_lets_requests_end_and_then_drains(edge: Make, issuer: Issuer) -> None:
    """What was asked before SIGTERM is published and answered; the bus has stopped at the end."""
    async with EmbeddedBroker() as broker, asyncio.timeout(SECONDS):
        bus = Bus(broker.url, guard=guard_for(issuer, Trail()), service="steps")
        heard = steps(bus)
        async with bus:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, edge.__name__, broker.url, issuer.url,
                json.dumps(issuer.jwks()),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                while not (line := await process.stdout.readline()).startswith(b"port "):
                    assert line, "it serves"
                port = int(line.split()[1])
                base = f"http://127.0.0.1:{port}"
                async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
                    assert (await client.get("/ready")).text == "ready"
                    asking = asyncio.create_task(
                        client.post("/orders", headers=bearer_of(issuer), timeout=SECONDS)
                    )
                    assert await heard.get() == ("began", "ann")
                    process.send_signal(signal.SIGTERM)
                    process.stdin.write(b"go on\n")
                    assert await heard.get() == ("done", "ann")
                    assert (await asking).json() == "ann"
                rest = await process.stdout.read()
                assert await process.wait() == -signal.SIGTERM  # as uvicorn ends, once all is done
                assert rest.splitlines()[-1].endswith(b"edge: stopped")
            finally:
                if process.returncode is None:
                    process.kill()
