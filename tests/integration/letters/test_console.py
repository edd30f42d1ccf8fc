"""`busauth console` on a broker: it shows what is there, and moves nothing."""

import asyncio
import html
import json
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import httpx
import pytest

from busauth import Bus, Caller, DeadLetter, Grace, Guard
from busauth._amqp.resending.look import held
from busauth._amqp.resending.records import Record, recording
from busauth.integrations.console import BrokerSource, console
from busauth.letters import KeptToken, Redrive, look
from busauth.sinks import AuditStream, every
from busauth.testing import Issuer
from busauth.tokens import TokenEncryption
from tests.desk import KEY, Desk
from tests.integration.test_plan import Shop, lay, run
from tests.parties import Scene
from tests.support import guard_for
from tests.unit.consoling import sign_in

KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))


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


async def test_a_broker_that_does_not_answer_is_no_empty_stream(desk: Desk) -> None:
    """Where nobody says anything, it does not say that no service has told of itself."""
    writers = list[asyncio.StreamWriter]()
    server = asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    async with await server as mute:
        port = mute.sockets[0].getsockname()[1]
        source = BrokerSource(f"amqp://127.0.0.1:{port}/")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await source.instances()
        await source.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_what_somebody_holds_is_waited_for(desk: Desk) -> None:
    """While a redrive or another look has the letters, it does not say that there are none."""
    await desk.late(KEEPING, "ann", "bob")
    source = BrokerSource(desk.scene.broker.url)
    async with held(desk.scene.broker.url, f"{desk.queue}.dead") as (_, waiting):
        assert len([message async for message in waiting]) == 2
        looking = asyncio.create_task(source.letters(desk.queue))
        await asyncio.wait([looking], timeout=1)
        assert not looking.done()
    assert len(await looking) == 2


async def test_every_page_over_what_was_really_written(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of the command's, a redrive that runs, a bus that tells of itself, and letters."""
    shop, url = Shop(scene, scene.broker.name("orders")), scene.broker.url
    queue, stream = shop.queue, f"{scene.broker.name('audit')}.history"
    await shop.bus().declare()
    for each in ("fine", "also-fine", "third"):
        await shop.publish(each)
    await shop.publish("misread", b'{"id": "x"}')
    await scene.clock.advance(710)
    await shop.refuses(shop.bus(), 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "planned_shop", raising=False)
    lay(scene, queue)
    planned = await run("letters", "plan", queue, "--bus", "planned_shop:bus", "--dead")
    assert planned.exit_code == 3, planned.output
    sink = AuditStream(url, stream=stream, clock=scene.clock)
    bus = telling_bus(scene, f"{queue}.told", sink)
    source = BrokerSource(url, stream=stream, clock=scene.clock)
    queues = [queue, f"{queue}.told"]
    app = console(source, queues=queues, hosts=["localhost:80"], guard=None, clock=scene.clock)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost:80",
        headers={"host": "localhost:80"},
    )
    stop, sent = asyncio.Event(), asyncio.Event()
    redrive = Redrive(
        url, guard=shop.bus().guard, queue=queue, by="ines@ops", authority=KeptToken()
    )
    async with bus, client:
        token = scene.issuer.token("ann", exp=int(scene.clock.now()) - 60)
        await scene.broker.publish(f"{queue}.told", token=token)
        consumers = await page_with(client, "/", "1 accepted late", scene)
        await scene.clock.advance(1)  # a redrive sends what was refused before it began
        running = asyncio.create_task(
            redrive.run(rate=0.01, stop=stop, progress=lambda _: sent.set())
        )
        await sent.wait()
        letters = await client.get("/letters")
        shown = await followed(client, letters, "/letters/group")
        story = await followed(client, shown, "/letters/one")
        plan = await client.get("/plan")
        now = await client.get("/history")
        stop.set()
        await running
        await scene.clock.advance(6)
        then = await client.get("/history")
    await source.close()
    assert re.search(r"1 accepted late: the last 6\d s", consumers)
    assert ("Consuming" in consumers, "Silent" in consumers) == (True, False)
    assert "token.expired" in letters.text or "body.invalid" in letters.text
    assert [page.status_code for page in (letters, shown, story, plan, now, then)] == [200] * 6
    assert "kept, encrypted for its consumer" in story.text
    assert re.search(r"accepted-late</bdi></th>\s*<td[^>]*>3<", plan.text)
    assert f"{queue}.dead</bdi>." in plan.text
    assert "ines@ops" in now.text.partition("Running now")[2].partition("Ended")[0]
    assert "1 done, 0 in flight" in now.text
    assert "Nothing is running" in then.text
    assert "sent</bdi> <strong>1<" in then.text.partition("Ended")[2]


async def followed(client: httpx.AsyncClient, page: httpx.Response, to: str) -> httpx.Response:
    """Return what the first link to somewhere leads to."""
    link, *_ = re.findall(rf'href="({to}[^"]*)"', page.text)
    return await client.get(html.unescape(link))


async def page_with(client: httpx.AsyncClient, path: str, word: str, scene: Scene) -> str:
    """Return a page once it has a word."""
    async with asyncio.timeout(30):
        while word not in (page := await client.get(path)).text:
            await scene.clock.advance(5)
            await asyncio.sleep(0.1)
    return page.text


def telling_bus(scene: Scene, queue: str, sink: AuditStream) -> Bus:
    """Return a service that accepts what is late, and tells of itself on a stream."""
    verifiers = guard_for(scene.issuer, scene.trail, clock=scene.clock).verifiers
    guard = Guard(
        *verifiers, on_expired=Grace(hours=1), clock=scene.clock, auditor=every(sink, scene.trail)
    )
    bus = Bus(scene.broker.url, guard=guard, service="told")

    @bus.consumer(queue)
    async def take(caller: Caller) -> None:
        """Take whatever comes."""

    return bus
