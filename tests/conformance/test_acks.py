"""basic.ack, nack, reject and recover, and what becomes of messages that are not acknowledged."""

from collections.abc import Callable

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import (
    ACK,
    ack,
    all_taken,
    closes,
    filled,
    hold,
    nack,
    next_bodies,
    next_taken,
    publish,
    reject,
)
from tests.conformance.lettering import consume, eventually, queue
from tests.conformance.refusals import closes_the_connection, method_id, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

BODIES = b"0", b"1", b"2", b"3"


async def held(server: Server, channel: RawChannel) -> str:
    """A queue whose four messages the channel has and has not acknowledged."""
    name = await filled(server, channel, *BODIES)
    assert await hold(channel, name, 4) == [1, 2, 3, 4]
    return name


async def left(channel: RawChannel, name: str) -> list[bytes]:
    """Close the channel and say what comes back, which all is redelivered."""
    await publish(channel, name, b"last")
    await hold(channel, name, 1)
    await channel.call(Channel.Close(200, "", 0, 0))
    *found, last = await returned(await channel.connection.channel(), name)
    assert last == b"last"
    return found


async def returned(channel: RawChannel, name: str) -> list[bytes]:
    """Wait until what some channel held is ready again, and take it."""
    asking = Queue.Declare(queue=name, passive=True)
    await eventually(lambda: channel.call(asking), lambda reply: reply.message_count)
    found = await all_taken(channel, name)
    assert all(redelivered for _, redelivered in found)
    return [body for body, _ in found]


def unknown(tag: int) -> str:
    return f"PRECONDITION_FAILED - unknown delivery tag {tag}"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_ack(server: Server, channel: RawChannel, kind: str) -> None:
    """A message that is acknowledged is gone, and the others are not."""
    name = await queue(server, channel, queue_type=kind)
    await publish(channel, name, *BODIES)
    await consume(channel, name)
    await next_bodies(channel, 4)
    for tag in (4, 2):
        ack(channel, tag)
    await channel.call(Channel.Close(200, "", 0, 0))
    other = await channel.connection.channel()
    await consume(other, name)
    assert await next_taken(other) == (b"0", 1, True)
    assert await next_taken(other) == (b"2", 2, True)
    assert await other.get(name) is None


async def test_ack_multiple(server: Server, channel: RawChannel) -> None:
    """With multiple everything up to the tag is acknowledged."""
    name = await held(server, channel)
    ack(channel, 3, multiple=True)
    assert await left(channel, name) == [b"3"]


async def test_ack_multiple_everywhere(server: Server, channel: RawChannel) -> None:
    """With multiple it does not matter from which queue and by which way the messages came."""
    first = await filled(server, channel, b"0", b"1", name="first")
    second = await filled(server, channel, b"2", b"3", name="second")
    await hold(channel, second, 1)
    await consume(channel, first)
    await next_bodies(channel, 2)
    await hold(channel, second, 1)
    ack(channel, 3, multiple=True)
    await channel.call(Channel.Close(200, "", 0, 0))
    other = await channel.connection.channel()
    assert await all_taken(other, first) == []
    assert await all_taken(other, second) == [(b"3", True)]


async def test_ack_multiple_after_gaps(server: Server, channel: RawChannel) -> None:
    """With multiple it does not matter what was acknowledged before."""
    name = await held(server, channel)
    ack(channel, 2)
    ack(channel, 3, multiple=True)
    assert await left(channel, name) == [b"3"]


async def test_ack_everything(server: Server, channel: RawChannel) -> None:
    """With multiple the tag 0 means everything, even when that is nothing."""
    name = await held(server, channel)
    for _ in range(2):
        ack(channel, 0, multiple=True)
    assert await left(channel, name) == []


@pytest.mark.parametrize("tag", [0, 5, 2**63 - 1])
@pytest.mark.parametrize(
    "method",
    [
        lambda tag: Basic.Ack(delivery_tag=tag),
        lambda tag: Basic.Nack(delivery_tag=tag),
        lambda tag: Basic.Nack(delivery_tag=tag, requeue=False),
        lambda tag: Basic.Reject(delivery_tag=tag),
    ],
    ids=["ack", "nack", "discard", "reject"],
)
async def test_unknown(
    server: Server, channel: RawChannel, method: Callable[[int], Frame], tag: int
) -> None:
    """A tag that the channel did not deliver closes it, and what it held is ready again."""
    name = await held(server, channel)
    channel.send(method(tag))
    await closes(channel, 406, unknown(tag), method_id(method(tag)))
    assert await returned(await channel.connection.channel(), name) == list(BODIES)


@pytest.mark.parametrize(
    "method", [Basic.Ack(5, multiple=True), Basic.Nack(5, multiple=True)], ids=["ack", "nack"]
)
async def test_unknown_multiple(server: Server, channel: RawChannel, method: Frame) -> None:
    """With multiple an unknown tag means nothing: all that the channel held is ready again."""
    name = await held(server, channel)
    channel.send(method)
    await closes(channel, 406, unknown(5), method_id(method))
    assert await returned(await channel.connection.channel(), name) == list(BODIES)


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize(
    "first",
    [Basic.Ack(2), Basic.Nack(2), Basic.Nack(2, requeue=False), Basic.Reject(2)],
    ids=["ack", "nack", "discard", "reject"],
)
async def test_twice(server: Server, channel: RawChannel, first: Frame, multiple: bool) -> None:
    """A tag is settled once: the second time it is unknown, with multiple too."""
    await held(server, channel)
    channel.send(first)
    ack(channel, 2, multiple=multiple)
    await closes(channel, 406, unknown(2), ACK)


async def test_other_channel(server: Server, channel: RawChannel) -> None:
    """A tag of another channel is unknown; the other channel keeps what it has."""
    name = await held(server, channel)
    other = await channel.connection.channel()
    ack(other, 1)
    await closes(other, 406, unknown(1), ACK)
    ack(channel, 4, multiple=True)
    assert await left(channel, name) == []


async def test_get_no_ack(server: Server, channel: RawChannel) -> None:
    """What basic.get took with no-ack has a tag that cannot be acknowledged."""
    name = await filled(server, channel, b"0")
    content = await channel.get(name, no_ack=True)
    assert content is not None
    assert content.method.delivery_tag == 1
    ack(channel, 1)
    await closes(channel, 406, unknown(1), ACK)
    assert await (await channel.connection.channel()).get(name) is None


@pytest.mark.parametrize("requeue", [False, True])
async def test_reject(server: Server, channel: RawChannel, requeue: bool) -> None:
    """A rejected message comes back with requeue and is gone without."""
    name = await held(server, channel)
    reject(channel, 2, requeue=requeue)
    assert await all_taken(channel, name) == ([(b"1", True)] if requeue else [])
    assert await left(channel, name) == [b"0", b"2", b"3"]


@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.parametrize(
    ("tag", "multiple", "some"),
    [
        (2, False, [b"1"]),
        (2, True, [b"0", b"1"]),
        (4, True, list(BODIES)),
        (0, True, list(BODIES)),
    ],
)
async def test_nack(
    server: Server,
    channel: RawChannel,
    tag: int,
    multiple: bool,
    some: list[bytes],
    requeue: bool,
) -> None:
    """A nack means its tag, everything up to it, or everything; they come back with requeue."""
    name = await held(server, channel)
    nack(channel, tag, multiple=multiple, requeue=requeue)
    assert await all_taken(channel, name) == [(body, True) for body in some if requeue]
    assert await left(channel, name) == [body for body in BODIES if body not in some]


async def test_nack_nothing(channel: RawChannel) -> None:
    """A nack of everything is fine when there is nothing."""
    nack(channel, 0, multiple=True)
    await works(channel)


@pytest.mark.parametrize("tags", [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2]])
async def test_position(server: Server, channel: RawChannel, tags: list[int]) -> None:
    """Requeued messages are where they were, in whatever order they were requeued."""
    name = await server.queue(channel)
    await publish(channel, name, *BODIES, b"4")
    await hold(channel, name, 4)
    for tag in tags:
        reject(channel, tag)
    found = await all_taken(channel, name)
    assert found == [*((body, True) for body in BODIES), (b"4", False)]


async def test_position_in_between(server: Server, channel: RawChannel) -> None:
    """A requeued message is before those that were published after it and behind those before."""
    name = await server.queue(channel)
    await publish(channel, name, *BODIES)
    await hold(channel, name, 3)
    reject(channel, 1)
    reject(channel, 3)
    assert await all_taken(channel, name) == [(b"0", True), (b"2", True), (b"3", False)]
    reject(channel, 2)
    assert await all_taken(channel, name) == [(b"1", True)]


async def test_requeued_to_its_consumer(server: Server, channel: RawChannel) -> None:
    """A lone consumer gets what it requeues again, with the next number."""
    name = await filled(server, channel, b"0", b"1")
    await consume(channel, name)
    assert await next_taken(channel) == (b"0", 1, False)
    assert await next_taken(channel) == (b"1", 2, False)
    reject(channel, 1)
    assert await next_taken(channel) == (b"0", 3, True)
    nack(channel, 3, multiple=True)
    assert await next_taken(channel) == (b"0", 4, True)
    assert await next_taken(channel) == (b"1", 5, True)


async def test_redelivered_for_good(server: Server, channel: RawChannel) -> None:
    """A message that was delivered once is redelivered from then on, to everybody."""
    name = await filled(server, channel, b"0")
    other = await (await server.connect()).channel()
    for reader, redelivered in ((channel, False), (other, True), (channel, True)):
        content = await reader.get(name)
        assert content is not None
        assert content.method.redelivered is redelivered
        reject(reader, content.method.delivery_tag)
        await works(reader)


@pytest.mark.filterwarnings("ignore:This command is deprecated")
@pytest.mark.parametrize("kind", ["Recover", "RecoverAsync"])
async def test_recover(server: Server, channel: RawChannel, kind: str) -> None:
    """With requeue all that the channel holds comes back; the older method is not answered."""
    name = await held(server, channel)
    ack(channel, 2)
    channel.send(getattr(Basic, kind)(requeue=True))
    if kind == "Recover":
        assert isinstance(await channel.replies.get(), Basic.RecoverOk)
    assert await all_taken(channel, name) == [(b"0", True), (b"2", True), (b"3", True)]
    ack(channel, 1)
    await closes(channel, 406, unknown(1), ACK)


@pytest.mark.filterwarnings("ignore:This command is deprecated")
@pytest.mark.parametrize("kind", ["Recover", "RecoverAsync"])
async def test_recover_to_the_same(server: Server, channel: RawChannel, kind: str) -> None:
    """Without requeue the connection is closed."""
    method = getattr(Basic, kind)(requeue=False)
    text = "NOT_IMPLEMENTED - requeue=false"
    await closes_the_connection(server, channel, method, 540, text)


async def test_recover_nothing(channel: RawChannel) -> None:
    """basic.recover is fine when there is nothing."""
    assert isinstance(await channel.call(Basic.Recover(requeue=True)), Basic.RecoverOk)


async def test_recover_to_its_consumer(server: Server, channel: RawChannel) -> None:
    """basic.recover delivers to the channel's consumer again, with the next numbers."""
    name = await filled(server, channel, b"0", b"1")
    await consume(channel, name)
    await next_bodies(channel, 2)
    await channel.call(Basic.Recover(requeue=True))
    assert await next_taken(channel) == (b"0", 3, True)
    assert await next_taken(channel) == (b"1", 4, True)


async def test_recover_own(server: Server, channel: RawChannel) -> None:
    """basic.recover leaves alone what other channels hold."""
    name = await held(server, channel)
    other = await channel.connection.channel()
    await other.call(Basic.Recover(requeue=True))
    assert await other.get(name) is None
    ack(channel, 4, multiple=True)
    await works(channel)


@pytest.mark.parametrize("end", ["channel", "connection", "cut", "error"])
async def test_end(server: Server, channel: RawChannel, end: str) -> None:
    """Whatever ends a channel, what it held comes back in its order and is redelivered."""
    name = await server.queue(channel)
    await publish(channel, name, *BODIES, b"4")
    connection = await server.connect()
    holder = await connection.channel()
    await hold(holder, name, 1)
    await holder.call(Basic.Qos(prefetch_count=3))
    await consume(holder, name)
    await next_bodies(holder, 3)
    ack(holder, 3)
    await next_bodies(holder, 1)
    if end == "channel":
        await holder.call(Channel.Close(200, "", 0, 0))
    elif end == "connection":
        await connection.__aexit__(None, None, None)
    elif end == "cut":
        await connection.hang_up()
    else:
        ack(holder, 17)
        await holder.closed()
    await eventually(lambda: server.count(channel, name), lambda count: count == 4)
    found = await all_taken(channel, name)
    assert found == [(b"0", True), (b"1", True), (b"3", True), (b"4", True)]


async def test_end_to_others(server: Server, channel: RawChannel) -> None:
    """What a channel held goes to the other consumers when it ends."""
    name = await filled(server, channel, b"0", b"1")
    holder = await channel.connection.channel()
    await consume(holder, name)
    await next_bodies(holder, 2)
    await consume(channel, name)
    await holder.call(Channel.Close(200, "", 0, 0))
    assert await next_taken(channel) == (b"0", 1, True)
    assert await next_taken(channel) == (b"1", 2, True)


async def test_purged_meanwhile(server: Server, channel: RawChannel) -> None:
    """What is held is not purged, and comes back."""
    name = await held(server, channel)
    assert (await channel.call(Queue.Purge(queue=name))).message_count == 0
    assert await left(channel, name) == list(BODIES)


async def test_deleted_meanwhile(server: Server, channel: RawChannel) -> None:
    """What is held of a queue that was deleted can be settled in every way."""
    name = await held(server, channel)
    await channel.call(Queue.Delete(queue=name))
    ack(channel, 1)
    nack(channel, 2)
    reject(channel, 3, requeue=False)
    assert isinstance(await channel.call(Basic.Recover(requeue=True)), Basic.RecoverOk)
    await works(channel)


async def test_declared_again_meanwhile(server: Server, channel: RawChannel) -> None:
    """What is held of a queue that was deleted does not come to one of the same name."""
    name = await held(server, channel)
    await channel.call(Queue.Delete(queue=name))
    await channel.call(Queue.Declare(queue=name))
    nack(channel, 4, multiple=True)
    assert await channel.get(name) is None
