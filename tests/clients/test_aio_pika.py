"""aio-pika, plain and robust."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aio_pika
import aiormq
import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
    AbstractRobustConnection,
)
from aio_pika.patterns import RPC

from busauth.testing.broker import Broker
from tests.clients.serving import Server

Inbox = asyncio.Queue[AbstractIncomingMessage]
SECONDS = 20
LOST = (aiormq.exceptions.AMQPError, ConnectionError, RuntimeError)
"""What a call may raise while its connection is away."""


@pytest.fixture(params=[aio_pika.connect, aio_pika.connect_robust], ids=["plain", "robust"])
async def connection(
    request: pytest.FixtureRequest, server: Server
) -> AsyncIterator[AbstractConnection]:
    connection = await request.param(server.url)
    async with connection:
        yield connection


@pytest.fixture
async def channel(connection: AbstractConnection) -> AbstractChannel:
    return await connection.channel(on_return_raises=True)


async def declare(
    server: Server, channel: AbstractChannel, name: str = "q", **x: Any
) -> AbstractQueue:
    """Declare a durable queue; keywords are its x-arguments."""
    arguments = {f"x-{key.replace('_', '-')}": value for key, value in x.items()}
    return await channel.declare_queue(server.name(name), durable=True, arguments=arguments)


async def publish(channel: AbstractChannel, key: str, body: bytes = b"x", **properties: Any) -> Any:
    message = Message(body, **properties)
    return await channel.default_exchange.publish(message, key, timeout=SECONDS)


async def consume(queue: AbstractQueue, **options: Any) -> Inbox:
    inbox: Inbox = asyncio.Queue()
    await queue.consume(inbox.put, **options)
    return inbox


async def next_of(inbox: Inbox) -> AbstractIncomingMessage:
    return await asyncio.wait_for(inbox.get(), SECONDS)


async def until_ready(queue: AbstractQueue, count: int) -> None:
    """Wait for a count: what is given back is ready a moment later."""
    async with asyncio.timeout(SECONDS):
        while (await queue.declare()).message_count != count:
            await asyncio.sleep(0.02)


def deaths(message: AbstractIncomingMessage) -> Any:
    return message.headers.get("x-death", [])


@pytest.mark.parametrize("connect", [aio_pika.connect, aio_pika.connect_robust])
async def test_wrong_password(server: Server, connect: Any) -> None:
    """A wrong password is refused at once, also where a lost connection would be tried again."""
    with pytest.raises(aiormq.exceptions.ProbableAuthenticationError, match="ACCESS_REFUSED"):
        await connect(server.wrong_password)


@pytest.mark.parametrize("connect", [aio_pika.connect, aio_pika.connect_robust])
async def test_wrong_vhost(server: Server, connect: Any) -> None:
    """A virtual host that does not exist is refused at once."""
    with pytest.raises(aiormq.exceptions.InvalidFrameError, match=r"Connection\.Close"):
        await connect(server.wrong_vhost)


async def test_declare(server: Server, channel: AbstractChannel) -> None:
    """Exchanges and queues are declared, bound, purged and deleted."""
    exchange = await channel.declare_exchange(server.name("x"), aio_pika.ExchangeType.HEADERS)
    queue = await declare(server, channel)
    await queue.bind(exchange, arguments={"x-match": "any", "kind": "order"})
    await exchange.publish(Message(b"in", headers={"kind": "order"}), "")
    assert (await queue.purge()).message_count == 1
    await queue.unbind(exchange, arguments={"x-match": "any", "kind": "order"})
    await queue.delete()
    await exchange.delete()


async def test_passive(server: Server, connection: AbstractConnection) -> None:
    """A queue that is not there is told as such, and the connection lives on."""
    channel = await connection.channel()
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
        await channel.declare_queue(server.name(), passive=True)
    await declare(server, await connection.channel(), "other")


async def test_mandatory(server: Server, channel: AbstractChannel) -> None:
    """Publishing is confirmed when it is routed, and an error when it is not."""
    queue = await declare(server, channel)
    assert isinstance(await publish(channel, queue.name), aiormq.spec.Basic.Ack)
    with pytest.raises(aiormq.exceptions.PublishError, match="NO_ROUTE"):
        await publish(channel, "nowhere")


async def test_properties(server: Server, channel: AbstractChannel) -> None:
    """A message arrives with everything it was sent with."""
    queue = await declare(server, channel)
    await publish(channel, queue.name, b"x", priority=2, message_id="m", headers={"a": [1, "b"]})
    message = await queue.get()
    assert (message.body, message.priority, message.message_id) == (b"x", 2, "m")
    assert message.headers == {"a": [1, "b"]}
    assert message.routing_key == queue.name


async def test_prefetch(server: Server, channel: AbstractChannel) -> None:
    """No more messages are out than the prefetch allows; an ack makes room."""
    queue = await declare(server, channel)
    for number in range(3):
        await publish(channel, queue.name, b"%d" % number)
    await channel.set_qos(prefetch_count=2)
    inbox = await consume(queue)
    first = await next_of(inbox)
    await next_of(inbox)
    assert (await queue.declare()).message_count == 1
    await first.ack()
    assert (await next_of(inbox)).body == b"2"


async def test_settling(server: Server, channel: AbstractChannel) -> None:
    """Nacked and rejected messages come again as redelivered, a processed one is gone."""
    queue = await declare(server, channel)
    await publish(channel, queue.name)
    inbox = await consume(queue)
    await (await next_of(inbox)).nack()
    await (await next_of(inbox)).reject(requeue=True)
    message = await next_of(inbox)
    assert message.redelivered
    async with message.process():
        pass
    assert (await queue.declare()).message_count == 0


async def test_dead_letter(server: Server, channel: AbstractChannel) -> None:
    """Messages rejected or too old are dead-lettered, and x-death counts how often."""
    retry = await declare(
        server,
        channel,
        "retry",
        message_ttl=20,
        dead_letter_exchange="",
        dead_letter_routing_key=f"{server.prefix}.q",
    )
    queue = await declare(
        server, channel, dead_letter_exchange="", dead_letter_routing_key=retry.name
    )
    await publish(channel, queue.name)
    inbox = await consume(queue)
    for count in range(3):
        message = await next_of(inbox)
        found = {death["reason"]: death["count"] for death in deaths(message)}
        assert found == ({"rejected": count, "expired": count} if count else {})
        await message.reject()


async def test_expiration(server: Server, channel: AbstractChannel) -> None:
    """A message that outlives its own expiration is dead-lettered as expired."""
    dead = await declare(server, channel, "dead")
    queue = await declare(
        server, channel, dead_letter_exchange="", dead_letter_routing_key=dead.name
    )
    await publish(channel, queue.name, expiration=0.02)
    letter = await next_of(await consume(dead))
    assert [(death["reason"], death["queue"]) for death in deaths(letter)] == [
        ("expired", queue.name)
    ]
    assert letter.expiration is None


async def test_cancel(server: Server, channel: AbstractChannel) -> None:
    """Leaving an iterator cancels its consumer, and gives back what it had not handed out."""
    queue = await declare(server, channel)
    for _ in range(5):
        await publish(channel, queue.name)
    async with queue.iterator() as messages:
        async for message in messages:
            await message.ack()
            break
    await until_ready(queue, 4)
    assert (await queue.declare()).consumer_count == 0


async def test_large_body(server: Server, channel: AbstractChannel) -> None:
    """A body of many frames arrives whole."""
    queue = await declare(server, channel)
    body = bytes(range(256)) * 8_000
    await publish(channel, queue.name, body)
    assert (await queue.get()).body == body


async def test_rpc(server: Server, connection: AbstractConnection) -> None:
    """The RPC pattern gets its answers, and a call to nobody its error."""

    async def double(*, number: int) -> int:
        return number * 2

    rpc = await RPC.create(await connection.channel())
    method = server.name("double")
    await rpc.register(method, double, auto_delete=True)
    calls = [rpc.call(method, {"number": number}) for number in range(20)]
    assert await asyncio.gather(*calls) == [number * 2 for number in range(20)]
    with pytest.raises(aio_pika.exceptions.MessageProcessError):
        await rpc.call(f"{method}.nobody", {})
    await rpc.close()


async def test_direct_reply_to(server: Server, channel: AbstractChannel) -> None:
    """An answer comes without a queue, through amq.rabbitmq.reply-to."""
    queue = await declare(server, channel)
    answers = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    inbox = await consume(answers, no_ack=True)
    await publish(channel, queue.name, b"question", reply_to="amq.rabbitmq.reply-to")
    question = await queue.get()
    assert question.reply_to
    answer = Message(b"answer")
    await channel.default_exchange.publish(answer, question.reply_to, mandatory=False)
    assert (await next_of(inbox)).body == b"answer"


async def test_plain_cut(server: Server) -> None:
    """A plain connection that is cut says so, and its messages come to the next one."""
    async with server.cuttable() as (url, cut):
        connection = await aio_pika.connect(url)
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *_: closed.set())
        channel = await connection.channel()
        queue = await declare(server, channel)
        await publish(channel, queue.name)
        await next_of(await consume(queue))
        cut()
        await asyncio.wait_for(closed.wait(), SECONDS)
        async with await aio_pika.connect(url) as again:
            inbox = await consume(await (await again.channel()).get_queue(queue.name))
            assert (await next_of(inbox)).redelivered


async def test_robust_cut(server: Server) -> None:
    """A robust connection comes back by itself: queues, bindings and consumers with it."""
    async with server.cuttable() as (url, cut):
        connection = await aio_pika.connect_robust(url, reconnect_interval=0.1)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)
            exchange = await channel.declare_exchange(server.name("x"), auto_delete=True)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "k")
            inbox = await consume(queue)
            for body in (b"1", b"2", b"3"):
                await exchange.publish(Message(body), "k")
                message = await next_of(inbox)
                assert message.body == body
                await message.ack()
                await _cut(connection, cut)


async def test_robust_unsettled(server: Server) -> None:
    """What was out when the connection was cut comes again, to the restored consumer."""
    async with server.cuttable() as (url, cut):
        connection = await aio_pika.connect_robust(url, reconnect_interval=0.1)
        async with connection:
            channel = await connection.channel()
            queue = await declare(server, channel)
            inbox = await consume(queue)
            await publish(channel, queue.name)
            await next_of(inbox)
            await _cut(connection, cut)
            again = await next_of(inbox)
            assert again.redelivered
            await again.ack()
            assert (await queue.declare()).message_count == 0


async def test_many_cuts(server: Server) -> None:
    """Through many cuts, every publication that was confirmed is consumed."""
    bodies, found = {b"%d" % number for number in range(200)}, set[bytes]()
    async with server.cuttable() as (url, cut):
        connection = await aio_pika.connect_robust(url, reconnect_interval=0.05)
        async with connection:
            channel = await connection.channel()
            queue = await declare(server, channel, queue_type="quorum")

            async def handle(message: AbstractIncomingMessage) -> None:
                found.add(message.body)
                with suppress(*LOST):
                    await message.ack()

            await queue.consume(handle)
            for number, body in enumerate(bodies):
                if number % 40 == 20:
                    cut()
                await _until_confirmed(channel, queue.name, body)
            async with asyncio.timeout(SECONDS):
                while found != bodies:
                    await asyncio.sleep(0.02)


async def _until_confirmed(channel: AbstractChannel, key: str, body: bytes) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(*LOST):
                await publish(channel, key, body)
                return
            await asyncio.sleep(0.01)


async def test_restart() -> None:
    """A robust consumer goes on after the embedded broker was stopped and started again."""
    async with Broker() as broker:
        connection = await aio_pika.connect_robust(broker.url, reconnect_interval=0.05)
        async with connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("q", durable=True)
            message = Message(b"x", delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, "q")
            inbox = await consume(queue)
            await next_of(inbox)
            await broker.stop()
            await broker.start()
            again = await next_of(inbox)
            assert (again.body, again.redelivered) == (b"x", True)
            await again.ack()


async def _cut(connection: AbstractRobustConnection, cut: Any) -> None:
    """Cut, and wait until the connection is there again."""
    back = asyncio.Event()
    connection.reconnect_callbacks.add(lambda *_: back.set())
    cut()
    await asyncio.wait_for(back.wait(), SECONDS)
