"""Where a message goes that an exchange cannot route."""

import pytest
from pamqp.commands import Confirm, Exchange, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.refusals import bodies, who_got
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


async def exchange(
    server: Server, channel: RawChannel, name: str, alternate: str, kind: str = "direct"
) -> str:
    """Declare an exchange with an alternate exchange, which need not be there yet."""
    arguments = {"alternate-exchange": alternate}
    return await server.exchange(channel, kind, name, arguments=arguments)


async def sink(server: Server, channel: RawChannel, name: str) -> tuple[str, str]:
    """A fanout exchange with its one queue."""
    sink = await server.exchange(channel, "fanout", name)
    queue = await server.queue(channel, name)
    await channel.call(Queue.Bind(queue=queue, exchange=sink))
    return sink, queue


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "headers"])
async def test_unroutable(server: Server, channel: RawChannel, kind: str) -> None:
    """A message that matches no binding goes to the alternate exchange, under its first name."""
    alternate, queue = await sink(server, channel, "ae")
    first = await exchange(server, channel, "x", alternate, kind)
    channel.publish(b"x", exchange=first, routing_key="k")
    content = await channel.get(queue)
    assert content is not None
    assert (content.method.exchange, content.method.routing_key) == (first, "k")
    assert not content.headers


async def test_routable(server: Server, channel: RawChannel) -> None:
    """A message that matches a binding does not go to the alternate exchange."""
    alternate, queue = await sink(server, channel, "ae")
    first = await exchange(server, channel, "x", alternate)
    bound = await server.queue(channel, "bound")
    await channel.call(Queue.Bind(queue=bound, exchange=first, routing_key="k"))
    for key in ("k", "l"):
        channel.publish(key.encode(), exchange=first, routing_key=key)
    assert await bodies(channel, bound) == [b"k"]
    assert await bodies(channel, queue) == [b"l"]


async def test_by_its_own_type(server: Server, channel: RawChannel) -> None:
    """The alternate exchange routes by its own type, with the same key."""
    alternate = await server.exchange(channel, "topic", "ae")
    queue = await server.queue(channel)
    await channel.call(Queue.Bind(queue=queue, exchange=alternate, routing_key="a.#"))
    first = await exchange(server, channel, "x", alternate)
    for key in ("a.b", "b.a"):
        channel.publish(key.encode(), exchange=first, routing_key=key)
    assert await bodies(channel, queue) == [b"a.b"]


async def test_chain(server: Server, channel: RawChannel) -> None:
    """An alternate exchange that cannot route either has an alternate exchange itself."""
    last, queue = await sink(server, channel, "last")
    between = await exchange(server, channel, "between", last)
    first = await exchange(server, channel, "first", between)
    channel.publish(b"x", exchange=first, routing_key="k")
    assert await bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_circle(server: Server, channel: RawChannel, size: int) -> None:
    """In a circle of alternate exchanges a message is dropped, and returned if mandatory."""
    names = [server.exchange_name(f"x{n}") for n in range(size)]
    for number, name in enumerate(names):
        arguments = {"alternate-exchange": names[(number + 1) % size]}
        await channel.call(Exchange.Declare(exchange=name, arguments=dict(arguments)))
    channel.publish(b"x", exchange=names[0], routing_key="k", mandatory=True)
    returned = await channel.returns.get()
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == (names[0], "k")


async def test_missing(server: Server, channel: RawChannel) -> None:
    """While there is no alternate exchange, a message is dropped; once there is one, it is used."""
    missing = server.exchange_name("ae")
    first = await exchange(server, channel, "x", missing)
    channel.publish(b"1", exchange=first, routing_key="k", mandatory=True)
    assert (await channel.returns.get()).body == b"1"
    _, queue = await sink(server, channel, "ae")
    channel.publish(b"2", exchange=first, routing_key="k")
    assert await bodies(channel, queue) == [b"2"]


async def test_mandatory(server: Server, channel: RawChannel) -> None:
    """A mandatory message that the alternate exchange can route is not returned."""
    alternate, queue = await sink(server, channel, "ae")
    first = await exchange(server, channel, "x", alternate)
    await channel.call(Confirm.Select())
    channel.publish(b"x", exchange=first, routing_key="k", mandatory=True)
    await channel.confirms.get()
    assert not channel.returns.items
    assert await bodies(channel, queue) == [b"x"]


async def test_internal(server: Server, channel: RawChannel) -> None:
    """An internal exchange may be an alternate exchange."""
    alternate = await server.exchange(channel, "fanout", "ae", internal=True)
    queue = await server.queue(channel)
    await channel.call(Queue.Bind(queue=queue, exchange=alternate))
    first = await exchange(server, channel, "x", alternate)
    channel.publish(b"x", exchange=first)
    assert await bodies(channel, queue) == [b"x"]


async def test_default(server: Server, channel: RawChannel) -> None:
    """The default exchange routes nothing as an alternate exchange: nothing is bound to it."""
    first = await exchange(server, channel, "x", "")
    queue = await server.queue(channel)
    channel.publish(b"x", exchange=first, routing_key=queue, mandatory=True)
    assert (await channel.returns.get()).body == b"x"
    assert await bodies(channel, queue) == []


async def test_bound_exchange(server: Server, channel: RawChannel) -> None:
    """A message that passes to a bound exchange is routed, even if no queue gets it there."""
    alternate, queue = await sink(server, channel, "ae")
    first = await exchange(server, channel, "x", alternate, "fanout")
    empty = await server.exchange(channel, name="empty")
    await channel.call(Exchange.Bind(source=first, destination=empty))
    channel.publish(b"x", exchange=first, routing_key="k", mandatory=True)
    assert (await channel.returns.get()).body == b"x"
    assert await bodies(channel, queue) == []


async def test_of_a_bound_exchange(server: Server, channel: RawChannel) -> None:
    """Every exchange on the way has its own alternate exchange."""
    alternate, queue = await sink(server, channel, "ae")
    second = await exchange(server, channel, "second", alternate)
    first = await server.exchange(channel, "fanout", "first")
    bound = await server.queue(channel, "bound")
    await channel.call(Queue.Bind(queue=bound, exchange=first))
    await channel.call(Exchange.Bind(source=first, destination=second))
    channel.publish(b"x", exchange=first, routing_key="k")
    assert await who_got(channel, [bound, queue]) == [1, 1]


async def test_back_to_the_first(server: Server, channel: RawChannel) -> None:
    """An exchange that a message has passed does not see it again by an alternate exchange."""
    first = server.exchange_name("first")
    second = await exchange(server, channel, "second", first)
    await channel.call(Exchange.Declare(exchange=first, exchange_type="fanout"))
    queue = await server.queue(channel)
    await channel.call(Queue.Bind(queue=queue, exchange=first))
    await channel.call(Exchange.Bind(source=first, destination=second))
    channel.publish(b"1", exchange=first)
    channel.publish(b"2", exchange=second)
    assert await bodies(channel, queue) == [b"1", b"2"]


async def test_deleted(server: Server, channel: RawChannel) -> None:
    """A name of an alternate exchange is looked up for each message."""
    alternate, queue = await sink(server, channel, "ae")
    first = await exchange(server, channel, "x", alternate, "fanout")
    channel.publish(b"1", exchange=first)
    assert await bodies(channel, queue) == [b"1"]
    await channel.call(Exchange.Delete(exchange=alternate, if_unused=False))
    channel.publish(b"2", exchange=first, mandatory=True)
    assert (await channel.returns.get()).body == b"2"
