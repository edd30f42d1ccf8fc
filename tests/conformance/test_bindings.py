"""What a binding is, and exchanges that are bound to exchanges."""

from typing import Any

import pytest
from pamqp.commands import Exchange, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.refusals import bodies, exchange_at, exchange_exists, refused, who_got
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


class AnyQueueBind(Queue.Bind):
    """queue.bind with whatever names fit a short string."""

    def validate(self) -> None:
        """Let the broker judge."""


class AnyExchangeBind(Exchange.Bind):
    """exchange.bind with whatever names fit a short string."""

    def validate(self) -> None:
        """Let the broker judge."""


async def bind(channel: RawChannel, queue: str, exchange: str, key: str = "") -> None:
    await channel.call(Queue.Bind(queue=queue, exchange=exchange, routing_key=key))


async def unbind(channel: RawChannel, queue: str, exchange: str, key: str = "") -> None:
    await channel.call(Queue.Unbind(queue=queue, exchange=exchange, routing_key=key))


async def link(channel: RawChannel, source: str, destination: str, key: str = "") -> None:
    """Bind an exchange to an exchange."""
    method = Exchange.Bind(source=source, destination=destination, routing_key=key)
    assert isinstance(await channel.call(method), Exchange.BindOk)


async def unlink(channel: RawChannel, source: str, destination: str, key: str = "") -> None:
    """Unbind an exchange from an exchange."""
    method = Exchange.Unbind(source=source, destination=destination, routing_key=key)
    assert isinstance(await channel.call(method), Exchange.UnbindOk)


async def test_bound_twice(server: Server, channel: RawChannel) -> None:
    """Binding again what is bound makes no second binding: one unbind undoes it."""
    exchange, queue = await server.exchange(channel), await server.queue(channel)
    await bind(channel, queue, exchange, "k")
    await bind(channel, queue, exchange, "k")
    await unbind(channel, queue, exchange, "k")
    channel.publish(exchange=exchange, routing_key="k")
    assert await bodies(channel, queue) == []


async def test_bindings_by_key(server: Server, channel: RawChannel) -> None:
    """Bindings with other keys are other bindings."""
    exchange, queue = await server.exchange(channel), await server.queue(channel)
    for key in ("1", "2"):
        await bind(channel, queue, exchange, key)
    await unbind(channel, queue, exchange, "1")
    for key in ("1", "2"):
        channel.publish(key.encode(), exchange=exchange, routing_key=key)
    assert await bodies(channel, queue) == [b"2"]


async def test_bindings_by_type(server: Server, channel: RawChannel) -> None:
    """Arguments with values of another type make another binding."""
    exchange, queue = await server.exchange(channel, "headers"), await server.queue(channel)
    values: list[Any] = [1, True, "1"]
    for value in values:
        await channel.call(Queue.Bind(queue=queue, exchange=exchange, arguments={"a": value}))
    method = Queue.Unbind(queue=queue, exchange=exchange, arguments={"a": True})
    await channel.call(method)
    for value in values:
        channel.publish(str(value).encode(), exchange=exchange, headers={"a": value})
    assert await bodies(channel, queue) == [b"1", b"1"]


async def test_line_breaks(server: Server, channel: RawChannel) -> None:
    """queue.bind and exchange.bind take carriage returns and line feeds out of names."""
    exchange, queue = await server.exchange(channel, "fanout"), await server.queue(channel)
    await channel.call(AnyQueueBind(queue=f"\n{queue}", exchange=f"{exchange}\r\n"))
    first = await server.exchange(channel, "fanout", "first")
    await channel.call(AnyExchangeBind(source=f"{first}\n", destination=f"\r{exchange}"))
    channel.publish(b"x", exchange=first)
    assert await bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "headers"])
async def test_bindings_by_arguments(server: Server, channel: RawChannel, kind: str) -> None:
    """Bindings with other arguments are other bindings, whose order makes no difference."""
    exchange, queue = await server.exchange(channel, kind), await server.queue(channel)
    first: dict[str, Any] = {"b": 2, "a": 1}
    second: dict[str, Any] = {"a": 1}
    same_as_first: dict[str, Any] = {"a": 1, "b": 2}
    for arguments in (first, second, same_as_first):
        method = Queue.Bind(queue=queue, exchange=exchange, routing_key="k", arguments=arguments)
        await channel.call(method)
    headers = {"a": 1, "b": 2}
    for arguments, expected in (({}, [b"x"]), (second, [b"x"]), (first, [])):
        await channel.call(
            Queue.Unbind(queue=queue, exchange=exchange, routing_key="k", arguments=arguments)
        )
        channel.publish(b"x", exchange=exchange, routing_key="k", headers=headers)
        assert await bodies(channel, queue) == expected


async def test_unbind_of_another_queue(server: Server, channel: RawChannel) -> None:
    """queue.unbind touches the bindings of its own queue only."""
    exchange = await server.exchange(channel)
    queues = [await server.queue(channel, name) for name in ("1", "2")]
    for queue in queues:
        await bind(channel, queue, exchange, "k")
    await unbind(channel, queues[0], exchange, "k")
    channel.publish(exchange=exchange, routing_key="k")
    assert await who_got(channel, queues) == [0, 1]


@pytest.mark.parametrize("durable", [False, True])
async def test_durability(server: Server, channel: RawChannel, durable: bool) -> None:
    """A transient queue may be bound to a durable exchange, and the other way round."""
    exchange = await server.exchange(channel, "fanout", durable=durable)
    queue = await server.queue(channel, durable=not durable)
    await bind(channel, queue, exchange)
    channel.publish(b"x", exchange=exchange)
    assert await bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("key", ["", "k" * 255, "ä", " "])
async def test_keys(server: Server, channel: RawChannel, key: str) -> None:
    """Any text of up to 255 bytes is a key."""
    exchange, queue = await server.exchange(channel), await server.queue(channel)
    await bind(channel, queue, exchange, key)
    channel.publish(b"x", exchange=exchange, routing_key=key)
    content = await channel.get(queue)
    assert content is not None
    assert content.method.routing_key == key


async def test_exchange_to_exchange(server: Server, channel: RawChannel) -> None:
    """A message passes from exchange to exchange, each by its own type and with the same key."""
    topic = await server.exchange(channel, "topic", "topic")
    direct = await server.exchange(channel, "direct", "direct")
    queue = await server.queue(channel)
    await link(channel, topic, direct, "a.*")
    await bind(channel, queue, direct, "a.b")
    for key in ("a.b", "a.c", "b"):
        channel.publish(key.encode(), exchange=topic, routing_key=key)
    content = await channel.get(queue, no_ack=True)
    assert content is not None
    assert (content.body, content.method.exchange, content.method.routing_key) == (
        b"a.b",
        topic,
        "a.b",
    )
    assert await channel.get(queue) is None


async def test_not_backwards(server: Server, channel: RawChannel) -> None:
    """A message does not pass from the destination to the source."""
    source = await server.exchange(channel, "fanout", "source")
    destination = await server.exchange(channel, "fanout", "destination")
    queue = await server.queue(channel)
    await link(channel, source, destination)
    await bind(channel, queue, source)
    channel.publish(exchange=destination)
    assert await bodies(channel, queue) == []


async def test_many_ways(server: Server, channel: RawChannel) -> None:
    """A queue gets a message once, by however many ways it is reached."""
    source = await server.exchange(channel, "fanout", "source")
    queue = await server.queue(channel)
    await bind(channel, queue, source)
    for name in ("1", "2"):
        between = await server.exchange(channel, "fanout", name)
        await link(channel, source, between, "a")
        await link(channel, source, between, "b")
        await bind(channel, queue, between)
    channel.publish(b"x", exchange=source)
    assert await bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_circle(server: Server, channel: RawChannel, size: int) -> None:
    """Exchanges may be bound in a circle, and to themselves: a message passes each once."""
    exchanges = [await server.exchange(channel, "fanout", f"x{n}") for n in range(size)]
    queues = [await server.queue(channel, f"q{n}") for n in range(size)]
    for number, exchange in enumerate(exchanges):
        await link(channel, exchange, exchanges[(number + 1) % size])
        await bind(channel, queues[number], exchange)
    for exchange in exchanges:
        channel.publish(b"x", exchange=exchange)
        assert await who_got(channel, queues) == [1] * size


async def test_linked_twice(server: Server, channel: RawChannel) -> None:
    """One exchange.unbind undoes a binding that was made twice."""
    source = await server.exchange(channel, "fanout", "source")
    destination = await server.exchange(channel, "fanout", "destination")
    queue = await server.queue(channel)
    await bind(channel, queue, destination)
    await link(channel, source, destination)
    await link(channel, source, destination)
    await unlink(channel, source, destination)
    channel.publish(exchange=source)
    assert await bodies(channel, queue) == []


async def test_linked_by_arguments(server: Server, channel: RawChannel) -> None:
    """The arguments of a binding to a headers exchange decide what passes to another exchange."""
    source = await server.exchange(channel, "headers", "source")
    destination = await server.exchange(channel, "fanout", "destination")
    queue = await server.queue(channel)
    await bind(channel, queue, destination)
    method = Exchange.Bind(source=source, destination=destination, arguments={"a": 1})
    await channel.call(method)
    channel.publish(b"1", exchange=source, headers={"a": 1})
    channel.publish(b"2", exchange=source, headers={"a": 2})
    assert await bodies(channel, queue) == [b"1"]


@pytest.mark.parametrize(
    ("source", "destination", "told"),
    [
        ("missing", "amq.direct", "missing"),
        ("amq.direct", "missing", "missing"),
        ("missing", "missing too", "missing"),
    ],
)
async def test_link_missing(
    server: Server, channel: RawChannel, source: str, destination: str, told: str
) -> None:
    """exchange.bind of an exchange that does not exist closes the channel, the source first."""
    names = {"missing": server.exchange_name("1"), "missing too": server.exchange_name("2")}
    method = Exchange.Bind(
        source=names.get(source, source), destination=names.get(destination, destination)
    )
    await refused(channel, method, 404, f"NOT_FOUND - no {exchange_at(names[told])}")


async def test_unlink_missing(server: Server, channel: RawChannel) -> None:
    """exchange.unbind of what is not bound, or does not exist, is fine."""
    exchange, missing = await server.exchange(channel), server.exchange_name("missing")
    await unlink(channel, exchange, "amq.direct", "k")
    await unlink(channel, exchange, missing)
    await unlink(channel, missing, exchange)


@pytest.mark.parametrize("delete", [False, True])
async def test_auto_delete(server: Server, channel: RawChannel, delete: bool) -> None:
    """An auto-delete exchange goes with the last binding to it, of a queue or of an exchange."""
    exchange = await server.exchange(channel, "fanout", auto_delete=True)
    other, queue = await server.exchange(channel, name="other"), await server.queue(channel)
    await bind(channel, queue, exchange, "k")
    await link(channel, exchange, other, "k")
    await channel.call(
        Queue.Delete(queue=queue)
        if delete
        else Queue.Unbind(queue=queue, exchange=exchange, routing_key="k")
    )
    assert await exchange_exists(channel, exchange)
    await channel.call(
        Exchange.Delete(exchange=other)
        if delete
        else Exchange.Unbind(source=exchange, destination=other, routing_key="k")
    )
    assert not await exchange_exists(channel, exchange)


async def test_auto_delete_unused(server: Server, channel: RawChannel) -> None:
    """An auto-delete exchange stays that nothing was bound to, whatever it was bound to itself."""
    exchange = await server.exchange(channel, "fanout", auto_delete=True)
    source, queue = await server.exchange(channel, name="source"), await server.queue(channel)
    await unbind(channel, queue, exchange, "never bound")
    await link(channel, source, exchange)
    await unlink(channel, source, exchange)
    assert await exchange_exists(channel, exchange)
    await link(channel, source, exchange)
    await channel.call(Exchange.Delete(exchange=source))
    assert await exchange_exists(channel, exchange)


async def test_auto_delete_chain(server: Server, channel: RawChannel) -> None:
    """An auto-delete exchange that goes takes along the auto-delete exchange it was bound to."""
    names = [await server.exchange(channel, "fanout", n, auto_delete=True) for n in "123"]
    queue = await server.queue(channel)
    await link(channel, names[0], names[1])
    await link(channel, names[1], names[2])
    await bind(channel, queue, names[2])
    await channel.call(Queue.Delete(queue=queue))
    assert [await exchange_exists(channel, name) for name in names] == [False, False, False]
