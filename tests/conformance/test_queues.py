"""queue.declare, purge, delete, bind and unbind."""

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.lettering import eventually
from tests.conformance.refusals import (
    AnyQueueDeclare,
    AnyQueueDelete,
    exchange_at,
    queue_at,
    refused,
    works,
)
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

NO_QUEUE = "NOT_FOUND - no previously declared queue"


async def test_declare(server: Server, channel: RawChannel) -> None:
    """queue.declare answers with the name and with no messages and no consumers."""
    name = server.queue_name()
    reply = await channel.call(Queue.Declare(queue=name))
    assert (reply.queue, reply.message_count, reply.consumer_count) == (name, 0, 0)


async def test_declare_again(server: Server, channel: RawChannel) -> None:
    """Declaring a queue again as it is leaves it as it is."""
    name = await server.queue(channel)
    channel.publish(routing_key=name)
    await channel.call(Queue.Declare(queue=name))
    assert (await channel.call(Queue.Purge(queue=name))).message_count == 1


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("auto_delete", [False, True])
async def test_declare_again_from_elsewhere(
    server: Server, channel: RawChannel, durable: bool, auto_delete: bool
) -> None:
    """Another connection may declare the queue too."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, durable=durable, auto_delete=auto_delete)
    await channel.call(method)
    other = await (await server.connect()).channel()
    assert (await other.call(method)).queue == name


async def test_server_named(server: Server, channel: RawChannel) -> None:
    """A queue without a name gets a fresh one that starts with amq.gen-."""
    names = {(await channel.call(Queue.Declare(exclusive=True))).queue for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("amq.gen-") and len(name) == 30 for name in names)


async def test_server_named_again(server: Server, channel: RawChannel) -> None:
    """A name that the broker made is reserved too: it may only be declared again passively."""
    name = (await channel.call(Queue.Declare(exclusive=True))).queue
    assert (await channel.call(Queue.Declare(queue=name, passive=True))).queue == name
    text = f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'"
    await refused(channel, Queue.Declare(queue=name, exclusive=True), 403, text)


async def test_passive(server: Server, channel: RawChannel) -> None:
    """A passive declaration finds the queue, whatever else it says."""
    name = await server.queue(channel)
    reply = await channel.call(
        Queue.Declare(
            queue=name,
            passive=True,
            durable=True,
            auto_delete=True,
            exclusive=True,
            arguments={"x-expires": 0, "x-queue-type": "no such type"},
        )
    )
    assert (reply.queue, reply.message_count, reply.consumer_count) == (name, 0, 0)


async def test_passive_missing(server: Server, channel: RawChannel) -> None:
    """A passive declaration of a queue that does not exist closes the channel."""
    name = server.queue_name()
    text = f"NOT_FOUND - no {queue_at(name)}"
    await refused(channel, Queue.Declare(queue=name, passive=True), 404, text)


async def test_passive_without_a_name(server: Server, channel: RawChannel) -> None:
    """A passive declaration without a name does not mean the channel's last queue."""
    await server.queue(channel)
    text = "NOT_FOUND - no queue '' in vhost '/'"
    await refused(channel, Queue.Declare(passive=True), 404, text)


@pytest.mark.parametrize("name", ["amq.", "amq.gen-mine", "amq.mine"])
async def test_reserved(channel: RawChannel, name: str) -> None:
    """A name that starts with amq. is refused."""
    text = f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'"
    await refused(channel, Queue.Declare(queue=name), 403, text)


async def test_reserved_passive(channel: RawChannel) -> None:
    """A passive declaration of a reserved name just does not find it."""
    text = "NOT_FOUND - no queue 'amq.mine' in vhost '/'"
    await refused(channel, Queue.Declare(queue="amq.mine", passive=True), 404, text)


@pytest.mark.parametrize("name", ["AMQ.{}", "{}amq.", "a {} b", "ä€{}", "{}/#*", "{}'\"\t"])
async def test_names(server: Server, channel: RawChannel, name: str) -> None:
    """Any other text is a name."""
    name = name.format(server.prefix)
    assert (await channel.call(AnyQueueDeclare(queue=name))).queue == name
    channel.publish(b"x", name)
    assert (await channel.call(AnyQueueDelete(queue=name))).message_count == 1


@pytest.mark.parametrize("letter", ["a", "é"])
async def test_longest_name(server: Server, channel: RawChannel, letter: str) -> None:
    """A name may have 255 bytes."""
    size = len(letter.encode())
    name = server.prefix + letter * ((255 - len(server.prefix)) // size)
    assert (await channel.call(AnyQueueDeclare(queue=name))).queue == name
    channel.publish(b"x", name)
    assert (await channel.call(AnyQueueDelete(queue=name))).message_count == 1


async def test_line_breaks(server: Server, channel: RawChannel) -> None:
    """queue.declare takes carriage returns and line feeds out of a name."""
    name = server.queue_name()
    reply = await channel.call(AnyQueueDeclare(queue=f"\r{name[:5]}\n{name[5:]}\r\n"))
    assert reply.queue == name


@pytest.mark.parametrize(
    "method",
    [
        Queue.Declare(nowait=True),
        Queue.Purge(nowait=True),
        Queue.Delete(nowait=True),
        Queue.Bind(exchange="amq.direct", routing_key="k", nowait=True),
    ],
    ids=lambda method: str(method.name),
)
async def test_nowait(server: Server, channel: RawChannel, method: Frame) -> None:
    """A method with no-wait is not answered."""
    name = await server.queue(channel)
    if hasattr(method, "passive"):
        method = Queue.Declare(queue=name, nowait=True)
    channel.send(method)
    await works(channel)


async def test_nowait_refused(server: Server, channel: RawChannel) -> None:
    """A method with no-wait is refused like any other."""
    name = await server.queue(channel)
    method = Queue.Declare(queue=name, durable=True, nowait=True)
    text = (
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for {queue_at(name)}: "
        "received 'true' but current is 'false'"
    )
    await refused(channel, method, 406, text)


@pytest.mark.parametrize(
    "method",
    [
        Queue.Delete(),
        Queue.Purge(),
        Queue.Bind(exchange="amq.direct", routing_key="k"),
        Queue.Bind(exchange="amq.direct"),
        Queue.Unbind(exchange="amq.direct", routing_key="k"),
        Basic.Get(),
        Basic.Consume(),
    ],
    ids=lambda method: str(method.name),
)
async def test_no_last_queue(server: Server, channel: RawChannel, method: Frame) -> None:
    """An empty name is refused where no queue was declared on this very channel."""
    await server.queue(await channel.connection.channel())
    await refused(channel, method, 404, NO_QUEUE)


async def test_last_queue(server: Server, channel: RawChannel) -> None:
    """An empty name means the queue that was declared last on the channel."""
    first, last = await server.queue(channel, "first"), await server.queue(channel, "last")
    channel.publish(b"1", first)
    channel.publish(b"2", last)
    content = await channel.get("")
    assert content is not None
    assert content.body == b"2"
    await channel.call(Basic.Consume())
    assert (await channel.call(Queue.Declare(queue=last, passive=True))).consumer_count == 1
    await channel.call(Queue.Delete())
    assert (await channel.call(Queue.Purge(queue=first))).message_count == 1


async def test_last_queue_is_declared_passively(server: Server, channel: RawChannel) -> None:
    """A passive declaration makes a queue the channel's last one."""
    first = await server.queue(channel, "first")
    await server.queue(channel, "last")
    channel.publish(b"1", first)
    await channel.call(Queue.Declare(queue=first, passive=True))
    assert (await channel.call(Queue.Purge())).message_count == 1


async def test_last_queue_is_gone(server: Server, channel: RawChannel) -> None:
    """The last queue stays the channel's last one when it is deleted."""
    name = await server.queue(channel)
    await channel.call(Queue.Delete(queue=name))
    text = f"NOT_FOUND - no {queue_at(name)}"
    await refused(channel, Queue.Purge(), 404, text)


async def test_bind_last_queue_by_its_name(server: Server, channel: RawChannel) -> None:
    """Without a queue and without a routing key the last queue is bound by its own name."""
    exchange = await server.exchange(channel, "direct")
    name = await server.queue(channel)
    await channel.call(Queue.Bind(exchange=exchange))
    channel.publish(b"key", exchange=exchange, routing_key=name)
    channel.publish(b"empty", exchange=exchange, routing_key="")
    assert (await channel.call(Queue.Purge(queue=name))).message_count == 1


async def test_counts(server: Server, channel: RawChannel) -> None:
    """A declaration tells how many messages are ready, and how many consumers there are."""
    name = await server.queue(channel)

    async def counts() -> tuple[int, int]:
        reply = await channel.call(Queue.Declare(queue=name))
        return reply.message_count, reply.consumer_count

    for _ in range(3):
        channel.publish(routing_key=name)
    assert await channel.get(name) is not None
    await eventually(counts, lambda found: found == (2, 0))
    await channel.call(Basic.Qos(prefetch_count=1))
    await channel.call(Basic.Consume(queue=name))
    await channel.deliveries.get()
    await eventually(counts, lambda found: found == (1, 1))


async def test_purge(server: Server, channel: RawChannel) -> None:
    """queue.purge drops what is ready and says how much; what is unacknowledged stays."""
    name = await server.queue(channel)
    for body in (b"1", b"2", b"3"):
        channel.publish(body, name)
    content = await channel.get(name)
    assert content is not None
    assert (await channel.call(Queue.Purge(queue=name))).message_count == 2
    assert (await channel.call(Queue.Purge(queue=name))).message_count == 0
    channel.send(Basic.Reject(delivery_tag=content.method.delivery_tag, requeue=True))
    again = await eventually(lambda: channel.get(name))
    assert again.body == b"1"


@pytest.mark.parametrize(
    "method",
    [
        Queue.Purge(queue="no.such.queue"),
        Queue.Bind(queue="no.such.queue", exchange="amq.direct"),
        Basic.Get(queue="no.such.queue"),
        Basic.Consume(queue="no.such.queue"),
    ],
    ids=lambda method: str(method.name),
)
async def test_missing(channel: RawChannel, method: Frame) -> None:
    """A queue that does not exist closes the channel."""
    text = "NOT_FOUND - no queue 'no.such.queue' in vhost '/'"
    await refused(channel, method, 404, text)


async def test_delete(server: Server, channel: RawChannel) -> None:
    """queue.delete says how many messages were ready."""
    name = await server.queue(channel)
    for _ in range(3):
        channel.publish(routing_key=name)
    assert await channel.get(name) is not None
    assert (await channel.call(Queue.Delete(queue=name))).message_count == 2
    text = f"NOT_FOUND - no {queue_at(name)}"
    await refused(channel, Queue.Declare(queue=name, passive=True), 404, text)


@pytest.mark.parametrize("condition", [{}, {"if_unused": True}, {"if_empty": True}])
async def test_delete_missing(
    server: Server, channel: RawChannel, condition: dict[str, bool]
) -> None:
    """Deleting a queue that does not exist is fine."""
    method = Queue.Delete(queue=server.queue_name(), **condition)
    assert (await channel.call(method)).message_count == 0


async def test_delete_cancels_consumers(server: Server, channel: RawChannel) -> None:
    """Deleting a queue cancels its consumers."""
    name = await server.queue(channel)
    await channel.call(Basic.Consume(queue=name, consumer_tag="tag"))
    other = await (await server.connect()).channel()
    assert (await other.call(Queue.Delete(queue=name))).message_count == 0
    cancel = await channel.cancels.get()
    assert (cancel.consumer_tag, cancel.nowait) == ("tag", True)


async def test_delete_if_empty(server: Server, channel: RawChannel) -> None:
    """if-empty refuses to delete a queue in which messages are ready."""
    name = await server.queue(channel)
    channel.publish(routing_key=name)
    text = f"PRECONDITION_FAILED - {queue_at(name)} not empty"
    await refused(channel, Queue.Delete(queue=name, if_empty=True), 406, text)


async def test_delete_if_empty_unacknowledged(server: Server, channel: RawChannel) -> None:
    """A queue with nothing but unacknowledged messages counts as empty."""
    name = await server.queue(channel)
    channel.publish(routing_key=name)
    assert await channel.get(name) is not None
    assert (await channel.call(Queue.Delete(queue=name, if_empty=True))).message_count == 0


async def test_delete_if_unused(server: Server, channel: RawChannel) -> None:
    """if-unused refuses to delete a queue with consumers."""
    name = await server.queue(channel)
    await channel.call(Basic.Consume(queue=name))
    other = await (await server.connect()).channel()
    method = Queue.Delete(queue=name, if_unused=True, if_empty=True)
    await refused(other, method, 406, f"PRECONDITION_FAILED - {queue_at(name)} in use")
    await works(channel)


async def test_delete_if_unused_and_empty(server: Server, channel: RawChannel) -> None:
    """if-empty is looked at before if-unused."""
    name = await server.queue(channel)
    await channel.call(Basic.Qos(prefetch_count=1))
    await channel.call(Basic.Consume(queue=name))
    for _ in range(2):
        channel.publish(routing_key=name)
    await channel.deliveries.get()
    other = await (await server.connect()).channel()
    method = Queue.Delete(queue=name, if_unused=True, if_empty=True)
    await refused(other, method, 406, f"PRECONDITION_FAILED - {queue_at(name)} not empty")


@pytest.mark.parametrize("queue", ["no.such.queue", None])
async def test_bind_missing_exchange(
    server: Server, channel: RawChannel, queue: str | None
) -> None:
    """queue.bind misses an exchange before it looks for the queue."""
    name = queue or await server.queue(channel)
    missing = server.exchange_name()
    method = Queue.Bind(queue=name, exchange=missing)
    await refused(channel, method, 404, f"NOT_FOUND - no {exchange_at(missing)}")


async def test_unbind_missing(server: Server, channel: RawChannel) -> None:
    """queue.unbind of what is not bound, or does not exist, is fine."""
    name, missing = await server.queue(channel), server.queue_name("missing")
    for queue, exchange in ((name, "amq.direct"), (name, missing), (missing, "amq.direct")):
        method = Queue.Unbind(queue=queue, exchange=exchange, routing_key="k")
        assert isinstance(await channel.call(method), Queue.UnbindOk)


async def test_rebound_after_delete(server: Server, channel: RawChannel) -> None:
    """A queue that is declared again after its deletion has neither messages nor bindings."""
    exchange = await server.exchange(channel, "fanout")
    name = await server.queue(channel)
    await channel.call(Queue.Bind(queue=name, exchange=exchange))
    channel.publish(exchange=exchange)
    assert (await channel.call(Queue.Delete(queue=name))).message_count == 1
    await channel.call(Queue.Declare(queue=name))
    channel.publish(exchange=exchange)
    assert await channel.get(name) is None
