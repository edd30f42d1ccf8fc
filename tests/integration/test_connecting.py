"""Connecting: how long it may take, and what is told where it cannot work."""

import asyncio
import logging
import re
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiormq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from busauth import Binding, Bus, BusOptions, Caller, ConfigurationError, PublishError, RetryOptions
from busauth._amqp.connecting import connections as links
from busauth._amqp.connecting.address import broker_url, seconds_to_connect
from busauth._amqp.connecting.connect import connected_like, quiet_own_attempts
from busauth._amqp.feed.attachment import attach
from busauth._amqp.resending.again import Sending
from busauth.audit import EventKind
from busauth.cli.doctor.examination import examine
from busauth.cli.doctor.subject import Question, of_bus
from busauth.letters import Redrive, dead_letters
from busauth.revocation import FeedPublisher
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer, Kit, ManualClock
from busauth.testing.kit import RabbitMQ
from scripts.broker import PrivateNode
from scripts.broker.settings import environment
from tests.proxy import proxied
from tests.support import QUORUM, Broker, Order, Trail, connected, guard_for

BRIEF = "?connection_timeout=200"


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Return where something listens that is no broker."""
    open_: list[asyncio.StreamWriter] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in open_:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """A port that takes TCP and says nothing."""
    async with listening(_says_nothing) as where:
        yield where


def service(url: str, issuer: Issuer, trail: Trail, **options: Any) -> Bus:
    guard = guard_for(issuer, trail)
    return Bus(url, guard=guard, service="orders", options=BusOptions(**options))


# --- no longer than its time --------------------------------------------------------------------


async def _bus(url: str) -> None:
    await service(url, Issuer(), Trail()).run()


async def _declare(url: str) -> None:
    await service(url, Issuer(), Trail()).declare()


async def _letters(url: str) -> None:
    await dead_letters(url, "orders.dead")


async def _again(url: str) -> None:
    guard = guard_for(Issuer(), Trail())

    async def renew(*_: object) -> None:
        return None

    await Sending(
        url=url, guard=guard, queue="orders", source="orders.dead", told=EventKind.REDRIVEN
    ).run(renew)


async def _feed(url: str) -> None:
    await attach(broker_url(url), "feed", 0, prefetch=4, monotonic=lambda: 0.0)


async def _feed_publisher(url: str) -> None:
    try:
        await FeedPublisher(url).open()
    except PublishError as error:
        raise ConnectionError(str(error)) from error


async def _kit(url: str) -> None:
    async with Kit(RabbitMQ(url), ManualClock()):
        pass


async def _like(url: str) -> None:
    await connected_like(aiormq.Connection(broker_url(url)))


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
@pytest.mark.parametrize(
    "connect", [_bus, _declare, _letters, _again, _feed, _feed_publisher, _kit, _like]
)
async def test_a_port_that_says_nothing(
    connect: Callable[[str], Awaitable[None]], scheme: str, mute: str
) -> None:
    """Whoever connects gives up in time, over TLS as well, and says where nobody answered."""
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionError, match=rf"no broker at {mute}: no answer within 0\.2 s"):
            await connect(f"{scheme}://{mute}/{BRIEF}")


async def test_a_failover_to_a_port_that_says_nothing(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """An attempt to restore a connection has its time as well, and the next one may find it."""
    queue = broker.name("orders")
    async with proxied(url) as (proxy, through):
        bus = service(through + BRIEF, issuer, trail)

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller) -> None: ...

        async with bus:
            proxy.mute = True
            proxy.cut()
            await asyncio.sleep(1.5)
            proxy.mute = False
            await broker.publish(queue, token=issuer.token())
            await trail.until("handled")


async def test_closing_while_nothing_answers(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A bus that is being restored can be stopped."""
    async with proxied(url) as (proxy, through):
        bus = service(through, issuer, trail)
        running = asyncio.create_task(bus.run())
        while not bus._connections.are_open:
            await asyncio.sleep(0.01)
        proxy.mute = True
        proxy.cut()
        await asyncio.sleep(1.2)
        bus.stop()
        await asyncio.wait_for(running, 5)


async def test_stopping_a_service_that_cannot_start(
    mute: str, issuer: Issuer, trail: Trail
) -> None:
    """A start that waits for a broker is given up at once."""
    bus = service(f"amqp://{mute}/", issuer, trail)
    for end in (bus.stop, None):
        running = asyncio.create_task(bus.run())
        await asyncio.sleep(0.1)
        assert not running.done()
        if end is None:
            running.cancel()
        else:
            end()
        await asyncio.wait((running,), timeout=2)
        assert running.cancelled() is (end is None)
        assert asyncio.all_tasks() - {asyncio.current_task()} <= _servers()


def _servers() -> set[asyncio.Task[Any]]:
    """Return the tasks of what only listens."""
    tasks = asyncio.all_tasks()
    return {task for task in tasks if "served" in getattr(task.get_coro(), "__qualname__", "")}


async def test_a_service_that_is_cancelled_as_it_begins(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Wherever its start is cut off, nothing stays open."""
    for turns in range(0, 60, 3):
        bus = service(url, issuer, trail)
        bus.consumer(broker.name("orders"))(_nothing)
        running = asyncio.create_task(bus.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait((running,), timeout=5)
        assert running.cancelled()
        assert not bus._connections.are_open


async def _nothing(caller: Caller) -> None: ...


@given(text=st.one_of(st.integers().map(str), st.text(max_size=12)))
def test_the_time_to_connect_is_milliseconds(text: str) -> None:
    """A time is taken as it is, or refused where the URL is read; never ignored."""
    url = URL.build(scheme="amqp", host="h", query={"connection_timeout": text})
    good = text.isascii() and text.isdecimal() and 0 < int(text) <= 600_000
    if good:
        assert seconds_to_connect(broker_url(url)) == int(text) / 1000
    else:
        with pytest.raises(ConfigurationError, match="milliseconds"):
            broker_url(url)


# --- in words -----------------------------------------------------------------------------------


async def told(url: str | URL, issuer: Issuer, trail: Trail) -> Exception:
    """Return what a service is told that cannot start; nothing of its password."""
    with pytest.raises((ConnectionError, ConfigurationError)) as caught:
        await service(str(url), issuer, trail).run()
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith("orders: ")
    assert len(traceback.format_exception(caught.value)) < 12  # and no client library's in it
    return caught.value


async def test_a_wrong_password(url: str, issuer: Issuer, trail: Trail) -> None:
    """It is no question of time: name and password are to be looked at."""
    error = await told(URL(url).with_password("s3cret"), issuer, trail)
    assert isinstance(error, ConfigurationError)
    assert "refused user 'guest': ACCESS_REFUSED" in str(error)
    assert "check name and password" in str(error)


async def test_a_virtual_host_that_is_not_there(url: str, issuer: Issuer, trail: Trail) -> None:
    """The broker's words are told, and the name that was asked for."""
    error = await told(URL(url).with_path("/nowhere"), issuer, trail)
    assert isinstance(error, ConfigurationError)
    assert "virtual host 'nowhere': NOT_ALLOWED - vhost nowhere not found" in str(error)


async def test_tls_to_a_port_without(url: str, issuer: Issuer, trail: Trail) -> None:
    """What is found is told, and what to write instead."""
    error = await told(URL(url).with_scheme("amqps"), issuer, trail)
    assert isinstance(error, ConfigurationError)
    assert "no TLS at 127.0.0.1" in str(error)
    assert "write amqp://" in str(error)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "TLS answers at .*: write amqps://"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no AMQP 0-9-1 at .*it answered b'HTTP/1.*5672"),
    ],
    ids=["tls", "http"],
)
async def test_something_else_answers(
    answer: bytes, words: str, issuer: Issuer, trail: Trail
) -> None:
    """A port that speaks another language is named as what it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        writer.close()

    async with listening(serve) as where:
        error = await told(f"amqp://{where}/", issuer, trail)
    assert isinstance(error, ConfigurationError)
    error_matches(words, error)


def error_matches(words: str, error: Exception) -> None:
    with pytest.raises(type(error), match=words):
        raise error


def test_a_certificate_that_is_not_trusted_is_no_question_of_time() -> None:
    """A broker whose certificate nobody vouches for is told apart from one without TLS."""
    from busauth._amqp.connecting.connect import _no_tls  # noqa: PLC0415 -- no certificate at hand

    error = ssl.SSLCertVerificationError(1, "self-signed")
    error.verify_message = "self-signed certificate"
    assert "is not trusted: self-signed certificate" in str(_no_tls("h:5671", error))


@pytest.mark.parametrize("url", ["amqp://h:99999/", "amqp://h:-1/", "amqp://h:port/"])
def test_a_port_that_is_none(url: str, issuer: Issuer, trail: Trail) -> None:
    """A port out of range is an error of the URL's, and says what a port is."""
    with pytest.raises(ConfigurationError, match="a port from 1 to 65535"):
        service(url, issuer, trail)


async def test_no_broker_at_all(
    issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody listens: that may change, and the client library says nothing on top of it."""
    error = await told("amqp://u:s3cret@127.0.0.1:9/", issuer, trail)
    assert isinstance(error, ConnectionError)
    assert re.search(r"no broker at 127\.0\.0\.1:9: .*is RabbitMQ running there", str(error))
    assert caplog.messages == []


# --- in the log ---------------------------------------------------------------------------------


async def test_what_is_told_of_a_broker_that_goes_and_comes_back(
    url: str,
    issuer: Issuer,
    trail: Trail,
    broker: Broker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service tells each of its states in one line, however often it tries to connect."""
    monkeypatch.setattr(links, "_RECONNECT_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    queue = broker.name("orders")
    async with proxied(url) as (proxy, through):
        bus = service(through, issuer, trail)

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller) -> None: ...

        async with bus:
            proxy.refuses = True
            proxy.cut()
            async with asyncio.timeout(20):
                while not any("after 16 attempts" in line for line in caplog.messages):
                    await asyncio.sleep(0.01)
            proxy.refuses = False
            async with asyncio.timeout(20):
                while not bus.ready:
                    await asyncio.sleep(0.01)
    lines = [each.getMessage() for each in caplog.records if each.name == "busauth"]
    where = through.split("@")[1].rstrip("/")
    expected = [
        f"orders: connected to {where}",
        "orders: letters keep no token, ",
        f"orders: consuming {queue}",
        "orders: the broker was lost, and is tried again every second: ",
        *(
            f"orders: the broker is not back after {count}: "
            for count in ("1 attempt", *(f"{2**n} attempts" for n in range(1, 5)))
        ),
        "orders: the broker is back",
        "orders: stopping",
        "orders: stopped",
    ]
    told_ = [line for line in lines if "after 32" not in line]
    assert len(told_) == len(expected), told_
    assert all(line.startswith(each) for line, each in zip(told_, expected, strict=True)), told_
    clients = [each for each in caplog.records if each.name.startswith(("aiormq", "aio_pika"))]
    assert [each.getMessage() for each in clients if "ttempt" in each.getMessage()] == []
    assert [each.getMessage() for each in clients if "transport" in each.getMessage()] == []
    assert len([each for each in clients if each.levelno >= logging.WARNING]) <= 9  # 3 for each


async def test_what_others_log_passes(caplog: pytest.LogCaptureFixture) -> None:
    """What the client library logs of a connection that is not busauth's is left as it is."""
    quiet_own_attempts()
    with pytest.raises(ConnectionError):
        await aiormq.connect("amqp://127.0.0.1:9/")
    assert any("error when creating transport" in line for line in caplog.messages)


# --- somebody else declares ---------------------------------------------------------------------


async def test_a_queue_that_is_not_there(
    url: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A service that declares nothing says which queue it misses, and who declares it."""
    queue = broker.name("orders")
    bus = service(url, issuer, trail, declare=False)

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None: ...

    with pytest.raises(ConfigurationError, match=f"queue '{queue}' is not there.*operator"):
        await bus.run()


async def test_nothing_is_declared(url: str, broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Where an operator declares, neither an exchange nor a binding is made."""
    queue = await broker.declare("orders")
    bus = service(url, issuer, trail, declare=False, retry=RetryOptions(limit=0))

    @bus.consumer(queue, bindings=[Binding(f"{queue}.none", "#")])
    async def handle(order: Order, caller: Caller) -> None: ...

    async with bus:
        with pytest.raises(PublishError, match="NOT_FOUND"):
            await bus.publish("key", Order(id=1), exchange=f"{queue}.none", token=issuer.token())


# --- rights -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node() -> Iterator[PrivateNode]:
    """A RabbitMQ whose users are the tests' own."""
    with PrivateNode() as node:
        _ctl(node, "add_user", "service", "s3cret")
        yield node


def _ctl(node: PrivateNode, *words: str) -> None:
    assert node._reaper is not None
    env = environment(node._reaper.folder, node.port, node._dist_port, node._epmd_port)
    command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", env["RABBITMQ_NODENAME"], *words]
    subprocess.run(command, env=env, check=True, capture_output=True)


def _with_rights(node: PrivateNode, configure: str, write: str, read: str) -> str:
    rights = (each or "^$" for each in (configure, write, read))
    _ctl(node, "set_permissions", "service", *rights)
    return str(URL(node.url).with_user("service").with_password("s3cret"))


PAGE = (Path(__file__).parents[2] / "docs" / "connecting.md").read_text("utf-8")
(WHOLE,) = re.findall(r"^So the service above: `'(.+?)' '(.+?)' '(.+?)'`", PAGE, re.MULTILINE)


@pytest.mark.processes
@pytest.mark.rabbitmq
@pytest.mark.reference
@pytest.mark.parametrize("missing", [None, 0, 1, 2], ids=["none", "configure", "write", "read"])
def test_rights_of_a_service(
    missing: int | None, node: PrivateNode, issuer: Issuer, trail: Trail
) -> None:
    """With the rights that the docs list a service works; without one, it says where they are."""
    rights = [each if place != missing else "" for place, each in enumerate(WHOLE)]
    url = _with_rights(node, *rights)

    async def run() -> None:
        bus = service(url, issuer, trail, retry=RetryOptions(limit=1, first=0.05))

        @bus.consumer("orders", bindings=[Binding("shop", "#")])
        async def handle(order: Order, caller: Caller) -> None:
            raise ValueError

        async with bus:
            await bus.publish("key", Order(id=1), exchange="shop", token=issuer.token())
            await trail.until("refused")
        assert await dead_letters(url, "orders.dead")
        async with connected(node.url) as broker:
            for name in bus.queues:
                await broker.channel.queue_delete(name)

    if missing is None:
        asyncio.run(run())
        return
    right = ("configure", "write to", "read")[missing]
    words = rf"orders: it may not .*ACCESS_REFUSED.*may .*{right}.* it; docs/connecting\.md"
    with pytest.raises(ConfigurationError, match=words):
        asyncio.run(run())


async def _rights_told(bus: Bus) -> list[str]:
    report = await examine(of_bus(bus), Question(environment={}))
    return [each.found for each in report.findings if each.kind.code == "right-missing"]


@pytest.mark.processes
@pytest.mark.rabbitmq
@pytest.mark.reference
async def test_the_doctor_tells_rights(node: PrivateNode, issuer: Issuer, trail: Trail) -> None:
    """It names each right that is missing, before the queues are there and after; and no other."""

    def bus(url: str) -> Bus:
        made = service(url, issuer, trail, retry=RetryOptions(limit=1, first=0.05))

        @made.consumer("orders", bindings=[Binding("shop", "#")])
        async def handle(order: Order, caller: Caller) -> None: ...

        return made

    for _ in ("before", "after"):
        assert await _rights_told(bus(_with_rights(node, *WHOLE))) == []
        for place, right in enumerate(("configure", "write to", "read")):
            rights = [each if at != place else "" for at, each in enumerate(WHOLE)]
            told = await _rights_told(bus(_with_rights(node, *rights)))
            assert any(right in words.partition(":")[0] for words in told), told
        await bus(node.url).declare()
    async with connected(node.url) as broker:
        for name in bus(node.url).queues:
            await broker.channel.queue_delete(name)


@pytest.mark.processes
@pytest.mark.rabbitmq
@pytest.mark.reference
async def test_rights_of_others(node: PrivateNode, issuer: Issuer, trail: Trail) -> None:
    """Without a right, looking and sending again say so as well; a virtual host that is closed."""
    async with connected(node.url) as broker:
        await broker.channel.declare_queue("orders.dead", durable=True, arguments=QUORUM)
    url = _with_rights(node, "", "", "")
    with pytest.raises(ConfigurationError, match=r"ACCESS_REFUSED.*docs/connecting"):
        await dead_letters(url, "orders.dead")
    with pytest.raises(ConfigurationError, match=r"ACCESS_REFUSED.*docs/connecting"):
        await _again(url)
    await _again(_with_rights(node, r"^orders\.dead\.turn$", r"^amq\.default$", r"^orders\.dead$"))
    unrecorded = _with_rights(node, r"^orders\.dead\.turn$", r"^amq\.default$", r"^orders\.dead$")
    redrive = Redrive(unrecorded, guard=guard_for(issuer, trail), queue="orders")
    with pytest.raises(ConfigurationError, match=r"stream that records .*ACCESS_REFUSED.*docs/con"):
        await redrive.run()
    assert (await redrive.run(record=False)).is_whole
    assert await dead_letters(_with_rights(node, "", "", r"^orders\.dead$"), "orders.dead") == []
    await asyncio.to_thread(_ctl, node, "clear_permissions", "service")
    error = await told(url, issuer, trail)
    assert isinstance(error, ConfigurationError)
    assert "does not let user 'service' into virtual host '/': NOT_ALLOWED" in str(error)


async def test_an_embedded_broker_with_a_limit(issuer: Issuer, trail: Trail) -> None:
    """A user of one's own is named in what is told."""
    async with EmbeddedBroker(users={"shop": "s3cret"}) as broker:
        error = await told(URL(broker.url).with_password("wrong"), issuer, trail)
    assert "user 'shop'" in str(error)
