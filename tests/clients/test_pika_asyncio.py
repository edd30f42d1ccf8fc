"""pika's asyncio adapter: callbacks on this loop, no threads."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
from pika.adapters.asyncio_connection import AsyncioConnection  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    ConnectionClosedByBroker,
    ConnectionClosedByClient,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from tests.clients.serving import Server

SECONDS = 10


class Callbacks:
    """Turns callbacks into futures, as every user of this adapter has to."""

    def __init__(self, url: str) -> None:
        self.closed: asyncio.Future[BaseException] = asyncio.Future()
        self._open: asyncio.Future[Any] = asyncio.Future()
        self.connection = AsyncioConnection(
            pika.URLParameters(url),
            on_open_callback=self._open.set_result,
            on_open_error_callback=lambda _, error: self._open.set_exception(error),
            on_close_callback=lambda _, error: self.closed.set_result(error),
        )

    async def opened(self) -> None:
        await asyncio.wait_for(self._open, SECONDS)

    async def call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        """Call a method that takes a callback, and wait for it."""
        done: asyncio.Future[Any] = asyncio.Future()
        method(*arguments, callback=done.set_result, **options)
        return await asyncio.wait_for(done, SECONDS)

    async def channel(self) -> Any:
        done: asyncio.Future[Any] = asyncio.Future()
        self.connection.channel(on_open_callback=done.set_result)
        return await asyncio.wait_for(done, SECONDS)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Callbacks]:
    client = Callbacks(server.url)
    await client.opened()
    yield client
    client.connection.close()
    assert isinstance(await client.closed, ConnectionClosedByClient)


async def consume(channel: Any, queue: str) -> asyncio.Queue[Any]:
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    channel.basic_consume(queue, lambda _, *message: inbox.put_nowait(message))
    return inbox


async def next_of(inbox: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(inbox.get(), SECONDS)


async def test_wrong_password(server: Server) -> None:
    """A wrong password is refused as such."""
    with pytest.raises(ProbableAuthenticationError):
        await Callbacks(server.wrong_password).opened()


async def test_wrong_vhost(server: Server) -> None:
    """A virtual host that does not exist is refused by its name."""
    with pytest.raises((ConnectionClosedByBroker, ProbableAccessDeniedError), match="nowhere"):
        await Callbacks(server.wrong_vhost).opened()


async def test_declared_otherwise(server: Server, client: Callbacks) -> None:
    """What the broker refuses closes the channel with its reason; a new channel works."""
    channel, queue = await client.channel(), server.name()
    closed: asyncio.Future[Any] = asyncio.Future()
    channel.add_on_close_callback(lambda _, error: closed.set_result(error))
    await client.call(channel.queue_declare, queue, durable=True)
    channel.queue_declare(queue, callback=lambda _: pytest.fail("it was declared"))
    assert (await asyncio.wait_for(closed, SECONDS)).reply_code == 406
    await client.call((await client.channel()).queue_declare, queue, passive=True)


async def test_dead_letters(server: Server, client: Callbacks) -> None:
    """Messages nacked and expired are dead-lettered with x-death."""
    channel, queue, dead = await client.channel(), server.name(), server.name("dead")
    target = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    await client.call(channel.queue_declare, dead)
    await client.call(channel.queue_declare, queue, arguments=target)
    letters = await consume(channel, dead)
    channel.basic_publish("", queue, b"x", pika.BasicProperties(expiration="10"))
    assert (await next_of(letters))[1].headers["x-death"][0]["reason"] == "expired"
    inbox = await consume(channel, queue)
    channel.basic_publish("", queue, b"y")
    method, _, _ = await next_of(inbox)
    channel.basic_nack(method.delivery_tag, requeue=False)
    _, properties, body = await next_of(letters)
    (death,) = properties.headers["x-death"]
    assert (death["reason"], death["queue"], body) == ("rejected", queue, b"y")


async def test_confirms_and_returns(server: Server, client: Callbacks) -> None:
    """Publications are confirmed by number, unroutable ones are returned before that."""
    channel, queue = await client.channel(), server.name()
    events: list[str] = []
    done = asyncio.Event()

    def confirmed(frame: Any) -> None:
        last = frame.method.delivery_tag
        events.append(f"{frame.method.NAME} {'and before' if frame.method.multiple else ''}")
        if last == 2:
            done.set()

    channel.confirm_delivery(confirmed)
    channel.add_on_return_callback(lambda _, method, *__: events.append(method.reply_text))
    await client.call(channel.queue_declare, queue)
    channel.basic_publish("", "nowhere", b"x", mandatory=True)
    channel.basic_publish("", queue, b"y", mandatory=True)
    await asyncio.wait_for(done.wait(), SECONDS)
    assert events[0] == "NO_ROUTE"
    assert all(event.startswith("Basic.Ack") for event in events[1:])
    assert (await client.call(channel.queue_declare, queue)).method.message_count == 1


async def test_consume(server: Server, client: Callbacks) -> None:
    """Deliveries keep to the prefetch and come again when they are rejected with requeue."""
    channel, queue = await client.channel(), server.name()
    await client.call(channel.queue_declare, queue, durable=True)
    await client.call(channel.basic_qos, prefetch_count=1)
    for body in (b"1", b"2"):
        channel.basic_publish("", queue, body)
    inbox = await consume(channel, queue)
    method, _, body = await next_of(inbox)
    assert (method.redelivered, body, inbox.qsize()) == (False, b"1", 0)
    channel.basic_reject(method.delivery_tag, requeue=True)
    method, _, body = await next_of(inbox)
    assert (method.redelivered, body) == (True, b"1")
    channel.basic_ack(method.delivery_tag)
    assert (await next_of(inbox))[2] == b"2"


async def test_cancel(server: Server, client: Callbacks) -> None:
    """After cancel-ok nothing comes any more; a deleted queue cancels, and says so."""
    channel, queue = await client.channel(), server.name()
    told: asyncio.Future[Any] = asyncio.Future()
    channel.add_on_cancel_callback(told.set_result)
    await client.call(channel.queue_declare, queue)
    tag = channel.basic_consume(queue, lambda *_: None)
    await client.call(channel.basic_cancel, tag)
    tag = channel.basic_consume(queue, lambda *_: None)
    await client.call(channel.queue_delete, queue)
    assert (await asyncio.wait_for(told, SECONDS)).method.consumer_tag == tag


async def test_large_body(server: Server, client: Callbacks) -> None:
    """A body of many frames arrives whole."""
    channel, queue, large = await client.channel(), server.name(), bytes(range(256)) * 8_000
    await client.call(channel.queue_declare, queue)
    channel.basic_publish("", queue, large)
    _, _, body = await next_of(await consume(channel, queue))
    assert body == large


async def test_cut(server: Server) -> None:
    """A cut connection is a lost stream; a new one gets what was out."""
    queue = server.name()
    async with server.cuttable() as (url, cut):
        client = Callbacks(url)
        await client.opened()
        channel = await client.channel()
        await client.call(channel.queue_declare, queue, durable=True)
        channel.basic_publish("", queue, b"x")
        await next_of(await consume(channel, queue))
        cut()
        assert isinstance(await asyncio.wait_for(client.closed, SECONDS), StreamLostError)
        again = Callbacks(url)
        await again.opened()
        method, _, body = await next_of(await consume(await again.channel(), queue))
        assert (method.redelivered, body) == (True, b"x")
        again.connection.close()
        await again.closed
