"""exchange.declare and delete, and what goes with an exchange."""

from typing import Any

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Exchange, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.refusals import (
    AnyExchangeDeclare,
    AnyExchangeDelete,
    closes_the_connection,
    exchange_at,
    exchange_exists,
    inequivalent,
    refused,
    same,
    works,
)
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

ON_DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"
TYPES = ["direct", "fanout", "topic", "headers"]


@pytest.mark.parametrize("kind", TYPES)
async def test_declare(server: Server, channel: RawChannel, kind: str) -> None:
    """An exchange can be declared, and declared again as it is."""
    exchange = await server.exchange(channel, kind, durable=True)
    other = await (await server.connect()).channel()
    again = Exchange.Declare(exchange=exchange, exchange_type=kind, durable=True)
    assert isinstance(await other.call(again), Exchange.DeclareOk)


@pytest.mark.parametrize("attribute", ["durable", "auto_delete", "internal"])
@pytest.mark.parametrize("current", [False, True])
async def test_other_attribute(
    server: Server, channel: RawChannel, attribute: str, current: bool
) -> None:
    """An exchange is not declared again with another attribute."""
    name = server.exchange_name()
    first, second = Exchange.Declare(exchange=name), Exchange.Declare(exchange=name)
    setattr(first, attribute, current)
    setattr(second, attribute, not current)
    await channel.call(first)
    words = {True: "'true'", False: "'false'"}
    difference = f"received {words[not current]} but current is {words[current]}"
    await refused(channel, second, 406, inequivalent(attribute, exchange_at(name), difference))


@pytest.mark.parametrize("kind", TYPES[1:])
async def test_other_type(server: Server, channel: RawChannel, kind: str) -> None:
    """An exchange is not declared again with another type, which is compared first."""
    name = await server.exchange(channel, "direct")
    text = inequivalent("type", exchange_at(name), f"received '{kind}' but current is 'direct'")
    method = Exchange.Declare(exchange=name, exchange_type=kind, durable=True, auto_delete=True)
    await refused(channel, method, 406, text)


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"internal": True, "auto_delete": True, "durable": True}, "durable"),
        ({"internal": True, "auto_delete": True}, "auto_delete"),
        ({"internal": True}, "internal"),
    ],
)
async def test_order(
    server: Server, channel: RawChannel, attributes: dict[str, Any], told: str
) -> None:
    """After the type durable is compared, then auto-delete, internal and the arguments."""
    name = await server.exchange(channel)
    arguments: dict[str, Any] = {"alternate-exchange": "other"}
    method = Exchange.Declare(exchange=name, arguments=arguments, **attributes)
    text = inequivalent(told, exchange_at(name), "received 'true' but current is 'false'")
    await refused(channel, method, 406, text)


@pytest.mark.parametrize(
    ("current", "received", "difference"),
    [
        (None, "a", "received the value 'a' of type 'longstr' but current is none"),
        (None, 1, "received the value '1' of type 'byte' but current is none"),
        ("a", None, "received none but current is the value 'a' of type 'longstr'"),
        ("a", "b", "received 'b' but current is 'a'"),
        ("a", 1, "received '1' but current is 'a'"),
    ],
)
async def test_alternate_exchange(
    server: Server, channel: RawChannel, current: Any, received: Any, difference: str
) -> None:
    """An exchange is not declared again with another alternate exchange."""
    name = server.exchange_name()
    first, second = (
        {} if value is None else {"alternate-exchange": value} for value in (current, received)
    )
    await channel.call(Exchange.Declare(exchange=name, arguments=first))
    method = Exchange.Declare(exchange=name, arguments=second)
    text = inequivalent("alternate-exchange", exchange_at(name), difference)
    await refused(channel, method, 406, text)


@pytest.mark.parametrize(
    ("value", "kind"), [(5, "byte"), (None, "void"), (True, "bool"), ({}, "table")]
)
async def test_alternate_exchange_type(
    server: Server, channel: RawChannel, value: Any, kind: str
) -> None:
    """The alternate exchange of a new exchange is a text."""
    name = server.exchange_name()
    method = Exchange.Declare(exchange=name, arguments={"alternate-exchange": value})
    text = f"invalid type '{kind}' for arg 'alternate-exchange' in {exchange_at(name)}"
    await refused(channel, method, 406, f"PRECONDITION_FAILED - {text}")


async def test_other_arguments(server: Server, channel: RawChannel) -> None:
    """Nobody compares any other argument."""
    name = await server.exchange(channel, arguments={"mine": 1, "x-mine": [None]})
    for arguments in ({}, {"mine": 2}, {"x-other": "x"}):
        method = Exchange.Declare(exchange=name, arguments=dict(arguments))
        assert isinstance(await channel.call(method), Exchange.DeclareOk)


async def test_passive(server: Server, channel: RawChannel) -> None:
    """A passive declaration finds the exchange, whatever else it says."""
    name = await server.exchange(channel)
    method = Exchange.Declare(
        exchange=name,
        exchange_type="no such type",
        passive=True,
        durable=True,
        internal=True,
        arguments={"alternate-exchange": 1},
    )
    assert isinstance(await channel.call(method), Exchange.DeclareOk)


@pytest.mark.parametrize("name", ["{}.missing", "amq.{}"])
async def test_passive_missing(server: Server, channel: RawChannel, name: str) -> None:
    """A passive declaration of an exchange that does not exist closes the channel."""
    name = name.format(server.prefix)
    text = f"NOT_FOUND - no {exchange_at(name)}"
    await refused(channel, Exchange.Declare(exchange=name, passive=True), 404, text)


NO_TYPES = [("x-mine", "unknown"), ("Direct", "unknown"), ("", "invalid")]
no_types = pytest.mark.parametrize(("kind", "fault"), NO_TYPES)
names = pytest.mark.parametrize("name", ["x", "amq.x", "amq.direct"])


@versions("3.10 - 3.11")
@names
@no_types
async def test_unknown_type_before(
    server: Server, channel: RawChannel, name: str, kind: str, fault: str
) -> None:
    """A type that does not exist closes the connection, whatever the exchange."""
    exchange = server.exchange_name(name) if name == "x" else name
    method = Exchange.Declare(exchange=exchange, exchange_type=kind, durable=True)
    text = f"COMMAND_INVALID - {fault} exchange type '{kind}'"
    await closes_the_connection(server, channel, method, 503, text)


@versions("4.0 - 4.3")
@names
@no_types
async def test_unknown_type(
    server: Server, channel: RawChannel, name: str, kind: str, fault: str
) -> None:
    """A type that does not exist closes the channel, whatever the exchange."""
    exchange = server.exchange_name(name) if name == "x" else name
    method = Exchange.Declare(exchange=exchange, exchange_type=kind, durable=True)
    text = f"PRECONDITION_FAILED - {fault} exchange type '{kind}'"
    await refused(channel, method, 406, text)


@pytest.mark.parametrize("name", ["amq.", "amq.mine", "amq.directs"])
async def test_reserved(channel: RawChannel, name: str) -> None:
    """A name that starts with amq. is refused."""
    text = f"ACCESS_REFUSED - exchange name '{name}' contains reserved prefix 'amq.*'"
    await refused(channel, Exchange.Declare(exchange=name), 403, text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
async def test_predeclared(channel: RawChannel, name: str, kind: str) -> None:
    """The broker's own exchanges are there, durable, and may be declared again as they are."""
    method = Exchange.Declare(exchange=name, exchange_type=kind, durable=True)
    assert isinstance(await channel.call(method), Exchange.DeclareOk)
    text = inequivalent("durable", exchange_at(name), "received 'false' but current is 'true'")
    await refused(channel, Exchange.Declare(exchange=name, exchange_type=kind), 406, text)


@pytest.mark.parametrize("name", ["amq.direct", "amq.match", "amq.missing"])
@pytest.mark.parametrize("if_unused", [False, True])
async def test_delete_reserved(channel: RawChannel, name: str, if_unused: bool) -> None:
    """An exchange whose name starts with amq. is not deleted, even if there is none."""
    text = f"ACCESS_REFUSED - deletion of system {exchange_at(name)} not allowed"
    await refused(channel, Exchange.Delete(exchange=name, if_unused=if_unused), 403, text)


@pytest.mark.parametrize(
    "method",
    [
        Exchange.Declare(exchange=""),
        Exchange.Declare(exchange="", durable=True),
        Exchange.Declare(exchange="", passive=True),
        Exchange.Delete(exchange=""),
        Exchange.Delete(exchange="", if_unused=True),
        Exchange.Bind(source="", destination="amq.direct"),
        Exchange.Bind(source="amq.direct", destination=""),
        Exchange.Unbind(source="", destination="amq.direct"),
        Exchange.Unbind(source="amq.direct", destination=""),
        Queue.Bind(queue="no.such.queue", exchange="", routing_key="k"),
        Queue.Unbind(queue="no.such.queue", exchange="", routing_key="k"),
    ],
    ids=lambda method: str(method.name),
)
async def test_default(channel: RawChannel, method: Frame) -> None:
    """The default exchange is only published to."""
    await refused(channel, method, 403, ON_DEFAULT)


@pytest.mark.parametrize("name", ["AMQ.{}", "{}amq.", "a {} b", "ä€{}", "{}/#*", "{}'\"\t"])
async def test_names(server: Server, channel: RawChannel, name: str) -> None:
    """Any other text is a name."""
    name = name.format(server.prefix)
    assert isinstance(await channel.call(AnyExchangeDeclare(exchange=name)), Exchange.DeclareOk)
    assert isinstance(
        await channel.call(AnyExchangeDeclare(exchange=name, passive=True)), Exchange.DeclareOk
    )
    await channel.call(AnyExchangeDelete(exchange=name))


async def test_longest_name(server: Server, channel: RawChannel) -> None:
    """A name may have 255 bytes."""
    name = server.prefix + "x" * (255 - len(server.prefix))
    await channel.call(AnyExchangeDeclare(exchange=name))
    await channel.call(AnyExchangeDeclare(exchange=name, passive=True))
    await channel.call(AnyExchangeDelete(exchange=name))


async def test_line_breaks(server: Server, channel: RawChannel) -> None:
    """exchange.declare and delete take carriage returns and line feeds out of a name."""
    name = server.exchange_name()
    broken = f"\r{name[:5]}\n{name[5:]}\r\n"
    await channel.call(AnyExchangeDeclare(exchange=broken))
    assert await exchange_exists(channel, name)
    await channel.call(AnyExchangeDeclare(exchange=broken, passive=True))
    await channel.call(AnyExchangeDelete(exchange=broken))
    assert not await exchange_exists(channel, name)


async def test_nowait(server: Server, channel: RawChannel) -> None:
    """A method with no-wait is not answered."""
    name = server.exchange_name()
    channel.send(Exchange.Declare(exchange=name, nowait=True))
    channel.send(Exchange.Bind(source=name, destination="amq.direct", nowait=True))
    channel.send(Exchange.Unbind(source=name, destination="amq.direct", nowait=True))
    await works(channel)
    channel.send(Exchange.Delete(exchange=name, if_unused=True, nowait=True))
    await works(channel)
    assert not await exchange_exists(channel, name)


async def test_delete(server: Server, channel: RawChannel) -> None:
    """exchange.delete takes the bindings with it, and leaves the queues."""
    exchange = await server.exchange(channel, "fanout")
    queue = await server.queue(channel)
    await channel.call(Queue.Bind(queue=queue, exchange=exchange))
    await channel.call(Exchange.Delete(exchange=exchange))
    assert not await exchange_exists(channel, exchange)
    await channel.call(Exchange.Declare(exchange=exchange, exchange_type="fanout"))
    channel.publish(exchange=exchange)
    assert await channel.get(queue) is None


@pytest.mark.parametrize("if_unused", [False, True])
async def test_delete_missing(server: Server, channel: RawChannel, if_unused: bool) -> None:
    """Deleting an exchange that does not exist is fine."""
    method = Exchange.Delete(exchange=server.exchange_name(), if_unused=if_unused)
    assert isinstance(await channel.call(method), Exchange.DeleteOk)


@pytest.mark.parametrize("bound", ["queue", "exchange"])
async def test_delete_if_unused(server: Server, channel: RawChannel, bound: str) -> None:
    """if-unused refuses to delete an exchange that something is bound to."""
    exchange = await server.exchange(channel)
    if bound == "queue":
        queue = await server.queue(channel)
        await channel.call(Queue.Bind(queue=queue, exchange=exchange, routing_key="k"))
    else:
        other = await server.exchange(channel, name="other")
        await channel.call(Exchange.Bind(source=exchange, destination=other))
    method = Exchange.Delete(exchange=exchange, if_unused=True)
    await refused(channel, method, 406, f"PRECONDITION_FAILED - {exchange_at(exchange)} in use")


async def test_delete_unused(server: Server, channel: RawChannel) -> None:
    """An exchange that is itself bound, but that nothing is bound to, counts as unused."""
    exchange = await server.exchange(channel)
    source = await server.exchange(channel, name="source")
    await channel.call(Exchange.Bind(source=source, destination=exchange))
    method = Exchange.Delete(exchange=exchange, if_unused=True)
    assert isinstance(await channel.call(method), Exchange.DeleteOk)


async def test_publish_to_missing(server: Server, channel: RawChannel) -> None:
    """Publishing to an exchange that does not exist closes the channel."""
    exchange = server.exchange_name()
    channel.publish(exchange=exchange)
    expected = (404, f"NOT_FOUND - no {exchange_at(exchange)}", (60, 40))
    same(await channel.closed(), expected)
    await works(await channel.connection.channel())


async def test_publish_to_internal(server: Server, channel: RawChannel) -> None:
    """Publishing to an internal exchange closes the channel."""
    exchange = await server.exchange(channel, internal=True)
    channel.publish(exchange=exchange)
    text = f"ACCESS_REFUSED - cannot publish to internal {exchange_at(exchange)}"
    same(await channel.closed(), (403, text, (60, 40)))


async def test_internal_passes_on(server: Server, channel: RawChannel) -> None:
    """An internal exchange gets messages from the exchanges that it is bound to."""
    source = await server.exchange(channel, "fanout", "source")
    inner = await server.exchange(channel, "fanout", "inner", internal=True)
    queue = await server.queue(channel)
    await channel.call(Exchange.Bind(source=source, destination=inner))
    await channel.call(Queue.Bind(queue=queue, exchange=inner))
    channel.publish(b"x", exchange=source)
    content = await channel.get(queue)
    assert content is not None
    assert content.method.exchange == source


async def test_nothing_to_confirm(server: Server, channel: RawChannel) -> None:
    """A message that no queue gets is dropped without a word."""
    exchange = await server.exchange(channel)
    channel.publish(exchange=exchange, routing_key="k")
    assert isinstance(await channel.call(Basic.Qos()), Basic.QosOk)
    assert not channel.returns.items
