"""Opening and closing channels and connections, and what is open on them."""

from functools import partial

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Connection, Queue

from tests.conformance.client import ChannelClosed, ConnectionClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.frames import closes_the_connection_by, sent
from tests.conformance.lettering import eventually
from tests.conformance.refusals import queue_at, same, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

UNEXPECTED = "CHANNEL_ERROR - unexpected method in connection state running"
UNIMPLEMENTED = "COMMAND_INVALID - unimplemented method"
CLOSE = Channel.Close(200, "bye", 0, 0)


async def tuned(server: Server, channels: int, frame_max: int = 131072) -> RawConnection:
    """A connection with limits of its own."""
    connection = RawConnection(server.url)
    server.connections.append(connection)
    await connection.connect()
    await connection.replies.get()
    plain = f"\0{connection.user}\0{connection.password}"
    await connection.call(Connection.StartOk({}, "PLAIN", plain))
    connection.write(sent(Connection.TuneOk(channels, frame_max, 0), channel=0))
    await connection.call(Connection.Open(connection.vhost))
    connection.frame_max = frame_max
    return connection


@pytest.mark.parametrize("number", [1, 2, 100, 2047])
async def test_open(connection: RawConnection, number: int) -> None:
    """A client gives a channel any number, in any order."""
    await works(await connection.channel(number))
    await works(await connection.channel(7))


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize("number", [2048, 65535])
async def test_open_above_the_limit(connection: RawConnection, number: int) -> None:
    """The limit is one to how many channels there are, not to their numbers."""
    await works(await connection.channel(number))


async def test_too_many(server: Server) -> None:
    """A channel more than was agreed on closes the connection."""
    connection = await tuned(server, 2)
    first, second = await connection.channel(), await connection.channel()
    await first.call(CLOSE)
    third = await connection.channel(3)
    with pytest.raises(ConnectionClosed) as caught:
        await connection.channel(4)
    text = "number of channels opened (2) has reached the negotiated channel_max (2)"
    same(caught.value, (530, f"NOT_ALLOWED - {text}", (0, 0)))
    for channel in (second, third):
        assert isinstance(await channel.closed(), ConnectionClosed)


async def test_second_open(server: Server, channel: RawChannel) -> None:
    """Opening an open channel closes the connection."""
    expected = (504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10))
    await closes_the_connection_by(server, channel, sent(Channel.Open()), expected)


@pytest.mark.parametrize(
    "method",
    [
        Channel.Close(200, "bye", 0, 0),
        Channel.CloseOk(),
        Channel.Flow(active=True),
        Basic.Qos(),
        Queue.Declare(),
    ],
    ids=lambda method: str(method.name),
)
async def test_not_open(server: Server, channel: RawChannel, method: Frame) -> None:
    """A method on a channel that is not open closes the connection."""
    ids = (method.index >> 16, method.index & 0xFFFF)
    expected = (504, "CHANNEL_ERROR - expected 'channel.open'", ids)
    await closes_the_connection_by(server, channel, sent(method, channel=9), expected)


async def test_closed(server: Server, channel: RawChannel) -> None:
    """A channel that was closed is not open."""
    assert isinstance(await channel.call(CLOSE), Channel.CloseOk)
    other = await channel.connection.channel(5)
    data = sent(Basic.Qos(), channel=channel.number)
    expected = (504, "CHANNEL_ERROR - expected 'channel.open'", (60, 10))
    await closes_the_connection_by(server, other, data, expected)


async def test_reopen(channel: RawChannel) -> None:
    """The number of a closed channel can be used again, and tags start anew."""
    connection = channel.connection
    for _ in range(3):
        queue = (await channel.call(Queue.Declare(exclusive=True))).queue
        channel.publish(b"x", queue)
        content = await channel.get(queue)
        assert content is not None
        assert content.method.delivery_tag == 1
        assert isinstance(await channel.call(CLOSE), Channel.CloseOk)
        channel = await connection.channel(channel.number)


async def test_reopen_after_a_refusal(channel: RawChannel) -> None:
    """The number of a channel that the broker closed can be used again after close-ok."""
    with pytest.raises(ChannelClosed):
        await channel.call(Queue.Declare(queue="no.such.queue", passive=True))
    await works(await channel.connection.channel(channel.number))


async def test_after_a_refusal(server: Server, channel: RawChannel) -> None:
    """What a client sends after a fault until its close-ok is ignored."""
    queue = await server.queue(channel)
    missing = server.queue_name("missing")
    channel.publish(b"before", queue)
    channel.send(Queue.Purge(queue=missing))
    channel.publish(b"after", queue)
    channel.publish(b"after", "", "no such exchange")
    channel.send(Queue.Delete(queue=queue))
    same(await channel.closed(), (404, f"NOT_FOUND - no {queue_at(missing)}", (50, 30)))
    again = await channel.connection.channel(channel.number)
    content = await again.get(queue)
    assert content is not None
    assert content.body == b"before"
    assert await again.get(queue) is None


@versions("3.10 - 4.2", still=True)
@pytest.mark.parametrize(
    "method",
    [
        Channel.OpenOk(),
        Channel.CloseOk(),
        Channel.FlowOk(active=True),
        Queue.DeclareOk("q", 0, 0),
        Basic.CancelOk("tag"),
        Basic.GetEmpty(),
        Connection.Open("/"),
        Connection.Close(200, "bye", 0, 0),
        Connection.StartOk({}, "PLAIN", "", "en_US"),
    ],
    ids=lambda method: str(method.name),
)
async def test_not_of_a_client(server: Server, channel: RawChannel, method: Frame) -> None:
    """A method that only the broker sends, or that is none of a channel, closes the connection."""
    ids = (method.index >> 16, method.index & 0xFFFF)
    await closes_the_connection_by(server, channel, sent(method), (503, UNIMPLEMENTED, ids))


@pytest.mark.parametrize(
    "method",
    [
        Connection.Start(0, 9, {}),
        Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"),
        Connection.Secure("x"),
        Connection.Tune(0, 0, 0),
        Connection.TuneOk(2047, 131072, 0),
        Connection.Open("/"),
        Connection.OpenOk(),
        Connection.CloseOk(),
        Connection.Blocked("x"),
        Channel.Open(),
        Channel.Close(200, "bye", 0, 0),
        Basic.Qos(),
        Queue.Declare(),
    ],
    ids=lambda method: str(method.name),
)
async def test_channel_zero(server: Server, channel: RawChannel, method: Frame) -> None:
    """Channel 0 is for closing and for a new secret; all else closes the connection."""
    ids = (method.index >> 16, method.index & 0xFFFF)
    data = sent(method, channel=0)
    await closes_the_connection_by(server, channel, data, (504, UNEXPECTED, ids))


async def test_flow(channel: RawChannel) -> None:
    """channel.flow lets the client say that it takes messages, which it does anyway."""
    reply = await channel.call(Channel.Flow(active=True))
    assert isinstance(reply, Channel.FlowOk)
    assert reply.active is True


async def test_flow_off(server: Server, channel: RawChannel) -> None:
    """channel.flow does not stop deliveries: asking for it closes the connection."""
    data = sent(Channel.Flow(active=False))
    expected = (540, "NOT_IMPLEMENTED - active=false", (20, 20))
    await closes_the_connection_by(server, channel, data, expected)


@pytest.mark.parametrize("secret", ["guest", "anything", ""])
async def test_update_secret(channel: RawChannel, secret: str) -> None:
    """connection.update-secret is taken by users with passwords, whatever it says."""
    reply = await channel.connection.call(Connection.UpdateSecret(secret, "a reason"))
    assert isinstance(reply, Connection.UpdateSecretOk)
    await works(channel)


async def test_close_returns_messages(server: Server, channel: RawChannel) -> None:
    """Closing a channel returns what it had not acknowledged, in order, and ends its consumers."""
    queue = await server.queue(channel)
    closing = await channel.connection.channel()
    for body in (b"1", b"2", b"3"):
        channel.publish(body, queue)
    got = await channel.get(queue)
    assert got is not None
    channel.send(Basic.Reject(delivery_tag=got.method.delivery_tag, requeue=True))
    await closing.call(Basic.Qos(prefetch_count=2))
    await closing.call(Basic.Consume(queue=queue))
    taken = [await closing.deliveries.get() for _ in range(2)]
    assert [content.body for content in taken] == [b"1", b"2"]
    assert isinstance(await closing.call(CLOSE), Channel.CloseOk)
    for expected in ((b"1", True), (b"2", True), (b"3", False)):
        content = await eventually(lambda: channel.get(queue))
        assert (content.body, content.method.redelivered) == expected
    assert (await channel.call(Queue.Declare(queue=queue, passive=True))).consumer_count == 0


async def test_refusal_returns_messages(server: Server, channel: RawChannel) -> None:
    """A channel that the broker closes returns its messages too."""
    queue = await server.queue(channel)
    channel.publish(b"x", queue)
    assert await channel.get(queue) is not None
    with pytest.raises(ChannelClosed):
        await channel.call(Queue.Purge(queue=server.queue_name("missing")))
    other = await channel.connection.channel()
    content = await eventually(lambda: other.get(queue))
    assert content.method.redelivered is True


@pytest.mark.parametrize("politely", [True, False])
async def test_connection_returns_messages(
    server: Server, channel: RawChannel, politely: bool
) -> None:
    """A connection that ends returns the messages of all its channels."""
    queue = await server.queue(channel)
    connection = await server.connect()
    for body in (b"1", b"2"):
        channel.publish(body, queue)
        one = await connection.channel()
        assert await eventually(partial(one.get, queue)) is not None
    if politely:
        same(await _closing(connection), (200, "closed on request", (0, 0)))
    else:
        await connection.hang_up()
    found = {(await eventually(lambda: channel.get(queue))).body for _ in range(2)}
    assert found == {b"1", b"2"}


async def _closing(connection: RawConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        await connection.call(Connection.Close(200, "bye", 0, 0))
    return caught.value


async def test_publish_and_close(server: Server, channel: RawChannel) -> None:
    """What was published before the channel or the connection was closed is not lost."""
    queue = await server.queue(channel)
    connection = await server.connect()
    one, two = await connection.channel(), await connection.channel()
    one.publish(b"1", queue)
    await one.call(CLOSE)
    two.publish(b"2", queue)
    await _closing(connection)
    found = [(await eventually(lambda: channel.get(queue))).body for _ in range(2)]
    assert found == [b"1", b"2"]


async def test_half_a_message(server: Server, channel: RawChannel) -> None:
    """A connection may be closed in the middle of a message, which is lost."""
    queue = await server.queue(channel)
    connection = await server.connect()
    half = await connection.channel()
    half.send(Basic.Publish(exchange="", routing_key=queue))
    same(await _closing(connection), (200, "closed on request", (0, 0)))
    assert await channel.get(queue) is None
