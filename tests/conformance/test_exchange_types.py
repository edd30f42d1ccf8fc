"""Which queues each type of exchange hands a message to."""

from collections.abc import Iterable
from typing import Any

import pytest
from pamqp.commands import Exchange, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.refusals import bodies, refused, who_got
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


async def bound(
    server: Server, channel: RawChannel, exchange: str, keys: Iterable[str]
) -> dict[str, str]:
    """Declare a queue for each binding key, and return them by it."""
    queues = {}
    for number, key in enumerate(keys):
        queues[key] = await server.queue(channel, f"q{number}")
        await channel.call(Queue.Bind(queue=queues[key], exchange=exchange, routing_key=key))
    return queues


async def bound_by_headers(
    server: Server, channel: RawChannel, arguments: dict[str, Any]
) -> tuple[str, str]:
    """A headers exchange, and a queue that is bound to it with these arguments."""
    exchange = await server.exchange(channel, "headers")
    queue = await server.queue(channel)
    await channel.call(Queue.Bind(queue=queue, exchange=exchange, arguments=arguments))
    return exchange, queue


async def test_default(server: Server, channel: RawChannel) -> None:
    """The default exchange hands a message to the queue that the routing key names."""
    first, second = await server.queue(channel, "1"), await server.queue(channel, "2")
    channel.publish(b"x", first)
    content = await channel.get(first)
    assert content is not None
    assert (content.method.exchange, content.method.routing_key) == ("", first)
    assert await channel.get(second) is None


async def test_default_missing(server: Server, channel: RawChannel) -> None:
    """The default exchange drops what names no queue, and what names one by pattern."""
    queue = await server.queue(channel)
    for key in ("", "#", "*", queue.upper(), queue[:-1], f"{queue}.", server.queue_name("none")):
        channel.publish(b"x", key)
    assert await bodies(channel, queue) == []


@pytest.mark.parametrize(
    ("key", "matched"),
    [
        ("k", ["k"]),
        ("", [""]),
        ("#", ["#"]),
        ("*", ["*"]),
        ("K", []),
        ("k.k", ["k.k"]),
        ("k.", []),
    ],
)
async def test_direct(server: Server, channel: RawChannel, key: str, matched: list[str]) -> None:
    """A direct exchange compares the whole key, and knows no patterns."""
    exchange = await server.exchange(channel, "direct")
    queues = await bound(server, channel, exchange, ["k", "", "#", "*", "k.k"])
    channel.publish(exchange=exchange, routing_key=key)
    counts = await who_got(channel, queues.values())
    assert dict(zip(queues, counts, strict=True)) == {
        binding: int(binding in matched) for binding in queues
    }


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "headers"])
async def test_many_queues(server: Server, channel: RawChannel, kind: str) -> None:
    """Every queue that is bound gets a message of its own."""
    exchange = await server.exchange(channel, kind)
    queues = [await server.queue(channel, name) for name in ("1", "2", "3")]
    for queue in queues:
        await channel.call(Queue.Bind(queue=queue, exchange=exchange, routing_key="k"))
    channel.publish(b"x", exchange=exchange, routing_key="k")
    for queue in queues:
        content = await channel.get(queue, no_ack=True)
        assert content is not None
        assert content.body == b"x"
        assert (content.method.exchange, content.method.routing_key) == (exchange, "k")


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("direct", ["k", "l"]),
        ("topic", ["k", "*", "#", "#.#"]),
        ("fanout", ["k", "l", ""]),
        ("headers", ["k", "l", ""]),
    ],
)
async def test_once(server: Server, channel: RawChannel, kind: str, keys: list[str]) -> None:
    """A queue gets a message once, however many of its bindings match."""
    exchange = await server.exchange(channel, kind)
    queue = await server.queue(channel)
    for key in keys:
        await channel.call(Queue.Bind(queue=queue, exchange=exchange, routing_key=key))
    channel.publish(b"x", exchange=exchange, routing_key="k")
    assert await bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("key", ["", "k", "a.b.c", "#"])
async def test_fanout(server: Server, channel: RawChannel, key: str) -> None:
    """A fanout exchange looks at no key."""
    exchange = await server.exchange(channel, "fanout")
    queues = await bound(server, channel, exchange, ["", "k", "#"])
    channel.publish(exchange=exchange, routing_key=key)
    assert await who_got(channel, queues.values()) == [1, 1, 1]


PATTERNS = [
    "",
    "#",
    "*",
    "#.#",
    "*.#",
    "#.*",
    "*.*",
    "a",
    "a.#",
    "#.a",
    "a.*",
    "*.a",
    "a.*.b",
    "a.#.b",
    "#.a.#",
    "*.#.*",
    "a.#.#.b",
    "a.#.*.b",
    ".",
    "a.",
    ".a",
    "a..b",
    "*.",
    ".*",
    "a*",
    "a#",
    "A",
]


@pytest.mark.parametrize(
    ("key", "matched"),
    [
        ("", "'' # #.#"),
        ("a", "# * #.# *.# #.* a a.# #.a #.a.#"),
        ("A", "# * #.# *.# #.* A"),
        ("b", "# * #.# *.# #.*"),
        ("a.b", "# #.# *.# #.* *.* a.# a.* a.#.b #.a.# *.#.* a.#.#.b"),
        ("b.a", "# #.# *.# #.* *.* #.a *.a #.a.# *.#.*"),
        ("a.a", "# #.# *.# #.* *.* a.# #.a a.* *.a #.a.# *.#.*"),
        ("a.x.b", "# #.# *.# #.* a.# a.*.b a.#.b #.a.# *.#.* a.#.#.b a.#.*.b"),
        ("a.x.y.b", "# #.# *.# #.* a.# a.#.b #.a.# *.#.* a.#.#.b a.#.*.b"),
        ("x.a.y", "# #.# *.# #.* #.a.# *.#.*"),
        ("a.#.b", "# #.# *.# #.* a.# a.*.b a.#.b #.a.# *.#.* a.#.#.b a.#.*.b"),
        (".", "# #.# *.# #.* *.* *.#.* . *. .*"),
        ("a.", "# #.# *.# #.* *.* a.# a.* #.a.# *.#.* a. *."),
        (".a", "# #.# *.# #.* *.* #.a *.a #.a.# *.#.* .a .*"),
        ("a..b", "# #.# *.# #.* a.# a.*.b a.#.b #.a.# *.#.* a.#.#.b a.#.*.b a..b"),
        ("*", "# * #.# *.# #.*"),
        ("#", "# * #.# *.# #.*"),
        ("a*", "# * #.# *.# #.* a*"),
        ("a#", "# * #.# *.# #.* a#"),
        ("aa", "# * #.# *.# #.*"),
        ("ä.a", "# #.# *.# #.* *.* #.a *.a #.a.# *.#.*"),
    ],
)
async def test_topic(server: Server, channel: RawChannel, key: str, matched: str) -> None:
    """In a topic's pattern `*` is exactly one word and `#` any number; a word may be empty."""
    exchange = await server.exchange(channel, "topic")
    queues = await bound(server, channel, exchange, PATTERNS)
    channel.publish(exchange=exchange, routing_key=key)
    counts = dict(zip(queues, await who_got(channel, queues.values()), strict=True))
    assert " ".join(pattern or "''" for pattern in PATTERNS if counts[pattern]) == matched
    assert max(counts.values()) == 1


NESTED: dict[str, Any] = {"deep": [1, {"b": "c"}]}


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"x-match": "all", "a": 1, "b": "2"}, {"a": 1, "b": "2", "c": 3}, True),
        ({"x-match": "all", "a": 1, "b": "2"}, {"a": 1}, False),
        ({"x-match": "all", "a": 1, "b": "2"}, {"a": 1, "b": "3"}, False),
        ({"x-match": "all", "a": 1}, {}, False),
        ({"a": 1, "b": "2"}, {"a": 1, "b": "2"}, True),
        ({"a": 1, "b": "2"}, {"b": "2"}, False),
        ({}, {"a": 1}, True),
        ({}, {}, True),
        ({"x-match": "all"}, {}, True),
        ({"x-match": "any"}, {}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": "2"}, {"a": 1}, True),
        ({"x-match": "any", "a": 1, "b": "2"}, {"b": "2", "a": 5}, True),
        ({"x-match": "any", "a": 1, "b": "2"}, {"a": 2, "b": "1"}, False),
        ({"x-match": "any", "a": 1}, {"A": 1}, False),
        ({"a": None}, {"a": "whatever"}, True),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {"b": 1}, False),
        ({"x-match": "any", "a": None, "b": 1}, {"a": 5}, True),
        ({"a": 1}, {"a": None}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1.5}, {"a": 1.5}, True),
        ({"x-match": "all", "x-a": 1}, {}, True),
        ({"x-match": "all", "x-a": 1, "b": 2}, {"x-a": 5, "b": 2}, True),
        ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
        ({"x-a": 1}, {"x-a": 2}, True),
        ({"x-match": "all-with-x", "x-a": 1}, {}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"x-a": 1, "b": 2}, True),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"x-a": 5, "b": 2}, False),
        ({"x-match": "all-with-x"}, {}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 1}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 2}, False),
        ({"x-match": "any-with-x"}, {"x-match": "any-with-x"}, False),
    ],
    ids=str,
)
async def test_headers(
    server: Server,
    channel: RawChannel,
    arguments: dict[str, Any],
    headers: dict[str, Any],
    matches: bool,
) -> None:
    """A headers exchange compares the arguments of a binding with the headers of a message."""
    exchange, queue = await bound_by_headers(server, channel, arguments)
    channel.publish(b"x", exchange=exchange, headers=headers)
    assert await bodies(channel, queue) == [b"x"] * matches


@versions("3.10 - 3.12", still=True)
@pytest.mark.parametrize(
    ("bound", "sent", "matches"),
    [
        (1, 1.0, True),
        (2, 2.5, False),
        ("x", bytearray(b"x"), True),
        (NESTED, NESTED, True),
        (NESTED, {"deep": [1, {"b": "d"}]}, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
    ],
    ids=str,
)
async def test_header_types(
    server: Server, channel: RawChannel, bound: Any, sent: Any, matches: bool
) -> None:
    """Values are compared without the types of their fields; tables and arrays as they are."""
    exchange, queue = await bound_by_headers(server, channel, {"a": bound})
    channel.publish(b"x", exchange=exchange, headers={"a": sent})
    assert await bodies(channel, queue) == [b"x"] * matches


@pytest.mark.parametrize("key", ["", "k"])
async def test_headers_without_headers(server: Server, channel: RawChannel, key: str) -> None:
    """A message without headers matches a binding without arguments; no key is looked at."""
    exchange = await server.exchange(channel, "headers")
    queues = [await server.queue(channel, name) for name in ("1", "2")]
    await channel.call(Queue.Bind(queue=queues[0], exchange=exchange, routing_key="r"))
    await channel.call(Queue.Bind(queue=queues[1], exchange=exchange, arguments={"a": 1}))
    channel.publish(exchange=exchange, routing_key=key)
    assert await who_got(channel, queues) == [1, 0]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("x", 'value <<"x">>; expected all, any, all-with-x, or any-with-x'),
        ("ALL", 'value <<"ALL">>; expected all, any, all-with-x, or any-with-x'),
        ("", "value <<>>; expected all, any, all-with-x, or any-with-x"),
        ("\x01", "value <<1>>; expected all, any, all-with-x, or any-with-x"),
        (bytearray(b"x"), 'type binary (value <<"x">>); expected longstr'),
        ([1], "type array (value [{byte,1}]); expected longstr"),
        ({"a": None}, 'type table (value [{<<"a">>,void,undefined}]); expected longstr'),
        (1, "type byte (value 1); expected longstr"),
        (True, "type bool (value true); expected longstr"),
        (None, "type void (value undefined); expected longstr"),
    ],
)
@pytest.mark.parametrize("destination", ["queue", "exchange"])
async def test_x_match(
    server: Server, channel: RawChannel, value: Any, fault: str, destination: str
) -> None:
    """A headers exchange refuses a binding whose x-match it does not know."""
    exchange = await server.exchange(channel, "headers")
    queue = await server.queue(channel)
    arguments = {"x-match": value}
    method = (
        Queue.Bind(queue=queue, exchange=exchange, arguments=arguments)
        if destination == "queue"
        else Exchange.Bind(source=exchange, destination="amq.fanout", arguments=arguments)
    )
    text = f"PRECONDITION_FAILED - Invalid x-match field {fault}"
    await refused(channel, method, 406, text)


async def test_x_match_of_a_locked_queue(server: Server, channel: RawChannel) -> None:
    """An unknown x-match is told before that the queue is somebody else's."""
    exchange = await server.exchange(channel, "headers")
    queue = await server.queue(channel, exclusive=True)
    other = await (await server.connect()).channel()
    method = Queue.Bind(queue=queue, exchange=exchange, arguments={"x-match": "x"})
    text = 'Invalid x-match field value <<"x">>; expected all, any, all-with-x, or any-with-x'
    await refused(other, method, 406, f"PRECONDITION_FAILED - {text}")


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic"])
async def test_x_match_elsewhere(server: Server, channel: RawChannel, kind: str) -> None:
    """The other types look at no arguments."""
    exchange = await server.exchange(channel, kind)
    queue = await server.queue(channel)
    method = Queue.Bind(
        queue=queue, exchange=exchange, routing_key="k", arguments={"x-match": 1, "a": 1}
    )
    await channel.call(method)
    channel.publish(b"x", exchange=exchange, routing_key="k")
    assert await bodies(channel, queue) == [b"x"]
