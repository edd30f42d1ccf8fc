"""Declaring a queue again with other attributes or other arguments."""

import re
from struct import pack
from typing import Any

import pytest
from pamqp.commands import Queue

from tests.conformance.client import ChannelClosed, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.frames import method, short
from tests.conformance.refusals import inequivalent, locked, queue_at, refused
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
FULL: dict[str, Any] = {
    "x-message-ttl": 60000,
    "x-expires": 1000000,
    "x-max-length": 10,
    "x-max-length-bytes": 100,
    "x-overflow": "drop-head",
    "x-dead-letter-exchange": "letters",
    "x-dead-letter-routing-key": "key",
    "x-max-priority": 3,
    "x-single-active-consumer": True,
}


@pytest.mark.parametrize("attribute", ["durable", "auto_delete"])
@pytest.mark.parametrize("current", [False, True])
async def test_attribute(
    server: Server, channel: RawChannel, attribute: str, current: bool
) -> None:
    """A queue is not declared again with another durable or auto-delete."""
    name = server.queue_name()
    first, second = Queue.Declare(queue=name), Queue.Declare(queue=name)
    setattr(first, attribute, current)
    setattr(second, attribute, not current)
    await channel.call(first)
    words = {True: "'true'", False: "'false'"}
    difference = f"received {words[not current]} but current is {words[current]}"
    text = inequivalent(attribute, queue_at(name), difference)
    await refused(channel, second, 406, text)


@pytest.mark.parametrize("current", [False, True])
async def test_exclusive(server: Server, channel: RawChannel, current: bool) -> None:
    """A queue that is declared again with another exclusive counts as locked."""
    name = server.queue_name()
    await channel.call(Queue.Declare(queue=name, exclusive=current))
    method = Queue.Declare(queue=name, exclusive=not current)
    await refused(channel, method, 405, locked(name))


async def test_durable_exclusive(server: Server, channel: RawChannel) -> None:
    """Whether an exclusive queue is durable makes no difference."""
    name = server.queue_name()
    for durable in (False, True, False):
        await channel.call(Queue.Declare(queue=name, durable=durable, exclusive=True))
    text = inequivalent("auto_delete", queue_at(name), "received 'true' but current is 'false'")
    method = Queue.Declare(queue=name, durable=True, exclusive=True, auto_delete=True)
    await refused(channel, method, 406, text)


@pytest.mark.parametrize(
    ("durable", "exclusive", "auto_delete", "told"),
    [
        (True, True, True, "exclusive"),
        (True, False, True, "durable"),
        (False, False, True, "auto_delete"),
    ],
)
async def test_order(
    server: Server,
    channel: RawChannel,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    told: str,
) -> None:
    """Exclusive is compared first, then durable, then auto-delete, then the arguments."""
    name = await server.queue(channel)
    method = Queue.Declare(
        queue=name,
        durable=durable,
        exclusive=exclusive,
        auto_delete=auto_delete,
        arguments={"x-expires": 0},
    )
    text = inequivalent(told, queue_at(name), "received 'true' but current is 'false'")
    code, text = (405, locked(name)) if told == "exclusive" else (406, text)
    await refused(channel, method, code, text)


@pytest.mark.parametrize(
    ("argument", "value", "kind"),
    [
        ("x-message-ttl", 1, "byte"),
        ("x-message-ttl", 1000, "short"),
        ("x-message-ttl", 40000, "unsignedshort"),
        ("x-message-ttl", 100000, "signedint"),
        ("x-message-ttl", 3000000000, "unsignedint"),
        ("x-message-ttl", 5000000000, "long"),
        ("x-expires", 60000, "unsignedshort"),
        ("x-max-length", 0, "byte"),
        ("x-max-length-bytes", 0, "byte"),
        ("x-overflow", "drop-head", "longstr"),
        ("x-dead-letter-exchange", "", "longstr"),
        ("x-max-priority", 3, "byte"),
        ("x-single-active-consumer", False, "bool"),
        ("x-message-ttl", "a word", "longstr"),
        ("x-message-ttl", None, "void"),
    ],
)
async def test_further_argument(
    server: Server, channel: RawChannel, argument: str, value: Any, kind: str
) -> None:
    """A queue is not declared again with a further argument, valid or not."""
    name = await server.queue(channel)
    shown = {True: "true", False: "false", None: "undefined"}.get(value, value)
    shown = value if kind == "byte" else shown
    difference = f"received the value '{shown}' of type '{kind}' but current is none"
    method = Queue.Declare(queue=name, arguments={argument: value})
    await refused(channel, method, 406, inequivalent(argument, queue_at(name), difference))


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ("x-message-ttl", "unsignedshort"),
        ("x-expires", "signedint"),
        ("x-max-length", "byte"),
        ("x-max-length-bytes", "byte"),
        ("x-overflow", "longstr"),
        ("x-dead-letter-exchange", "longstr"),
        ("x-dead-letter-routing-key", "longstr"),
        ("x-max-priority", "byte"),
        ("x-single-active-consumer", "bool"),
    ],
)
async def test_missing_argument(
    server: Server, channel: RawChannel, argument: str, kind: str
) -> None:
    """A queue is not declared again without one of its arguments."""
    name = await server.queue(channel, arguments=FULL)
    shown = "true" if kind == "bool" else FULL[argument]
    difference = f"received none but current is the value '{shown}' of type '{kind}'"
    method = Queue.Declare(
        queue=name, arguments={key: value for key, value in FULL.items() if key != argument}
    )
    await refused(channel, method, 406, inequivalent(argument, queue_at(name), difference))


@pytest.mark.parametrize(
    ("argument", "value", "difference"),
    [
        ("x-message-ttl", 60001, "received '60001' but current is '60000'"),
        ("x-message-ttl", "60000", "received '60000' but current is '60000'"),
        ("x-message-ttl", 60000.5, "received '60000.5' but current is '60000'"),
        ("x-message-ttl", None, "received none but current is '60000'"),
        ("x-expires", 1, "received '1' but current is '1000000'"),
        ("x-max-length", 11, "received '11' but current is '10'"),
        ("x-max-length-bytes", -1, "received '-1' but current is '100'"),
        ("x-overflow", "reject-publish", "received 'reject-publish' but current is 'drop-head'"),
        ("x-dead-letter-exchange", "", "received '' but current is 'letters'"),
        ("x-dead-letter-routing-key", "other", "received 'other' but current is 'key'"),
        ("x-dead-letter-routing-key", 5, "received '5' but current is 'key'"),
        ("x-max-priority", 4, "received '4' but current is '3'"),
        ("x-single-active-consumer", False, "received 'false' but current is 'true'"),
    ],
)
async def test_other_argument(
    server: Server, channel: RawChannel, argument: str, value: Any, difference: str
) -> None:
    """A queue is not declared again with another value, or a value of another type."""
    name = await server.queue(channel, arguments=FULL)
    method = Queue.Declare(queue=name, arguments={**FULL, argument: value})
    await refused(channel, method, 406, inequivalent(argument, queue_at(name), difference))


@versions("3.10 - 3.12", still=True)
@pytest.mark.parametrize(
    ("kind", "several", "told"),
    [
        (
            "classic",
            {"x-queue-mode": "lazy", "x-max-priority": 1, "x-overflow": "x"},
            "max-priority",
        ),
        ("classic", {"x-message-ttl": 1, "x-expires": 1, "x-max-length": 1}, "expires"),
        ("quorum", {"x-message-ttl": 1, "x-expires": 1, "x-delivery-limit": 1}, "expires"),
        ("quorum", {"x-message-ttl": 1, "x-delivery-limit": 1}, "delivery-limit"),
        ("stream", {"x-max-age": "1h", "x-max-length-bytes": 1}, "max-length-bytes"),
    ],
)
async def test_order_of_arguments(
    server: Server, channel: RawChannel, kind: str, several: dict[str, Any], told: str
) -> None:
    """Of several differences each type of queue tells a certain one."""
    current = {"x-queue-type": kind}
    name = await server.queue(channel, durable=True, arguments=current)
    method = Queue.Declare(queue=name, durable=True, arguments={**several, **current})
    with pytest.raises(ChannelClosed) as caught:
        await channel.call(method)
    assert re.findall(r"inequivalent arg 'x-(.+?)' for", caught.value.text) == [told]


async def test_same_arguments(server: Server, channel: RawChannel) -> None:
    """The order of arguments makes no difference."""
    name = await server.queue(channel, arguments=FULL)
    arguments = dict(reversed(FULL.items()))
    assert (await channel.call(Queue.Declare(queue=name, arguments=arguments))).queue == name


def declaring(name: str, field: bytes) -> bytes:
    """queue.declare with x-max-length as this field, its type first."""
    table = short(b"x-max-length") + field
    return method(50, 10, b"\0\0" + short(name.encode()) + b"\0" + pack(">I", len(table)) + table)


WIDTHS = {
    "byte": b"b\x05",
    "short": b"s\x00\x05",
    "unsignedshort": b"u\x00\x05",
    "signedint": b"I\x00\x00\x00\x05",
    "unsignedint": b"i\x00\x00\x00\x05",
    "long": b"l\x00\x00\x00\x00\x00\x00\x00\x05",
}


@pytest.mark.parametrize("kind", WIDTHS)
async def test_width(server: Server, channel: RawChannel, kind: str) -> None:
    """The width of an integer makes no difference, though it is told."""
    name = server.queue_name()
    channel.connection.write(declaring(name, WIDTHS[kind]))
    assert isinstance(await channel.replies.get(), Queue.DeclareOk)
    for field in WIDTHS.values():
        channel.connection.write(declaring(name, field))
        assert isinstance(await channel.replies.get(), Queue.DeclareOk)
    difference = f"received none but current is the value '5' of type '{kind}'"
    text = inequivalent("x-max-length", queue_at(name), difference)
    await refused(channel, Queue.Declare(queue=name), 406, text)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-mine": 1},
        {"mine": "x"},
        {"x-queue-type": "classic"},
        {"x-delivery-limit": 3},
        {"x-quorum-initial-group-size": 3},
        {"x-max-age": "not of a classic queue"},
    ],
    ids=str,
)
async def test_argument_that_does_not_matter(
    server: Server, channel: RawChannel, arguments: dict[str, Any]
) -> None:
    """Nobody compares arguments that mean nothing to the queue, nor the type of a classic one."""
    name = await server.queue(channel)
    assert (await channel.call(Queue.Declare(queue=name, arguments=arguments))).queue == name
    other = await server.queue(channel, "other", arguments={"x-mine": 2, "mine": None})
    assert (await channel.call(Queue.Declare(queue=other, arguments={"x-mine": 3}))).queue == other


@versions("3.10 - 3.12", still=True)
async def test_type_of_classic(server: Server, channel: RawChannel) -> None:
    """A classic queue by default is not declared again as a quorum queue."""
    name = await server.queue(channel, durable=True)
    difference = "received the value 'quorum' of type 'longstr' but current is none"
    method = Queue.Declare(queue=name, durable=True, arguments=QUORUM)
    await refused(channel, method, 406, inequivalent("x-queue-type", queue_at(name), difference))


@pytest.mark.parametrize(("current", "received"), [("classic", "quorum"), ("quorum", "classic")])
async def test_type(server: Server, channel: RawChannel, current: str, received: str) -> None:
    """A queue is not declared again with another type."""
    name = await server.queue(channel, durable=True, arguments={"x-queue-type": current})
    method = Queue.Declare(queue=name, durable=True, arguments={"x-queue-type": received})
    difference = f"received '{received}' but current is '{current}'"
    await refused(channel, method, 406, inequivalent("x-queue-type", queue_at(name), difference))


@versions("3.10 - 3.12", still=True)
async def test_type_of_quorum(server: Server, channel: RawChannel) -> None:
    """A quorum queue is not declared again without its type."""
    name = await server.queue(channel, durable=True, arguments=QUORUM)
    difference = "received none but current is the value 'quorum' of type 'longstr'"
    method = Queue.Declare(queue=name, durable=True)
    await refused(channel, method, 406, inequivalent("x-queue-type", queue_at(name), difference))


@pytest.mark.parametrize(
    ("limit", "difference"),
    [
        (6, "received '6' but current is '5'"),
        (None, "received none but current is the value '5' of type 'byte'"),
    ],
)
async def test_delivery_limit(
    server: Server, channel: RawChannel, limit: int | None, difference: str
) -> None:
    """The delivery limit of a quorum queue is compared."""
    current = {**QUORUM, "x-delivery-limit": 5}
    name = await server.queue(channel, durable=True, arguments=current)
    received: dict[str, Any] = {**QUORUM, **({"x-delivery-limit": limit} if limit else {})}
    method = Queue.Declare(queue=name, durable=True, arguments=received)
    text = inequivalent("x-delivery-limit", queue_at(name), difference)
    await refused(channel, method, 406, text)


async def test_durable_quorum(server: Server, channel: RawChannel) -> None:
    """A quorum queue is not declared again as transient."""
    name = await server.queue(channel, durable=True, arguments=QUORUM)
    text = inequivalent("durable", queue_at(name), "received 'false' but current is 'true'")
    await refused(channel, Queue.Declare(queue=name, arguments=QUORUM), 406, text)
