"""`busauth console` on a broker: it shows what is there, and moves nothing."""

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from busauth import DeadLetter
from busauth._amqp.resending.look import held
from busauth._amqp.resending.records import Record, recording
from busauth.integrations.console import BrokerSource, console
from busauth.letters import look
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.tokens import TokenEncryption
from tests.desk import KEY, LATE, Desk
from tests.parties import Scene
from tests.unit.consoling import sign_in

KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that shows what the machine shows once `LATE` seconds have passed."""
    return ManualClock(time.time() - LATE)


@pytest.fixture
def issuer_in_time(clock: ManualClock) -> Iterator[Issuer]:
    """An issuer whose keys the command fetches."""
    with IssuerServer(Issuer(clock=clock)) as server:
        yield server.issuer


@pytest.fixture
def desk(scene: Scene, tmp_path: Path) -> Desk:
    desk = Desk(scene, tmp_path, scene.broker.name("orders"))
    desk.write()
    return desk


async def test_it_shows_what_is_there_and_leaves_it(desk: Desk) -> None:
    """Letters, runs and instances of a broker; the letters stay in order, their tokens unread."""
    url, queue = desk.scene.broker.url, desk.queue
    await desk.late(KEEPING, "ann", "bob", "ann")
    before = (await look(url, f"{queue}.dead")).letters
    record = Record(
        run="r", kind="begun", at=time.time(), queue=queue, source=f"{queue}.dead", by="ines@ops"
    )
    async with recording(url, queue) as recorder:
        await recorder.write(record)
    source = BrokerSource(url, bodies=True)
    app = console(source, queues=[queue], hosts=["localhost:80"], guard=None, bodies="bodies")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:80") as client:
        paths = ["/", "/letters", "/plan", "/history"]
        paths += [f"/letters/one?queue={queue}&letter={each.id}" for each in before]
        headers = {"host": "localhost:80"}
        pages = [await client.get(path, headers=headers) for path in paths]
    await source.close()
    assert [page.status_code for page in pages] == [200] * len(paths)
    assert "token.expired" in pages[1].text
    assert "ines@ops" in pages[3].text
    assert "kept, encrypted for its consumer" in pages[4].text
    kept = [str(each.headers["busauth-token"]) for each in before]
    served = "".join(page.text + str(page.headers) for page in pages)
    assert not [each for token in kept for each in token.split(".") if each and each in served]
    after = (await look(url, f"{queue}.dead")).letters
    assert [each.id for each in after] == [each.id for each in before]


async def test_it_serves_until_a_signal(desk: Desk, issuer_in_time: Issuer) -> None:
    """In a process of its own: who signs in looks, and a signal ends it in order."""
    await desk.late(KEEPING, "ann")
    command = ["-m", "busauth", "console", "--settings", str(desk.settings), "--port", "0"]
    command += ["--queue", desk.queue, "--url", desk.scene.broker.url, "--json"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    now = int(time.time())
    token = issuer_in_time.token(
        "ines", aud="busauth-console", scope="console:read", iat=now, exp=now + 60
    )
    async with httpx.AsyncClient(base_url=told["url"]) as client:
        assert (await client.get("/letters")).headers["location"] == "/sign-in"
        assert (await sign_in(client, token)).status_code == 303
        page = await client.get("/letters")
        rebound = await client.get("/", headers={"host": "rebound.example"})
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert "token.expired" in page.text
    assert rebound.status_code == 403
    assert "server" not in page.headers
    assert (told["sign_in"], desk.queue in told["queues"]) == (True, True)


async def test_instances_are_followed(desk: Desk) -> None:
    """What a service tells of itself on the audit stream is seen, and what it tells later."""
    stream = f"{desk.queue}.history"  # deleted with the queue
    source = BrokerSource(desk.scene.broker.url, stream=stream)
    status = {"kind": "status", "service": "orders", "instance": "a", "at": time.time()}
    async with await desk.scene.broker.connection.channel() as channel:
        arguments = {"x-queue-type": "stream"}
        await channel.declare_queue(stream, durable=True, arguments=arguments)
    await desk.scene.broker.publish(stream, json.dumps(status).encode())
    async with asyncio.timeout(30):
        while not (seen := await source.instances()):
            await asyncio.sleep(0.05)
        await desk.scene.broker.publish(
            stream, json.dumps({**status, "at": time.time() + 1, "feed_age": 7}).encode()
        )
        while (seen := await source.instances())[0].feed_age is None:
            await asyncio.sleep(0.05)
    await source.close()
    assert [(each.service, each.instance, each.feed_age) for each in seen] == [("orders", "a", 7.0)]


async def test_what_somebody_holds_is_waited_for(desk: Desk) -> None:
    """While a redrive or another look has the letters, it does not say that there are none."""
    await desk.late(KEEPING, "ann", "bob")
    source = BrokerSource(desk.scene.broker.url)
    async with held(desk.scene.broker.url, f"{desk.queue}.dead") as waiting:
        assert len([message async for message in waiting]) == 2
        looking = asyncio.create_task(source.letters(desk.queue))
        await asyncio.wait([looking], timeout=1)
        assert not looking.done()
    assert len(await looking) == 2
