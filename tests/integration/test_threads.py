"""Code that does not await publishes by a bus in its loop, or in a thread of its own."""

import asyncio
import errno
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest

from busauth import (
    Bus,
    Caller,
    CallerError,
    ConfigurationError,
    Deferred,
    Event,
    PublishError,
    Refused,
)
from busauth.caller import acting, lease_for
from busauth.integrations.threads import BusThread
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.support import Broker, Trail, connected, guard_for

PAGE = Path(__file__).parents[2] / "docs" / "other-frameworks.md"
WSGI = re.findall(r"```python\n(import json\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
FORKING = """
import os, sys
from busauth import ConfigurationError, Guard, Bus
from busauth.messages import Anonymous
from busauth.integrations.threads import BusThread

url, queue, is_first = sys.argv[1], sys.argv[2], sys.argv[3] == "first"
guard = Guard(issuer="https://idp.example", audience="shop")
publisher = BusThread(Bus(url, guard=guard, service="web"))


def publish(body):
    publisher.publish(queue, body, token=Anonymous.ANONYMOUS, timeout=20)


if not is_first:
    publish(b"parent")
child = os.fork()
if child == 0:
    try:
        publish(b"child")
    except ConfigurationError as error:
        assert "forked" in str(error), error
        sys.exit(3)
    sys.exit(0)
publish(b"parent")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""


@contextmanager
def served(application: Any) -> Iterator[str]:
    """Serve a WSGI application in a thread."""
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
async def near() -> AsyncIterator[Broker]:
    """Where the thread is the point, and not the broker."""
    async with EmbeddedBroker() as embedded, connected(embedded.url) as broker:
        yield broker


class Deaf(Trail):
    """An auditor of no event loop, as a trail is one's."""

    def __call__(self, event: Event) -> None: ...


def bus_at(url: str, issuer: Issuer) -> Bus:
    return Bus(url, guard=guard_for(issuer, Deaf()), service="web")


def consuming(broker: Broker, issuer: Issuer) -> Bus:
    bus = bus_at(broker.url, issuer)

    @bus.consumer(broker.name("orders"))
    async def consume(caller: Caller) -> None: ...

    return bus


async def test_the_pages_application(broker: Broker, issuer: Issuer) -> None:
    """Who may is answered once the broker has the message, in their name; others are told why."""
    names: dict[str, Any] = {"__name__": "web"}
    exec(compile(WSGI, PAGE.name, "exec"), names)  # the document's own code
    queue = await broker.declare("orders")
    publisher = BusThread(bus_at(broker.url, issuer))

    class Renamed:  # its queue is this test's alone
        authenticate = publisher.authenticate

        def publish(self, _: str, body: bytes, **named: Any) -> None:
            publisher.publish(queue, body, **named)

    names["publisher"] = Renamed()
    token = issuer.token("ann", scope="orders:write")

    def ask() -> list[int]:
        headers = [{"authorization": f"Bearer {each}"} for each in (token, issuer.token("bob"))]
        with served(names["application"]) as url, publisher, httpx.Client() as client:
            answers = [client.post(url, content=b"7", headers=each) for each in (*headers, {})]
        with served(names["application"]) as url, httpx.Client() as client:  # it was closed
            answers.append(client.post(url, content=b"8", headers=headers[0]))
        assert answers[1].json()["code"] == "caller.scope"
        return [answer.status_code for answer in answers]

    assert await asyncio.to_thread(ask) == [202, 403, 401, 503]
    sent = await broker.one(queue)
    assert (sent.body, sent.headers["authorization"]) == (b"7", f"Bearer {token}")


async def test_the_callers_thread_says_whose_it_is(broker: Broker, issuer: Issuer) -> None:
    """The caller of the calling context is found, the bus starts as nobody, and keeps nobody."""
    queue = await broker.declare("orders")
    guard = bus_at(broker.url, issuer).guard
    tokens = {name: issuer.token(name) for name in ("ann", "bob")}

    def work(publisher: BusThread, name: str) -> None:
        publisher.publish(queue, name.encode())

    async def handle(publisher: BusThread, name: str) -> None:
        caller: Caller = await guard.authenticate(f"Bearer {tokens[name]}")
        with acting(lease_for(caller, tokens[name])):
            await asyncio.gather(*(asyncio.to_thread(work, publisher, name) for _ in range(3)))

    publisher = BusThread(bus_at(broker.url, issuer))
    await asyncio.gather(*(handle(publisher, name) for name in tokens))
    with pytest.raises(CallerError, match="no caller"):
        await asyncio.to_thread(work, publisher, "nobody")
    await asyncio.to_thread(publisher.close)
    await broker.settles_at(queue, 6)
    for message in await broker.take(queue):
        assert message.headers["authorization"] == f"Bearer {tokens[message.body.decode()]}"
        assert message.headers["busauth-hop"] == 1


async def test_errors_are_the_calling_threads(near: Broker, issuer: Issuer) -> None:
    """What would be raised by awaiting is raised where it was called."""
    publisher = BusThread(bus_at(near.url, issuer))
    token = issuer.token("ann")

    def work() -> None:
        with publisher:
            with pytest.raises(PublishError, match="unroutable"):
                publisher.publish(near.name("nowhere"), b"1", token=token)
            with pytest.raises(Refused, match=r"header\.missing"):
                publisher.authenticate(None)
            with pytest.raises(Refused, match=r"caller\.actor"):
                publisher.authenticate(f"Bearer {token}", actors={"agent-x"})
            with pytest.raises(ConfigurationError, match="timeout=0"):
                publisher.publish("q", b"1", token=token, timeout=0)
        with pytest.raises(PublishError, match="closed: it was not sent"):
            publisher.publish("q", b"1", token=token)
        with pytest.raises(Deferred, match="closed: nothing was decided"):
            publisher.authenticate(f"Bearer {token}")

    await asyncio.to_thread(work)
    with pytest.raises(ConfigurationError, match="event loop runs"):
        BusThread(bus_at(near.url, issuer)).publish("q", b"1", token=token)
    with pytest.raises(ConfigurationError, match=r"does not run.*without consumers"):
        await asyncio.to_thread(BusThread(consuming(near, issuer)).publish, "q", b"", token=token)


@pytest.mark.processes
@pytest.mark.parametrize(("order", "child"), [("first", "0"), ("after", "3")])
async def test_a_forked_process_has_a_bus_of_its_own_or_none(
    near: Broker, order: str, child: str
) -> None:
    """Forked before the first use, both publish; after it, the child is refused; both end."""
    queue = await near.declare("orders")
    command = [sys.executable, "-W", "ignore", "-c", FORKING, near.url, queue, order]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, child, "")
    await near.settles_at(queue, 2)


def test_a_broker_out_of_reach_is_told_in_time(issuer: Issuer) -> None:
    """It was not sent; each call tries again, and all threads wait for one start."""
    publisher = BusThread(bus_at("amqp://127.0.0.1:1/", issuer))
    token = issuer.token("ann")

    def publish(_: int) -> str:
        with pytest.raises(PublishError, match="not sent") as told:
            publisher.publish("q", b"1", token=token, timeout=5)
        return str(told.value)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(publish, range(4)))) == 4
    publish(5)
    publisher.close()


async def test_a_process_without_threads_or_files_is_told(
    near: Broker, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none can be begun, nothing was sent or decided, and the next call tries again."""
    queue, token = await near.declare("orders"), issuer.token()
    publisher = BusThread(bus_at(near.url, issuer))

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def no_files(_: Bus) -> Bus:
        raise OSError(errno.EMFILE, "too many open files")

    def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none_left)
            with pytest.raises(PublishError, match="new thread: it was not sent"):
                publisher.publish(queue, b"x", token=token)
            with pytest.raises(Deferred, match="new thread: nothing was decided"):
                publisher.authenticate(f"Bearer {token}")
        with monkeypatch.context() as patch:
            patch.setattr(Bus, "__aenter__", no_files)
            with pytest.raises(PublishError, match="open files: it was not sent"):
                publisher.publish(queue, b"x", token=token)
        with publisher:  # and however long somebody would wait
            publisher.publish(queue, b"x", token=token, timeout=1e300)

    await asyncio.to_thread(work)
    assert (await near.one(queue)).body == b"x"


async def test_a_thread_that_does_not_answer_is_given_up(near: Broker, issuer: Issuer) -> None:
    """What became of it is told as unknown, a second after its time at the latest."""
    queue, goes_on = await near.declare("orders"), threading.Event()
    bus = bus_at(near.url, issuer)
    held: list[asyncio.AbstractEventLoop] = []

    def work() -> None:
        publisher = BusThread(bus)
        with publisher:
            loop = publisher._life.begun.result() if publisher._life else None
            assert loop is not None
            held.append(loop)
            loop.call_soon_threadsafe(goes_on.wait, 30)
            with pytest.raises(PublishError, match="did not answer; whether it was published"):
                publisher.publish(queue, b"1", token=issuer.token("ann"), timeout=0.01)
            goes_on.set()

    await asyncio.to_thread(work)
    assert held[0].is_closed()


async def test_a_bus_that_runs_is_asked_in_its_own_loop(broker: Broker, issuer: Issuer) -> None:
    """No thread is started for it, from any thread and loop; closed, it leaves the bus running."""
    bus, queue, token = consuming(broker, issuer), await broker.declare("sent"), issuer.token("ann")
    publishers = BusThread(bus), BusThread(bus)

    def work(publisher: BusThread) -> str:
        with publisher:
            caller = publisher.authenticate(f"Bearer {token}")
            publisher.publish(queue, caller.subject, token=token)
            assert all(each.name != "busauth" for each in threading.enumerate())
        return caller.subject

    assert bus.loop is None
    async with bus:
        assert bus.loop is asyncio.get_running_loop()
        asked = await asyncio.gather(*(asyncio.to_thread(work, each) for each in publishers))
        assert asked == ["ann", "ann"]
        with pytest.raises(ConfigurationError, match="event loop runs"):
            publishers[0].publish(queue, b"1", token=token)
        await bus.publish(queue, b"ann", token=token)
    await broker.settles_at(queue, 3)


def leave_behind(program: Coroutine[Any, Any, None]) -> None:
    """Run it, and close its loop, whatever is still to be done there."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(program)
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


@pytest.mark.parametrize("ends", ["bus", "task", "loop"])
def test_the_end_of_the_bus_is_told(issuer: Issuer, ends: str) -> None:
    """Who waits for a publication as the bus, its tasks or its loop end hears so, and no later."""
    begun, told = threading.Event(), Future[PublishError]()

    class Slow(Bus):
        async def publish(self, *given: Any, **named: Any) -> None:
            begun.set()
            if ends == "bus":
                while self.loop is not None:
                    await asyncio.sleep(0.01)
                await super().publish(*given, **named)
            await asyncio.sleep(30)

    def work(publisher: BusThread) -> None:
        with pytest.raises(PublishError) as raised:
            publisher.publish("q", b"1", token=issuer.token("ann"), timeout=20)
        told.set_result(raised.value)

    async def serve() -> None:
        async with EmbeddedBroker() as embedded, connected(embedded.url) as near:
            bus = Slow(near.url, guard=guard_for(issuer, Deaf()), service="web")
            async with bus:
                working = threading.Thread(target=work, args=[BusThread(bus)])
                working.start()
                await asyncio.to_thread(begun.wait)
            while ends == "bus" and working.is_alive():
                await asyncio.sleep(0.01)

    (leave_behind if ends == "loop" else asyncio.run)(serve())
    said = {
        "bus": "not connected",
        "task": "has ended meanwhile; whether it was published is unknown",
        "loop": "has ended meanwhile; whether it was published is unknown",
    }
    assert said[ends] in str(told.result(5))
