"""The embedded broker's sockets: starting, stopping, and clients that misbehave."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Confirm, Connection, Queue
from pamqp.header import ContentHeader

from busauth.testing import ManualClock
from busauth.testing.broker.model.limits import Limits
from busauth.testing.broker.server import Broker
from busauth.testing.broker.wire import connection as wire
from tests.conformance.client import (
    CAPABILITIES,
    ChannelClosed,
    ConnectionClosed,
    RawChannel,
    RawConnection,
)
from tests.conformance.frames import HEARTBEAT, body, frame, header, sent

SHUTDOWN = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
PUBLISH = sent(Basic.Publish(exchange="", routing_key="q"))


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as broker:
        yield broker


async def queue(connection: RawConnection, name: str = "q") -> RawChannel:
    channel = await connection.channel()
    await channel.call(Queue.Declare(queue=name))
    return channel


async def until_gone(broker: Broker, count: int = 0) -> None:
    async with asyncio.timeout(10):
        while broker.connections > count:
            await asyncio.sleep(0.005)


# --- starting and stopping ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "amqp://guest:guest@127.0.0.1:1/"),
        ({"host": "::1"}, "amqp://guest:guest@[::1]:1/"),
        ({"users": {"a b": "p/@:"}}, "amqp://a%20b:p%2F%40%3A@127.0.0.1:1/"),
        ({"users": {}}, "amqp://127.0.0.1:1/"),
        ({"vhosts": ["a/b", "/"]}, "amqp://guest:guest@127.0.0.1:1/a%2Fb"),
    ],
)
def test_url(settings: dict[str, Any], url: str) -> None:
    """The URL says where, as whom, and in which virtual host."""
    assert Broker(port=1, **settings).url == url


@pytest.mark.parametrize("vhost", ["/", "a/b", ""])
async def test_login(vhost: str) -> None:
    """Names and passwords of any kind get through the URL."""
    async with Broker(users={"a b": "p/@:\u00e9"}, vhosts=[vhost]) as broker:
        if vhost:
            async with RawConnection(broker.url) as connection:
                assert broker.connections == 1
                await queue(connection)
                assert list(broker.node.vhosts[vhost].queues) == ["q"]


async def test_stop() -> None:
    """Stopping closes every connection with a word, and leaves nothing behind."""
    tasks = asyncio.all_tasks()
    async with Broker() as broker:
        connections = [RawConnection(broker.url) for _ in range(3)]
        for connection in connections:
            await connection.connect()
        for connection in connections[:2]:
            await connection.login()
        await connections[2].replies.get()
    for connection in connections[:2]:
        end = await connection.closed()
        assert (end.code, end.text, end.method) == (320, SHUTDOWN, (0, 0))
    assert (await connections[2].closed()).code == 0
    assert broker.connections == 0
    with pytest.raises(OSError, match=r"refused|failed"):
        await RawConnection(broker.url).connect()
    for connection in connections:
        await connection.hang_up()
    assert asyncio.all_tasks() == tasks


async def test_stop_without_close_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not answer is cut off after a while."""
    monkeypatch.setattr("busauth.testing.broker.server._GRACE_SECONDS", 0.01)
    async with Broker() as broker:
        with socket.create_connection(("127.0.0.1", broker.port)) as silent:
            silent.sendall(b"AMQP\0\0\x09\x01")
            async with RawConnection(broker.url) as connection:
                connection._receive = lambda *_: None  # type: ignore[method-assign]
                await broker.stop()
                assert (await connection.closed()).code == 0


async def test_again(broker: Broker) -> None:
    """A stopped broker starts again on its port, with what it held."""
    async with RawConnection(broker.url) as connection:
        channel = await connection.channel()
        await channel.call(Queue.Declare(queue="q", durable=True))
        channel.publish(b"kept", "q")
        await channel.call(Queue.Declare(queue="q", passive=True))
    url = broker.url
    await broker.stop()
    await broker.stop()
    await broker.start()
    assert broker.url == url
    assert broker.messages() == 1
    async with RawConnection(url) as connection:
        content = await (await connection.channel()).get("q")
        assert content is not None
        assert content.body == b"kept"


async def test_started_twice(broker: Broker) -> None:
    """A broker that runs cannot be started."""
    with pytest.raises(RuntimeError, match="started already"):
        await broker.start()


async def test_port_in_use(broker: Broker) -> None:
    """A port that somebody else has is an error, and the broker can be started later."""
    second = Broker(port=broker.port)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.stop()


async def test_drop_connections(broker: Broker) -> None:
    """Cut connections end without a word, and what they held is back at once."""
    async with RawConnection(broker.url) as connection:
        channel = await queue(connection)
        channel.publish(b"held", "q")
        assert await channel.get("q") is not None
        assert broker.messages() == 0
        broker.drop_connections()
        assert broker.messages() == 1
        assert (await connection.closed()).code == 0
    await until_gone(broker)
    async with RawConnection(broker.url) as connection:
        content = await (await connection.channel()).get("q")
        assert content is not None
        assert content.method.redelivered is True


# --- time ---------------------------------------------------------------------------------------


async def test_manual_clock() -> None:
    """An hour on a manual clock costs no connection, and is no time for heartbeats."""
    clock = ManualClock()
    async with Broker(clock=clock) as broker, RawConnection(broker.url, heartbeat=60) as connection:
        waiting = RawConnection(broker.url)
        await waiting.connect()
        channel = await connection.channel()
        await channel.call(
            Queue.Declare(queue="q", arguments={"x-message-ttl": 1000}, durable=True)
        )
        channel.publish(b"x", "q")
        assert (await channel.call(Queue.Declare(queue="q", passive=True))).message_count == 1
        await clock.advance(hours=1)
        assert (await channel.call(Queue.Declare(queue="q", passive=True))).message_count == 0
        await waiting.login()
        assert connection.heartbeats == 0
        await waiting.__aexit__(None, None, None)


async def test_handshake_takes_too_long(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    """A client that does not open its connection is cut off."""
    monkeypatch.setattr(wire, "HANDSHAKE_SECONDS", 0.02)
    connection = RawConnection(broker.url)
    await connection.connect()
    await connection.replies.get()
    assert (await connection.closed()).code == 0
    await until_gone(broker)
    await connection.hang_up()


async def test_close_ok_takes_too_long(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    """A client that does not answer connection.close is cut off."""
    monkeypatch.setattr(wire, "_CLOSING_SECONDS", 0.02)
    async with RawConnection(broker.url) as connection:
        connection._receive = lambda *_: None  # type: ignore[method-assign]
        connection.write(sent(Channel.Flow(active=True), channel=0))
        assert (await connection.closed()).code == 0


# --- who gets what, and when --------------------------------------------------------------------


async def test_same_turn(broker: Broker) -> None:
    """What one connection publishes is with the other connection's consumer at once."""
    async with RawConnection(broker.url) as one, RawConnection(broker.url) as other:
        channel = await queue(one)
        await (taking := await other.channel()).call(Basic.Consume(queue="q", no_ack=True))
        for number in range(50):
            channel.publish(str(number).encode(), "q")
        bodies = [(await taking.deliveries.get()).body for _ in range(50)]
        assert bodies == [str(number).encode() for number in range(50)]


async def test_confirms_in_one(broker: Broker) -> None:
    """Publications that come together are confirmed together, before the next reply."""
    async with RawConnection(broker.url) as connection:
        channel = await queue(connection)
        await channel.call(Confirm.Select())
        publications = (PUBLISH + header(0)) * 10
        connection.write(publications + sent(Basic.Qos()) + publications)
        first, second = [await channel.confirms.get() for _ in range(2)]
        assert [(each.delivery_tag, each.multiple) for each in (first, second)] == [
            (10, True),
            (20, True),
        ]


@pytest.mark.parametrize("told", [True, False])
async def test_cancel(broker: Broker, told: bool) -> None:
    """Only who understands it is told that a consumer was cancelled."""
    capabilities = {**CAPABILITIES, "consumer_cancel_notify": told}
    async with RawConnection(broker.url, capabilities=capabilities) as connection:
        channel = await queue(connection)
        await channel.call(Basic.Consume(queue="q", consumer_tag="mine"))
        await channel.call(Queue.Delete(queue="q"))
        await channel.call(Basic.Qos())
        assert [each.consumer_tag for each in channel.cancels.items] == ["mine"] * told


async def test_large_queue(broker: Broker) -> None:
    """A queue larger than sockets take at once comes in full, and others are served meanwhile."""
    async with RawConnection(broker.url) as one, RawConnection(broker.url) as other:
        channel = await queue(one)
        for number in range(400):
            channel.publish(bytes([number % 256]) * 20_000, "q")
        await channel.call(Basic.Consume(queue="q", no_ack=True))
        await (await other.channel()).call(Basic.Qos())
        for number in range(400):
            assert (await channel.deliveries.get()).body == bytes([number % 256]) * 20_000


# --- clients that do not read, and publish too much ---------------------------------------------


@dataclass
class Deaf:
    """A client that sends and does not read."""

    broker: Broker
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader = field(repr=False)

    @classmethod
    async def of(cls, broker: Broker) -> "Deaf":
        opening = socket.create_connection(("127.0.0.1", broker.port))
        opening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opening.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=opening, limit=1024)
        client: dict[str, Any] = {"capabilities": CAPABILITIES}
        for method in (
            Connection.StartOk(client, "PLAIN", "\0guest\0guest"),
            Connection.TuneOk(2047, 131072, 0),
            Connection.Open("/"),
        ):
            writer.write(b"" if writer.transport.is_closing() else sent(method, channel=0))
        return cls(broker, writer, reader)


async def deaf(broker: Broker) -> asyncio.StreamWriter:
    """Open a connection and a channel of a client that does not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    del reader
    writer.write(b"AMQP\0\0\x09\x01")
    client: dict[str, Any] = {"capabilities": CAPABILITIES}
    for method in (
        Connection.StartOk(client, "PLAIN", "\0guest\0guest", "en_US"),
        Connection.TuneOk(2047, 131072, 0),
        Connection.Open("/"),
    ):
        writer.write(sent(method, channel=0))
    writer.write(sent(Channel.Open()))
    return writer


async def test_slow_consumer(broker: Broker) -> None:
    """A consumer that does not read holds back its own deliveries only."""
    async with RawConnection(broker.url) as connection:
        channel = await queue(connection)
        writer = await deaf(broker)
        writer.write(sent(Basic.Consume(queue="q", consumer_tag="deaf")))
        for _ in range(400):
            channel.publish(bytes(100_000), "q")
        await channel.call(Queue.Declare(queue="q", passive=True))
        waiting = (await channel.call(Queue.Declare(queue="q", passive=True))).message_count
        assert waiting > 200
        assert await channel.get("q") is not None
        writer.close()
        await until_gone(broker, 1)
        status = await channel.call(Queue.Declare(queue="q", passive=True))
        assert status.message_count == 399


async def test_slow_asker() -> None:
    """Who asks and asks without reading the answers is not listened to any more."""
    async with (
        Broker(limits=Limits(max_message=10_000_000)) as broker,
        RawConnection(broker.url) as connection,
    ):
        channel = await queue(connection)
        channel.publish(bytes(5_000_000), "q")
        await channel.call(Queue.Declare(queue="q", passive=True))
        writer = await deaf(broker)
        give_back = Basic.Nack(delivery_tag=0, multiple=True, requeue=True)
        ask = sent(Basic.Get(queue="q")) + sent(give_back)
        writer.write(ask * 100)
        async with asyncio.timeout(10):
            while not any(not each.reading for each in broker._connections):
                await asyncio.sleep(0.01)
        writer.close()
        await until_gone(broker, 1)


async def test_answered_at_last() -> None:
    """Whoever asks for a lot in one go, and reads, gets all of it."""
    async with (
        Broker(limits=Limits(max_message=10_000_000)) as broker,
        RawConnection(broker.url) as connection,
    ):
        channel = await queue(connection)
        channel.publish(bytes(5_000_000), "q")
        ask = sent(Basic.Get(queue="q")) + sent(Basic.Nack(delivery_tag=0, multiple=True))
        connection.write(ask * 20 + sent(Basic.Qos()))
        for _ in range(20):
            assert len((await channel.replies.get()).body) == 5_000_000
        assert isinstance(await channel.replies.get(), Basic.QosOk)


async def test_blocked() -> None:
    """While memory is short a client that publishes is told, and not read from any more."""
    async with (
        Broker(limits=Limits(memory=20_000)) as broker,
        RawConnection(broker.url) as one,
        RawConnection(broker.url) as other,
    ):
        publishing, taking = await queue(one), await other.channel()
        publishing.publish(bytes(30_000), "q")
        await publishing.call(Queue.Declare(queue="q", passive=True))
        assert not one.blocked.items
        publishing.publish(b"late", "q")
        blocked = await one.blocked.get()
        assert isinstance(blocked, Connection.Blocked)
        assert blocked.reason == "low on memory"
        publishing.send(Basic.Qos())
        assert not other.blocked.items
        assert await taking.get("q", no_ack=True) is not None
        assert isinstance(await one.blocked.get(), Connection.Unblocked)
        assert isinstance(await publishing.replies.get(), Basic.QosOk)
        assert not other.blocked.items


async def test_stop_while_blocked() -> None:
    """A blocked client is read from again when the broker stops."""
    async with (
        Broker(limits=Limits(memory=1000)) as broker,
        RawConnection(broker.url) as connection,
    ):
        channel = await queue(connection)
        channel.publish(bytes(3000), "q")
        await channel.call(Basic.Qos())
        channel.publish(b"x", "q")
        await connection.blocked.get()
        await broker.stop()
        assert (await connection.closed()).code == 320


async def test_message_too_large() -> None:
    """A message that is too large closes its channel once it is there, and is not kept."""
    async with (
        Broker(limits=Limits(max_message=100)) as broker,
        RawConnection(broker.url) as connection,
    ):
        channel = await queue(connection)
        channel.publish(bytes(100), "q")
        channel.publish(bytes(101), "q")
        end = await channel.closed()
        assert isinstance(end, ChannelClosed)
        text = "message size 101 is larger than configured max size 100"
        assert (end.code, end.text) == (406, f"PRECONDITION_FAILED - {text}")
        assert broker.messages() == 1


# --- faults -------------------------------------------------------------------------------------


async def test_internal_error(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the broker's own costs one connection, and what is logged quotes nothing."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a secret")

    async with RawConnection(broker.url) as other, RawConnection(broker.url) as connection:
        channel, unharmed = await queue(connection), await other.channel()
        with monkeypatch.context() as patched:
            patched.setattr(
                "busauth.testing.broker.model.channels.channel.Channel.queue_purge", broken
            )
            channel.send(Queue.Purge(queue="q"))
            end = await channel.closed()
        assert isinstance(end, ConnectionClosed)
        assert (end.code, end.text, end.method) == (541, "INTERNAL_ERROR", (0, 0))
        assert isinstance(await unharmed.call(Queue.Purge(queue="q")), Queue.PurgeOk)
    assert "KeyError" in caplog.text
    assert "a secret" not in caplog.text


async def test_nothing_secret_is_logged(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Neither passwords nor content are logged, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    secret, in_numbers = "hunter2", ",".join(map(str, b"hunter2"))
    wrong = RawConnection(broker.url.replace(":guest@", ":hunter2@"))
    with pytest.raises(ConnectionClosed):
        await wrong.__aenter__()
    await wrong.hang_up()
    for data in (
        PUBLISH + header(7) + body(b"hunter2") + body(b"hunter2"),
        frame(9, 1, b"hunter2"),
        frame(3, 1, b"hunter2", end=b"\0"),
        sent(Connection.UpdateSecret("hunter2", "hunter2"), channel=0)[:-1] + b"\0",
        PUBLISH + sent(ContentHeader(0, 0, Basic.Properties(user_id="hunter2"))),
    ):
        async with RawConnection(broker.url) as connection:
            channel = await connection.channel()
            connection.write(data)
            text = (await channel.closed()).text
            assert secret in text or in_numbers in text or data.startswith(PUBLISH)
    assert "busauth.broker" in {record.name for record in caplog.records}
    assert secret not in caplog.text
    assert in_numbers not in caplog.text


async def test_cut_in_a_message(broker: Broker) -> None:
    """A client may vanish at any byte."""
    data = (
        sent(Basic.Publish(routing_key="q")) + header(3) + frame(HEARTBEAT, 0, b"") + body(b"abc")
    )
    async with RawConnection(broker.url) as connection:
        await queue(connection)
        for size in range(0, len(data), 7):
            cut = RawConnection(broker.url)
            await cut.__aenter__()
            await cut.channel(1)
            cut.write(data[:size])
            await cut.hang_up()
        await until_gone(broker, 1)
        assert broker.messages() == 0
