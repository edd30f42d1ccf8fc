"""What counts as memory besides queues: transactions, and messages that are not whole."""

from collections.abc import AsyncIterator

import pytest
from pamqp.commands import Basic, Connection, Queue, Tx

from busauth.testing.broker import Broker, Limits
from tests.broker.model import Client, node
from tests.conformance.client import RawConnection
from tests.conformance.frames import body, header, sent

LIMIT = 1_000_000
PUBLISH = Basic.Publish(routing_key="q")


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker(limits=Limits(memory=LIMIT)) as broker:
        yield broker


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_transaction(end: str) -> None:
    """A transaction's messages count until they are in their queues, or forgotten."""
    client = Client.of(node(memory=50_000))
    client.declare("q")
    client.channel.tx_select()
    for _ in range(100):
        client.publish("q", bytes(1000))
    assert client.node.bytes_held > 100_000
    assert client.sink.blockings == ["low on memory"]
    if end == "commit":
        client.channel.tx_commit()
        assert client.channel.vhost.queues["q"].messages() == 100
        assert client.channel.queue_purge("q") == 100
    elif end == "rollback":
        client.channel.tx_rollback()
    else:
        client.close()
    assert client.node.bytes_held == 0
    assert client.sink.blockings[-1] == "" or end == "close"


@pytest.mark.long
async def test_large_transaction() -> None:
    """A transaction of 100,000 publications is blocked as others are, and everybody else served."""
    async with (
        Broker(limits=Limits(memory=20 * LIMIT)) as broker,
        RawConnection(broker.url) as connection,
        RawConnection(broker.url) as other,
    ):
        channel = await connection.channel()
        await channel.call(Tx.Select())
        connection.write((sent(PUBLISH) + header(3) + body(b"abc")) * 100_000)
        assert isinstance(await connection.blocked.get(), Connection.Blocked)
        assert isinstance(await (await other.channel()).call(Basic.Qos()), Basic.QosOk)
        assert 20 * LIMIT < broker.node.bytes_held < 22 * LIMIT
        await connection.hang_up()


async def test_unfinished(broker: Broker) -> None:
    """Parts of messages count as they come, until they are whole or their sender is gone."""
    async with RawConnection(broker.url) as connection, RawConnection(broker.url) as other:
        channel = await connection.channel()
        await channel.call(Queue.Declare(queue="q"))
        connection.write(sent(PUBLISH) + header(300_000) + body(bytes(100_000)) * 2)
        await (await connection.channel()).call(Basic.Qos())
        assert broker.node.bytes_held == 200_000
        connection.write(body(bytes(100_000)))
        assert (await channel.call(Queue.Declare(queue="q", passive=True))).message_count == 1
        assert 300_000 <= broker.node.bytes_held < 301_000
        connection.write(sent(PUBLISH) + header(300_000) + body(bytes(100_000)) * 2)
        await (await connection.channel()).call(Basic.Qos())
        await connection.hang_up()
        await (await other.channel()).call(Basic.Qos())
        assert 300_000 <= broker.node.bytes_held < 301_000


async def test_many_unfinished(broker: Broker) -> None:
    """Whoever sends parts of messages without end is told, and not read from any more."""
    async with RawConnection(broker.url) as connection:
        for _ in range(50):
            number = (await connection.channel()).number
            connection.write(sent(PUBLISH, channel=number) + header(10**7, channel=number))
        for number in range(1, 51):
            connection.write(body(bytes(100_000), channel=number))
        assert isinstance(await connection.blocked.get(), Connection.Blocked)
        assert broker.node.bytes_held < 3 * LIMIT
        await connection.hang_up()
