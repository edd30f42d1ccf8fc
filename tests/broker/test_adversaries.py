"""Clients that mean harm, on sockets: slow, many, greedy, and gone at the wrong moment."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from pamqp.commands import Basic, Channel, Confirm, Connection, Queue

from busauth.testing.broker import Broker, Limits
from busauth.testing.broker.wire import connection as wire
from tests.broker.fuzzing import HANDSHAKE
from tests.conformance.client import Closed, RawChannel, RawConnection
from tests.conformance.frames import body, header, sent

CROWD = 2000
PUBLISH = sent(Basic.Publish(routing_key="q")) + header(3) + body(b"abc")


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as broker:
        yield broker


@pytest.fixture
async def served(broker: Broker) -> AsyncIterator[RawChannel]:
    """A channel, and a queue `q`, of somebody who is always served."""
    async with RawConnection(broker.url) as connection:
        channel = await connection.channel()
        await channel.call(Queue.Declare(queue="q"))
        yield channel
        await channel.call(Basic.Qos(), seconds=2)


async def until_left(broker: Broker, count: int) -> None:
    async with asyncio.timeout(20):
        while broker.connections > count:
            await asyncio.sleep(0.01)


@pytest.fixture
def _files() -> None:
    """Room for both ends of a crowd's sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 3 * CROWD)), hard))


@pytest.mark.usefixtures("_files")
@pytest.mark.long
async def test_crowd(broker: Broker, served: RawChannel) -> None:
    """2,000 connections are served, each with a consumer, and leave nothing behind."""
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(RawConnection(broker.url)) for _ in range(CROWD)]
        channels = [await each.channel() for each in crowd]
        for channel in channels:
            channel.send(Basic.Consume(queue="q", consumer_tag="c", no_ack=True))
        for channel in channels:
            await channel.replies.get()
        served.connection.write(PUBLISH * CROWD)
        for channel in channels:
            assert (await channel.deliveries.get()).body == b"abc"
        assert broker.connections == CROWD + 1
        for each in crowd:
            await each.hang_up()
    await until_left(broker, 1)
    assert len(broker.node._connections) == 1
    assert (await served.call(Queue.Declare(queue="q", passive=True))).consumer_count == 0


@pytest.mark.usefixtures("served")
async def test_slow_handshakes(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends its handshake octet by octet has the same time for it as everybody."""
    monkeypatch.setattr(wire, "HANDSHAKE_SECONDS", 0.3)
    pairs = [await asyncio.open_connection("127.0.0.1", broker.port) for _ in range(50)]
    for at in range(len(HANDSHAKE)):
        for _, writer in pairs:
            writer.write(HANDSHAKE[at : at + 1])
        await asyncio.sleep(0.02)
        if broker.connections == 1:
            break
    await until_left(broker, 1)
    for _, writer in pairs:
        writer.close()


async def test_never_acknowledged(broker: Broker, served: RawChannel) -> None:
    """Deliveries that are never acknowledged stay in the queue's memory, and come back in order."""
    async with RawConnection(broker.url) as connection:
        channel = await connection.channel()
        await channel.call(Basic.Consume(queue="q"))
        served.connection.write(PUBLISH * 10_000)
        for _ in range(10_000):
            await channel.deliveries.get()
        held = broker.node.bytes_held
        await connection.hang_up()
    await until_left(broker, 1)
    assert broker.messages() == 10_000
    assert broker.node.bytes_held == held


async def test_burst(served: RawChannel) -> None:
    """50,000 publications without a pause are all confirmed, and all there."""
    connection = served.connection
    await served.call(Confirm.Select())
    connection.write(PUBLISH * 50_000)
    confirmed = 0
    while confirmed < 50_000:
        confirmed = (await served.confirms.get()).delivery_tag
    assert (await served.call(Queue.Declare(queue="q", passive=True))).message_count == 50_000


async def test_resumes() -> None:
    """Publishers above the limit are told, wait, are told again, and lose nothing."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(limits=Limits(memory=300_000)))
        crowd = [await stack.enter_async_context(RawConnection(broker.url)) for _ in range(5)]
        taker = await stack.enter_async_context(RawConnection(broker.url))
        channels = [await each.channel() for each in crowd]
        await channels[0].call(Queue.Declare(queue="q"))
        for each in crowd:
            each.write(PUBLISH * 5000)
        for each in crowd:
            assert isinstance(await each.blocked.get(), Connection.Blocked)
        assert broker.node.bytes_held < 300_000 + 5 * 2**20
        taking = await taker.channel()
        await taking.call(Basic.Consume(queue="q", no_ack=True))
        for _ in range(25_000):
            await taking.deliveries.get()
        for channel in channels:
            assert isinstance(await channel.call(Basic.Qos()), Basic.QosOk)
        assert all(isinstance(each.blocked.items[-1], Connection.Unblocked) for each in crowd)
        assert broker.node.bytes_held == 0


async def test_owner_gone(broker: Broker, served: RawChannel) -> None:
    """An exclusive queue whose owner goes while others publish takes its messages along."""
    for _ in range(20):
        async with RawConnection(broker.url) as owner:
            channel = await owner.channel()
            await channel.call(Queue.Declare(queue="own", exclusive=True))
            await channel.call(Basic.Consume(queue="own"))
            publish = sent(Basic.Publish(routing_key="own")) + header(3) + body(b"abc")
            served.connection.write(publish * 200)
            await channel.deliveries.get()
            await owner.hang_up()
        served.connection.write(publish * 200)
    await until_left(broker, 1)
    assert (await served.call(Basic.Qos())).name == "Basic.QosOk"
    assert broker.node.bytes_held == 0


async def test_deleted_while_delivered(broker: Broker, served: RawChannel) -> None:
    """A queue that is deleted while it is delivered from cancels its consumers."""
    async with RawConnection(broker.url) as connection:
        channel = await connection.channel()
        for _ in range(20):
            await channel.call(Queue.Declare(queue="gone"))
            await channel.call(Basic.Consume(queue="gone", consumer_tag="c"))
            publish = sent(Basic.Publish(routing_key="gone")) + header(3) + body(b"abc")
            served.connection.write(publish * 100 + sent(Queue.Delete(queue="gone")) + publish * 9)
            assert isinstance(await served.replies.get(), Queue.DeleteOk)
            assert (await channel.cancels.get()).consumer_tag == "c"
            channel.send(Basic.Ack(0, multiple=True))
            await channel.call(Basic.Qos())
    assert broker.node.bytes_held == 0


async def test_closes_that_cross(broker: Broker, served: RawChannel) -> None:
    """Cancelling, closing and faults in one packet, in any order, end as each of them would."""
    cancel = sent(Basic.Cancel(consumer_tag="c"))
    fault = sent(Queue.Declare(queue="none", passive=True))
    close = sent(Channel.Close(200, "", 0, 0))
    leave = sent(Connection.Close(200, "", 0, 0), channel=0)
    for parts in ([cancel, close], [fault, cancel], [close, leave], [cancel, fault, leave]):
        async with RawConnection(broker.url) as connection:
            channel = await connection.channel()
            await channel.call(Basic.Consume(queue="q", consumer_tag="c"))
            served.connection.write(PUBLISH * 10)
            connection.write(b"".join(parts) + leave)
            assert isinstance(await connection.closed(), Closed)
    await until_left(broker, 1)
    assert (await served.call(Queue.Declare(queue="q", passive=True))).message_count == 40


async def test_nothing_to_acknowledge(served: RawChannel) -> None:
    """Acknowledging everything up to 0 on a channel that holds nothing is no fault."""
    for method in (Basic.Ack(0, multiple=True), Basic.Nack(0, multiple=True)):
        served.send(method)
        assert isinstance(await served.call(Basic.Qos()), Basic.QosOk)


async def test_signal() -> None:
    """A broker that is told to end under load ends with a word to everybody, and with success."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "busauth", "broker", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with RawConnection(url) as publishing, RawConnection(url) as taking:
        channel = await taking.channel()
        await channel.call(Queue.Declare(queue="q"))
        await channel.call(Basic.Consume(queue="q"))
        await publishing.channel()
        publishing.write(PUBLISH * 20_000)
        await channel.deliveries.get()
        process.send_signal(signal.SIGTERM)
        for connection in (publishing, taking):
            assert (await connection.closed(60)).code == 320
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"Traceback" not in errors
