"""amq.rabbitmq.reply-to: replies that go to a channel and not through a queue."""

import re
from typing import Any

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Queue, Tx

from tests.conformance.client import ChannelClosed, Content, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import ACK, PUBLISH, closes, filled, next_bodies, order
from tests.conformance.lettering import consume, eventually, take
from tests.conformance.refusals import (
    closes_the_connection,
    queue_at,
    refused,
    works,
)
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

REPLIES = "amq.rabbitmq.reply-to"
ADDRESS = re.compile(r"amq\.rabbitmq\.reply-to\.[A-Za-z0-9+/=]+\.[A-Za-z0-9+/=]+\Z")


async def listen(channel: RawChannel, tag: str = "replies") -> None:
    """Become ready for replies."""
    assert await consume(channel, REPLIES, consumer_tag=tag, no_ack=True) == tag


async def request(server: Server, channel: RawChannel, name: str = "requests") -> Content:
    """Send a request and take it on the other side."""
    queue = await server.queue(channel, name)
    channel.publish(b"request", queue, reply_to=REPLIES, correlation_id="1", message_id="2")
    return await take(channel, queue)


async def address(server: Server, channel: RawChannel) -> str:
    """Where replies to this channel go."""
    return str((await request(server, channel)).properties.reply_to)


def to(queue: str, kind: type[Frame], **values: Any) -> Any:
    """A method for a queue of this name, which pamqp would not write."""
    unchecked = type(kind.__name__, (kind,), {"validate": lambda _: None})
    return unchecked(queue=queue, **values)


async def far_channel(server: Server) -> RawChannel:
    return await (await server.connect()).channel()


async def test_consume(channel: RawChannel) -> None:
    """A consumer of replies has a tag as any other, and needs no queue."""
    reply = await channel.call(Basic.Consume(queue=REPLIES, no_ack=True))
    assert reply.consumer_tag.startswith("amq.ctag-")
    other = await channel.connection.channel()
    await listen(other, "mine")


async def test_consume_nowait(server: Server, channel: RawChannel) -> None:
    """With no-wait there is no consume-ok, and there are replies."""
    channel.send(Basic.Consume(queue=REPLIES, no_ack=True, consumer_tag="mine", nowait=True))
    channel.publish(b"x", await address(server, channel))
    assert (await channel.deliveries.get()).method.consumer_tag == "mine"


async def test_acknowledging(channel: RawChannel) -> None:
    """Replies are not acknowledged."""
    text = "PRECONDITION_FAILED - reply consumer cannot acknowledge"
    await refused(channel, Basic.Consume(queue=REPLIES), 406, text)


async def test_second(channel: RawChannel) -> None:
    """A channel has one consumer of replies."""
    await listen(channel)
    text = "PRECONDITION_FAILED - reply consumer already set"
    await refused(channel, Basic.Consume(queue=REPLIES, no_ack=True), 406, text)


async def test_second_acknowledging(channel: RawChannel) -> None:
    """That replies are not acknowledged is seen first."""
    await listen(channel)
    text = "PRECONDITION_FAILED - reply consumer cannot acknowledge"
    await refused(channel, Basic.Consume(queue=REPLIES), 406, text)


async def test_tag_reused(server: Server, channel: RawChannel) -> None:
    """A tag that is in use on the channel closes the connection."""
    await consume(channel, await server.queue(channel), consumer_tag="mine")
    method = Basic.Consume(queue=REPLIES, no_ack=True, consumer_tag="mine")
    text = "NOT_ALLOWED - attempt to reuse consumer tag 'mine'"
    await closes_the_connection(server, channel, method, 530, text)


@versions("3.10 - 4.1", still=True)
async def test_tag_of_replies_reused(server: Server, channel: RawChannel) -> None:
    """The tag of the consumer of replies may be used again, and a cancel means the replies."""
    await listen(channel, "mine")
    name = await filled(server, await channel.connection.channel(), b"0")
    await consume(channel, name, consumer_tag="mine")
    assert await next_bodies(channel, 1) == [b"0"]
    await channel.call(Basic.Cancel(consumer_tag="mine"))
    reply = await channel.call(Queue.Declare(queue=name, passive=True))
    assert reply.consumer_count == 1
    await listen(channel, "again")


async def test_nobody_listens(server: Server, channel: RawChannel) -> None:
    """A request that wants replies where nobody listens closes the channel."""
    await listen(await channel.connection.channel())
    channel.publish(b"x", "no.such.queue", reply_to=REPLIES)
    text = "PRECONDITION_FAILED - fast reply consumer does not exist"
    await closes(channel, 406, text, PUBLISH)


async def test_request(server: Server, channel: RawChannel) -> None:
    """In a request reply-to is replaced by the channel's address, and nothing else is."""
    await listen(channel)
    first = await request(server, channel)
    assert ADDRESS.match(first.properties.reply_to or "")
    assert (first.properties.correlation_id, first.properties.message_id) == ("1", "2")
    assert first.body == b"request"
    again = await request(server, channel, "more")
    assert again.properties.reply_to == first.properties.reply_to
    other = await channel.connection.channel()
    await listen(other)
    assert await address(server, other) != first.properties.reply_to


async def test_request_returned(channel: RawChannel) -> None:
    """A request that comes back has the address too."""
    await listen(channel)
    channel.publish(b"x", "no.such.queue", reply_to=REPLIES, mandatory=True)
    assert ADDRESS.match((await channel.returns.get()).properties.reply_to or "")


@pytest.mark.parametrize("reply_to", ["amq.rabbitmq.reply-to.x", "AMQ.rabbitmq.reply-to", "q"])
async def test_other_reply_to(server: Server, channel: RawChannel, reply_to: str) -> None:
    """Any other reply-to stays as it is."""
    name = await server.queue(channel)
    channel.publish(b"x", name, reply_to=reply_to)
    assert (await take(channel, name)).properties.reply_to == reply_to


@pytest.mark.parametrize("where", ["channel", "connection", "elsewhere"])
async def test_reply(server: Server, channel: RawChannel, where: str) -> None:
    """What is published to the address by the default exchange is delivered as it is."""
    await listen(channel)
    target = await address(server, channel)
    other = channel
    if where == "connection":
        other = await channel.connection.channel()
    elif where == "elsewhere":
        other = await far_channel(server)
    values: dict[str, Any] = {"correlation_id": "1", "headers": {"a": 1}, "reply_to": "me"}
    for body in (b"", b"1", b"2" * 200000):
        other.publish(body, target, **values)
        content = await channel.deliveries.get()
        assert content.body == body
        assert {key: value for key, value in content.properties if value} == values
        method = content.method
        assert (method.consumer_tag, method.redelivered) == ("replies", False)
        assert (method.exchange, method.routing_key) == ("", target)


@versions("3.10 - 4.1", still=True)
async def test_reply_takes_no_number(server: Server, channel: RawChannel) -> None:
    """Replies have the number of the channel's next delivery and leave it to that."""
    await listen(channel)
    target = await address(server, channel)
    for _ in range(2):
        channel.publish(b"x", target)
        assert (await channel.deliveries.get()).method.delivery_tag == 2
    name = await filled(server, await channel.connection.channel(), b"0")
    content = await channel.get(name)
    assert content is not None
    assert content.method.delivery_tag == 2


async def test_reply_is_not_acknowledged(server: Server, channel: RawChannel) -> None:
    """A reply's tag is unknown."""
    await listen(channel)
    channel.publish(b"x", await address(server, channel))
    tag = (await channel.deliveries.get()).method.delivery_tag
    channel.send(Basic.Ack(delivery_tag=tag))
    await closes(channel, 406, f"PRECONDITION_FAILED - unknown delivery tag {tag}", ACK)


async def test_prefetch(server: Server, channel: RawChannel) -> None:
    """Replies do not count, and nothing holds them back."""
    await channel.call(Basic.Qos(prefetch_count=1))
    await listen(channel)
    target = await address(server, channel)
    for number in range(10):
        channel.publish(b"%d" % number, target)
    assert await next_bodies(channel, 10) == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_reply_by_copy(server: Server, channel: RawChannel, header: str) -> None:
    """CC and BCC may name the address; the delivery tells the message's own routing key."""
    await listen(channel)
    target = await address(server, channel)
    channel.publish(b"x", "no.such.queue", headers={header: [target]})
    assert (await channel.deliveries.get()).method.routing_key == "no.such.queue"


@versions("3.10 - 4.2", still=True)
async def test_other_exchange(server: Server, channel: RawChannel) -> None:
    """Only the default exchange knows the address."""
    await listen(channel)
    target = await address(server, channel)
    channel.publish(b"x", target, await server.exchange(channel, "fanout"), mandatory=True)
    assert (await channel.returns.get()).method.routing_key == target
    text = f"NOT_FOUND - no {queue_at(target)}"
    method = to(target, Queue.Bind, exchange=server.exchanges[0], routing_key="x")
    await refused(channel, method, 404, text)
    assert not channel.deliveries.items


async def test_no_address(channel: RawChannel) -> None:
    """What is published to amq.rabbitmq.reply-to itself, or to no real address, has no queue."""
    await listen(channel)
    for key in (REPLIES, f"{REPLIES}.x", f"{REPLIES}."):
        channel.publish(b"x", key, mandatory=True)
        assert (await channel.returns.get()).method.routing_key == key
    await works(channel)
    assert not channel.deliveries.items


async def test_wrong_key(server: Server, channel: RawChannel) -> None:
    """An address that differs in its last part is nobody's."""
    await listen(channel)
    target = await address(server, channel)
    start, _, key = target.rpartition(".")
    wrong = f"{start}.{key[:-3]}{'AA' if key[-3] != 'A' else 'BB'}="
    channel.publish(b"wrong", wrong)
    channel.publish(b"x", target)
    assert await next_bodies(channel, 1) == [b"x"]


async def test_confirmed(server: Server, channel: RawChannel) -> None:
    """A reply is confirmed, whether anybody is there or not."""
    other = await channel.connection.channel()
    await listen(other)
    target = await address(server, other)
    await channel.call(Confirm.Select())
    channel.publish(b"x", target)
    assert isinstance(await channel.confirms.get(), Basic.Ack)
    await other.call(Channel.Close(200, "", 0, 0))
    channel.publish(b"x", target)
    assert isinstance(await channel.confirms.get(), Basic.Ack)


@versions("3.10 - 4.1", still=True)
@pytest.mark.parametrize("alive", [True, False])
async def test_mandatory(server: Server, channel: RawChannel, alive: bool) -> None:
    """A mandatory reply comes back though it is delivered, for no queue has it."""
    other = await channel.connection.channel()
    await listen(other)
    target = await address(server, other)
    if not alive:
        await other.call(Channel.Close(200, "", 0, 0))
    channel.publish(b"x", target, mandatory=True)
    content = await channel.returns.get()
    assert (content.method.reply_code, content.method.reply_text) == (312, "NO_ROUTE")
    assert (content.method.routing_key, content.body) == (target, b"x")
    if alive:
        assert await next_bodies(other, 1) == [b"x"]


@versions("3.10 - 4.1", still=True)
async def test_transaction(server: Server, channel: RawChannel) -> None:
    """A reply does not wait for a commit."""
    await listen(channel)
    target = await address(server, channel)
    tx = await channel.connection.channel()
    await tx.call(Tx.Select())
    tx.publish(b"x", target)
    assert await next_bodies(channel, 1) == [b"x"]
    await tx.call(Tx.Rollback())


async def test_declare(server: Server, channel: RawChannel) -> None:
    """Declaring the address as a queue finds one with a consumer, while that is there."""
    await listen(channel)
    target = await address(server, channel)
    other = await far_channel(server)
    for passive in (True, False):
        reply = await other.call(to(target, Queue.Declare, passive=passive))
        assert (reply.queue, reply.message_count, reply.consumer_count) == (target, 0, 1)


async def test_declare_whatever(channel: RawChannel) -> None:
    """Declaring amq.rabbitmq.reply-to itself always finds one, whoever listens."""
    for passive in (True, False):
        reply = await channel.call(Queue.Declare(queue=REPLIES, passive=passive))
        assert (reply.queue, reply.message_count, reply.consumer_count) == (REPLIES, 0, 1)


async def gone(channel: RawChannel, target: str) -> bool:
    """Ask on a channel of its own whether nobody has this address."""
    asking = await channel.connection.channel()
    try:
        await asking.call(to(target, Queue.Declare, passive=True))
    except ChannelClosed:
        return True
    return False


@pytest.mark.parametrize("end", ["cancel", "close", "cut", "error"])
async def test_client_is_gone(server: Server, channel: RawChannel, end: str) -> None:
    """When the client is gone its address is no queue, and replies are dropped."""
    client = await server.connect()
    listening = await client.channel()
    await listen(listening)
    target = await address(server, listening)
    if end == "cancel":
        await listening.call(Basic.Cancel(consumer_tag="replies"))
    elif end == "close":
        await listening.call(Channel.Close(200, "", 0, 0))
    elif end == "error":
        listening.publish(b"x", "", server.exchange_name())
        await listening.closed()
    else:
        await client.hang_up()
    await eventually(lambda: gone(channel, target))
    channel.publish(b"x", target)
    await works(channel)
    for passive in (True, False):
        other = await channel.connection.channel()
        method = to(target, Queue.Declare, passive=passive)
        await refused(other, method, 404, f"NOT_FOUND - no {queue_at(target)}")


async def test_cancel(server: Server, channel: RawChannel) -> None:
    """After a cancel there are no replies, and a new consumer has a new address."""
    await listen(channel)
    target = await address(server, channel)
    assert (await channel.call(Basic.Cancel(consumer_tag="replies"))).consumer_tag == "replies"
    channel.publish(b"0", target)
    await listen(channel)
    channel.publish(b"1", target)
    again = str((await request(server, channel, "more")).properties.reply_to)
    assert again != target
    channel.publish(b"2", again)
    assert await next_bodies(channel, 1) == [b"2"]


async def test_cancel_nowait(channel: RawChannel) -> None:
    """With no-wait there is no cancel-ok."""
    names = order(channel)
    await listen(channel)
    channel.send(Basic.Cancel(consumer_tag="replies", nowait=True))
    await listen(channel)
    assert names == ["Basic.ConsumeOk", "Basic.ConsumeOk"]


@versions("3.10 - 4.1", still=True)
@pytest.mark.parametrize(
    "kind", [Basic.Get, Basic.Consume, Queue.Purge], ids=["get", "consume", "purge"]
)
async def test_no_queue(server: Server, channel: RawChannel, kind: type[Frame]) -> None:
    """The address is no queue to get or consume from, nor to purge."""
    await listen(channel)
    target = await address(server, channel)
    await refused(channel, to(target, kind), 404, f"NOT_FOUND - no {queue_at(target)}")


async def test_delete(server: Server, channel: RawChannel) -> None:
    """To delete the address is answered and does nothing."""
    await listen(channel)
    target = await address(server, channel)
    for name in (target, REPLIES):
        assert (await channel.call(to(name, Queue.Delete))).message_count == 0
    channel.publish(b"x", target)
    assert await next_bodies(channel, 1) == [b"x"]
