"""aiormq: the protocol's own methods, asynchronously."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from tests.clients.serving import Server

Inbox = asyncio.Queue[DeliveredMessage]
SECONDS = 10


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[AbstractConnection]:
    connection = await aiormq.connect(server.url)
    yield connection
    await connection.close()


@pytest.fixture
async def channel(connection: AbstractConnection) -> AbstractChannel:
    return await connection.channel()


async def declare(server: Server, channel: AbstractChannel, name: str = "q", **x: Any) -> str:
    """Declare a durable queue; keywords are its x-arguments."""
    queue = server.name(name)
    arguments: Any = {f"x-{key.replace('_', '-')}": value for key, value in x.items()}
    await channel.queue_declare(queue, durable=True, arguments=arguments)
    return queue


async def consume(
    channel: AbstractChannel, queue: str, *, prefetch: int = 0, **arguments: Any
) -> Inbox:
    """Consume into an inbox."""
    inbox: Inbox = asyncio.Queue()
    await channel.basic_qos(prefetch_count=prefetch)
    await channel.basic_consume(queue, inbox.put, arguments=arguments)
    return inbox


async def next_of(inbox: Inbox) -> DeliveredMessage:
    return await asyncio.wait_for(inbox.get(), SECONDS)


def tag_of(message: DeliveredMessage) -> int:
    assert message.delivery_tag
    return message.delivery_tag


async def ready(channel: AbstractChannel, queue: str) -> int:
    return (await channel.queue_declare(queue, passive=True)).message_count or 0


async def until_ready(channel: AbstractChannel, queue: str, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while await ready(channel, queue) != count:
            await asyncio.sleep(0.02)


async def test_wrong_password(server: Server) -> None:
    """A wrong password is refused as such."""
    with pytest.raises(aiormq.exceptions.ProbableAuthenticationError, match="ACCESS_REFUSED"):
        await aiormq.connect(server.wrong_password)


async def test_wrong_vhost(server: Server) -> None:
    """A virtual host that does not exist is refused with connection.close."""
    with pytest.raises(aiormq.exceptions.InvalidFrameError, match=r"Connection\.Close"):
        await aiormq.connect(server.wrong_vhost)


async def test_declare(server: Server, connection: AbstractConnection) -> None:
    """A queue declared with other arguments is 406 and costs the channel, not the connection."""
    queue = await declare(server, await connection.channel())
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="PRECONDITION_FAILED"):
        await (await connection.channel()).queue_declare(queue, durable=False)
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity, match="NOT_FOUND"):
        await (await connection.channel()).queue_declare(server.name("other"), passive=True)
    assert await ready(await connection.channel(), queue) == 0


async def test_server_named(channel: AbstractChannel) -> None:
    """A queue without a name gets one from the broker."""
    declared = await channel.queue_declare(exclusive=True)
    assert (declared.queue or "").startswith("amq.gen-")


async def test_exchanges(server: Server, channel: AbstractChannel) -> None:
    """A topic exchange bound to a fanout one routes by pattern."""
    topic, fanout = server.name("topic"), server.name("fanout")
    queue = await declare(server, channel)
    await channel.exchange_declare(topic, exchange_type="topic")
    await channel.exchange_declare(fanout, exchange_type="fanout")
    await channel.exchange_bind(fanout, topic, "orders.#")
    await channel.queue_bind(queue, fanout)
    await channel.basic_publish(b"in", exchange=topic, routing_key="orders.eu.placed")
    await channel.basic_publish(b"out", exchange=topic, routing_key="stock.eu")
    assert (await channel.basic_get(queue)).body == b"in"
    assert await ready(channel, queue) == 0


async def test_confirm(server: Server, channel: AbstractChannel) -> None:
    """A routed publication is confirmed with an ack."""
    queue = await declare(server, channel)
    confirmation = await channel.basic_publish(b"x", routing_key=queue, mandatory=True)
    assert isinstance(confirmation, Basic.Ack)


async def test_many_confirms(server: Server, channel: AbstractChannel) -> None:
    """Many publications at once are all confirmed, and kept in order."""
    queue = await declare(server, channel)
    bodies = [b"%d" % number for number in range(500)]
    await asyncio.gather(*(channel.basic_publish(body, routing_key=queue) for body in bodies))
    inbox = await consume(channel, queue)
    assert [(await next_of(inbox)).body for _ in bodies] == bodies


async def test_mandatory(connection: AbstractConnection) -> None:
    """What is mandatory and cannot be routed comes back, and the publisher is told."""
    channel = await connection.channel(on_return_raises=True)
    with pytest.raises(aiormq.exceptions.PublishError) as returned:
        await channel.basic_publish(b"x" * 200_000, routing_key="nowhere", mandatory=True)
    assert returned.value.message is not None
    assert returned.value.message.body == b"x" * 200_000
    assert "NO_ROUTE" in str(returned.value)


async def test_rejected_publication(server: Server, channel: AbstractChannel) -> None:
    """A full queue that rejects publications answers with a nack."""
    queue = await declare(server, channel, max_length=1, overflow="reject-publish")
    await channel.basic_publish(b"1", routing_key=queue)
    with pytest.raises(aiormq.exceptions.DeliveryError):
        await channel.basic_publish(b"2", routing_key=queue)


async def test_properties(server: Server, channel: AbstractChannel) -> None:
    """Properties and headers of every kind arrive as they were sent."""
    queue = await declare(server, channel)
    headers: Any = {
        "n": 1,
        "s": "\u00e9",
        "b": bytearray(b"\x00"),
        "t": True,
        "x": None,
        "l": [1, {"a": 2.5}],
    }
    sent = Basic.Properties(
        content_type="text/plain", message_id="m", correlation_id="c", priority=3, headers=headers
    )
    await channel.basic_publish(b"x", routing_key=queue, properties=sent)
    found = (await channel.basic_get(queue)).header.properties
    assert dict(found) == dict(sent)


async def test_prefetch(server: Server, connection: AbstractConnection) -> None:
    """No more deliveries are out than the prefetch allows; an ack makes room for the next."""
    publisher, channel = await connection.channel(), await connection.channel()
    queue = await declare(server, publisher)
    for number in range(4):
        await publisher.basic_publish(b"%d" % number, routing_key=queue)
    inbox = await consume(channel, queue, prefetch=2)
    first = await next_of(inbox)
    await next_of(inbox)
    assert (await ready(channel, queue), inbox.qsize()) == (2, 0)
    await channel.basic_ack(tag_of(first))
    assert (await next_of(inbox)).body == b"2"


async def test_settling(server: Server, channel: AbstractChannel) -> None:
    """Nacked and rejected messages come again as redelivered, acked ones are gone."""
    queue = await declare(server, channel)
    await channel.basic_publish(b"x", routing_key=queue)
    inbox = await consume(channel, queue)
    message = await next_of(inbox)
    assert not message.redelivered
    await channel.basic_nack(tag_of(message), requeue=True)
    message = await next_of(inbox)
    assert message.redelivered
    await channel.basic_reject(tag_of(message), requeue=True)
    await channel.basic_ack(tag_of(await next_of(inbox)))
    await channel.close()
    assert inbox.empty()


async def test_unknown_tag(server: Server, channel: AbstractChannel) -> None:
    """An acknowledgement of what was never delivered closes the channel with 406."""
    queue = await declare(server, channel)
    await channel.basic_ack(99)
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="unknown delivery tag"):
        await channel.queue_declare(queue, passive=True)


async def test_dead_letter(server: Server, channel: AbstractChannel) -> None:
    """A rejected message is dead-lettered, and x-death says from where and why."""
    dead = await declare(server, channel, "dead")
    queue = await declare(server, channel, dead_letter_exchange="", dead_letter_routing_key=dead)
    await channel.basic_publish(b"x", routing_key=queue)
    inbox, letters = await consume(channel, queue), await consume(channel, dead)
    await channel.basic_reject(tag_of(await next_of(inbox)), requeue=False)
    letter = await next_of(letters)
    headers: Any = letter.header.properties.headers
    (death,) = headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("rejected", queue, 1)
    assert headers["x-first-death-reason"] == "rejected"


async def test_ttl(server: Server, channel: AbstractChannel) -> None:
    """What outlives the queue's or its own time to live is dead-lettered as expired."""
    dead = await declare(server, channel, "dead")
    target: Any = {"dead_letter_exchange": "", "dead_letter_routing_key": dead}
    by_queue = await declare(server, channel, "by-queue", message_ttl=20, **target)
    by_message = await declare(server, channel, "by-message", **target)
    letters = await consume(channel, dead)
    await channel.basic_publish(b"x", routing_key=by_queue)
    properties = Basic.Properties(expiration="50")
    await channel.basic_publish(b"y", routing_key=by_message, properties=properties)
    for queue in (by_queue, by_message):
        headers: Any = (await next_of(letters)).header.properties.headers
        assert (headers["x-death"][0]["queue"], headers["x-death"][0]["reason"]) == (
            queue,
            "expired",
        )


async def test_cancel(server: Server, channel: AbstractChannel) -> None:
    """After cancel-ok nothing is delivered any more."""
    queue = await declare(server, channel)
    inbox: Inbox = asyncio.Queue()
    consuming = await channel.basic_consume(queue, inbox.put)
    await channel.basic_cancel(consuming.consumer_tag or "")
    await channel.basic_publish(b"x", routing_key=queue)
    assert (await ready(channel, queue), inbox.qsize()) == (1, 0)


async def test_closed_channel(server: Server, connection: AbstractConnection) -> None:
    """Unsettled messages come back when their channel closes."""
    channel = await connection.channel()
    queue = await declare(server, channel)
    await channel.basic_publish(b"x", routing_key=queue)
    await next_of(await consume(channel, queue))
    await channel.close()
    again = await (await connection.channel()).basic_get(queue)
    assert (again.body, again.redelivered) == (b"x", True)


async def test_large_body(server: Server, channel: AbstractChannel) -> None:
    """A body of many frames arrives whole, and so does an empty one."""
    queue = await declare(server, channel)
    inbox = await consume(channel, queue)
    for body in (bytes(range(256)) * 12_000, b""):
        await channel.basic_publish(body, routing_key=queue)
        assert (await next_of(inbox)).body == body


async def test_cut(server: Server) -> None:
    """A cut connection ends its channels, and its unsettled messages come to the next one."""
    async with server.cuttable() as (url, cut):
        connection = await aiormq.connect(url)
        channel = await connection.channel()
        queue = await declare(server, channel)
        await channel.basic_publish(b"x", routing_key=queue)
        await next_of(await consume(channel, queue))
        cut()
        await asyncio.wait([connection.closing], timeout=SECONDS)
        assert isinstance(connection.closing.exception(), ConnectionError | asyncio.CancelledError)
        again = await aiormq.connect(url)
        message = await next_of(await consume(await again.channel(), queue))
        assert (message.body, message.redelivered) == (b"x", True)
        await again.close()


async def test_transaction(server: Server, connection: AbstractConnection) -> None:
    """What a transaction published is there once it is committed, or never."""
    channel = await connection.channel(publisher_confirms=False)
    queue = await declare(server, channel)
    await channel.tx_select()
    await channel.basic_publish(b"never", routing_key=queue)
    await channel.tx_rollback()
    await channel.basic_publish(b"once", routing_key=queue)
    assert await ready(channel, queue) == 0
    await channel.tx_commit()
    assert (await channel.basic_get(queue)).body == b"once"


async def test_stream(server: Server, connection: AbstractConnection) -> None:
    """A stream is read from an offset, by several, and again."""
    channel = await connection.channel()
    stream = await declare(server, channel, queue_type="stream")
    for number in range(5):
        await channel.basic_publish(b"%d" % number, routing_key=stream)
    for offset in ("first", 3):
        reader = await connection.channel()
        inbox = await consume(reader, stream, prefetch=1, **{"x-stream-offset": offset})
        for number in range(0 if offset == "first" else 3, 5):
            message = await next_of(inbox)
            headers: Any = message.header.properties.headers
            assert (message.body, headers["x-stream-offset"]) == (b"%d" % number, number)
            await reader.basic_ack(tag_of(message))


async def test_quorum(server: Server, channel: AbstractChannel) -> None:
    """A quorum queue counts rejections, and dead-letters beyond its limit."""
    dead = await declare(server, channel, "dead")
    queue = await declare(
        server,
        channel,
        queue_type="quorum",
        delivery_limit=1,
        dead_letter_exchange="",
        dead_letter_routing_key=dead,
    )
    await channel.basic_publish(b"x", routing_key=queue)
    inbox = await consume(channel, queue, prefetch=1)
    for count in (None, 1):
        message = await next_of(inbox)
        assert (message.header.properties.headers or {}).get("x-delivery-count") == count
        await channel.basic_reject(tag_of(message), requeue=True)
    await until_ready(channel, dead, 1)
    headers: Any = (await channel.basic_get(dead)).header.properties.headers
    assert headers["x-death"][0]["reason"] == "delivery_limit"
