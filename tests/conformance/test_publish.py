"""basic.publish: what is refused, what is returned, and where a message goes."""

from struct import pack
from typing import Any

import pytest
from pamqp.commands import Basic, Channel, Exchange, Queue

from tests.conformance.client import Content, RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import PUBLISH, all_taken, closes, order, publish
from tests.conformance.frames import header, sent, short
from tests.conformance.lettering import bind, confirming, take
from tests.conformance.refusals import exchange_at, same, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

FRAME = 131072 - 8
HEADERS, EXPIRATION, USER_ID = 1 << 13, 1 << 8, 1 << 4


@pytest.mark.parametrize("mandatory", [False, True])
async def test_missing_exchange(server: Server, channel: RawChannel, mandatory: bool) -> None:
    """To publish to an exchange that does not exist closes the channel."""
    missing = server.exchange_name()
    channel.publish(b"x", "key", missing, mandatory=mandatory)
    await closes(channel, 404, f"NOT_FOUND - no {exchange_at(missing)}", PUBLISH)
    assert not channel.returns.items


async def test_around_an_error(server: Server, channel: RawChannel) -> None:
    """What was published before an error is there; what comes after it on the channel is not."""
    name = await server.queue(channel)
    channel.publish(b"before", name)
    channel.publish(b"x", name, server.exchange_name())
    channel.publish(b"after", name)
    await channel.closed()
    other = await channel.connection.channel()
    assert (await take(other, name)).body == b"before"
    await publish(other, name, b"last")
    assert await all_taken(other, name) == [(b"last", False)]


@pytest.mark.parametrize("mandatory", [False, True])
async def test_internal_exchange(server: Server, channel: RawChannel, mandatory: bool) -> None:
    """Nobody publishes to an internal exchange."""
    exchange = await server.exchange(channel, "fanout", internal=True)
    channel.publish(b"x", "key", exchange, mandatory=mandatory)
    text = f"ACCESS_REFUSED - cannot publish to internal {exchange_at(exchange)}"
    await closes(channel, 403, text, PUBLISH)


async def test_trace_exchange(channel: RawChannel) -> None:
    """The exchange for traces is internal."""
    channel.publish(b"x", "key", "amq.rabbitmq.trace")
    text = f"ACCESS_REFUSED - cannot publish to internal {exchange_at('amq.rabbitmq.trace')}"
    await closes(channel, 403, text, PUBLISH)


@pytest.mark.parametrize("user", ["root", "Guest", "g" * 255])
async def test_user_id(channel: RawChannel, user: str) -> None:
    """A user id is the name of the connection's user, and nobody else's."""
    channel.publish(user_id=user)
    text = f"PRECONDITION_FAILED - user_id property set to '{user}' but authenticated user was "
    text += "'guest'"
    await closes(channel, 406, text if len(text) < 256 else text[:252] + "...", PUBLISH)


@versions("3.10 - 4.2", still=True)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("h", "no_integer"),
        (" 1", "no_integer"),
        ("-", "no_integer"),
        ("ten", "no_integer"),
        ("12h", '{leftover_string,"h"}'),
        ("1 ", '{leftover_string," "}'),
        ("1.5", '{leftover_string,".5"}'),
        ("1e3", '{leftover_string,"e3"}'),
        ("0x10", '{leftover_string,"x10"}'),
        ("-+5", "no_integer"),
        ("1\n", '{leftover_string,"\\n"}'),
        ('1"\\', '{leftover_string,"\\"\\\\"}'),
        ("1\x7f", "{leftover_string,[127]}"),
        ("1ä", '{leftover_string,"ä"}'),
        ("-1", "{value_negative,-1}"),
        ("-12h", '{leftover_string,"h"}'),
        ("315360000001", "{value_too_large,315360000001}"),
        ("9" * 14, "{value_too_large,99999999999999}"),
    ],
)
async def test_expiration(channel: RawChannel, value: str, problem: str) -> None:
    """An expiration is a number of milliseconds, written in digits."""
    channel.publish(expiration=value)
    text = f"PRECONDITION_FAILED - invalid expiration '{value}': {problem}"
    await closes(channel, 406, text, PUBLISH)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        (EXPIRATION, "invalid expiration '': no_integer"),
        (USER_ID, "user_id property set to '' but authenticated user was 'guest'"),
    ],
    ids=["expiration", "user id"],
)
async def test_empty(channel: RawChannel, flag: int, text: str) -> None:
    """An empty expiration or user id is not the same as none."""
    method = Basic.Publish(exchange="", routing_key="")
    channel.connection.write(sent(method) + header(0, flag, short(b"")))
    await closes(channel, 406, f"PRECONDITION_FAILED - {text}", PUBLISH)


@pytest.mark.parametrize("value", ["60000", "315360000000", "060000", "+60000"])
async def test_expirations(server: Server, channel: RawChannel, value: str) -> None:
    """Any number of digits will do."""
    name = await server.queue(channel)
    await publish(channel, name, b"x", expiration=value)
    assert await server.count(channel, name) == 1


FAULTS: dict[str, tuple[Any, str]] = {
    "exchange": ("no.such.exchange", "NOT_FOUND - no exchange 'no.such.exchange' in vhost '/'"),
    "reply_to": (
        "amq.rabbitmq.reply-to",
        "PRECONDITION_FAILED - fast reply consumer does not exist",
    ),
    "user_id": (
        "root",
        "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'",
    ),
    "expiration": ("x", "PRECONDITION_FAILED - invalid expiration 'x': no_integer"),
    "headers": (
        {"CC": 1},
        'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",byte}',
    ),
}


@versions("3.10 - 3.12", still=True)
@pytest.mark.parametrize("first", FAULTS)
async def test_first_fault(channel: RawChannel, first: str) -> None:
    """Of several faults the first one in this order is told."""
    names = list(FAULTS)
    values = {name: FAULTS[name][0] for name in names[names.index(first) :]}
    channel.publish(**values)
    text = FAULTS[first][1]
    await closes(channel, 404 if first == "exchange" else 406, text, PUBLISH)


@pytest.mark.parametrize("exchange", ["default", "without bindings", "with other bindings"])
@pytest.mark.parametrize("body", [b"", b"x", b"x" * FRAME, b"x" * (2 * FRAME + 1)], ids=len)
async def test_returned(server: Server, channel: RawChannel, exchange: str, body: bytes) -> None:
    """A mandatory message that no queue has comes back as it was published."""
    name = ""
    if exchange != "default":
        name = await server.exchange(channel)
    if exchange == "with other bindings":
        await bind(channel, await server.queue(channel), name, "other")
    values: dict[str, Any] = {"headers": {"a": [{"b": 1}]}, "message_id": "1", "priority": 3}
    channel.publish(body, "no.such.queue", name, mandatory=True, **values)
    content = await channel.returns.get()
    method = content.method
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key) == (name, "no.such.queue")
    assert content.body == body
    assert {key: value for key, value in content.properties if value} == values


async def test_not_returned(server: Server, channel: RawChannel) -> None:
    """A message that some queue has does not come back, nor does one that is not mandatory."""
    name = await server.queue(channel)
    channel.publish(b"x", name, mandatory=True)
    channel.publish(b"x", "no.such.queue")
    await take(channel, name)
    await works(channel)
    assert not channel.returns.items


async def test_not_returned_from_afar(server: Server, channel: RawChannel) -> None:
    """A queue behind further exchanges will do."""
    first = await server.exchange(channel, "fanout", "first")
    second = await server.exchange(channel, "fanout", "second")
    await channel.call(Exchange.Bind(destination=second, source=first))
    channel.publish(b"0", "", first, mandatory=True)
    assert (await channel.returns.get()).body == b"0"
    await bind(channel, await server.queue(channel), second)
    channel.publish(b"1", "", first, mandatory=True)
    await works(channel)
    assert not channel.returns.items


async def test_returned_to_its_channel(server: Server, channel: RawChannel) -> None:
    """A message comes back to the channel that it was published on, in its order, and only once."""
    other = await channel.connection.channel()
    for body in (b"0", b"1", b"2"):
        channel.publish(body, "no.such.queue", mandatory=True)
    assert [(await channel.returns.get()).body for _ in range(3)] == [b"0", b"1", b"2"]
    await works(channel)
    await works(other)
    assert not channel.returns.items
    assert not other.returns.items


async def test_returned_first(channel: RawChannel) -> None:
    """A message is returned before it is confirmed."""
    names = order(await confirming(channel))
    channel.publish(b"x", "no.such.queue", mandatory=True)
    assert (await channel.confirms.get()).delivery_tag == 1
    assert names == ["Basic.Return", "Basic.Ack"]


async def where(server: Server, channel: RawChannel, headers: dict[str, Any]) -> list[str]:
    """Publish to the queue `a` with these headers; say in which of three queues it is."""
    names = [await server.queue(channel, each) for each in "abc"]
    for key in ("CC", "BCC"):
        if isinstance(headers.get(key), list):
            queues = [f"{server.prefix}.{key}" for key in headers[key]]
            headers = {**headers, key: queues}
    await publish(channel, names[0], b"x", headers=headers)
    found = []
    for name in names:
        while (content := await channel.get(name)) is not None:
            assert content.method.routing_key == names[0]
            found.append(name[-1])
    return found


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, "a"),
        ({"CC": []}, "a"),
        ({"CC": ["b"]}, "ab"),
        ({"CC": ["c", "b"]}, "abc"),
        ({"BCC": ["b", "c"]}, "abc"),
        ({"CC": ["b"], "BCC": ["c"]}, "abc"),
        ({"CC": ["a", "a", "b", "b"], "BCC": ["b"]}, "ab"),
        ({"CC": ["no.such.queue"]}, "a"),
        ({"cc": ["b"], "Bcc": ["c"]}, "a"),
    ],
    ids=str,
)
async def test_copies(
    server: Server, channel: RawChannel, headers: dict[str, Any], found: str
) -> None:
    """The arrays CC and BCC name further routing keys; each queue has the message once."""
    assert await where(server, channel, headers) == list(found)


@pytest.mark.parametrize("key", ["CC", "BCC"])
async def test_copies_no_strings(server: Server, channel: RawChannel, key: str) -> None:
    """What is no string in CC and BCC is passed over."""
    name, other = await server.queue(channel, "1"), await server.queue(channel, "2")
    headers: dict[str, Any] = {key: [1, None, {"a": other}, [other], True, name]}
    await publish(channel, "no.such.queue", b"x", headers=headers)
    assert (await server.count(channel, name), await server.count(channel, other)) == (1, 0)


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
async def test_copies_through_an_exchange(server: Server, channel: RawChannel, kind: str) -> None:
    """CC and BCC are routing keys of the exchange that the message is published to."""
    exchange = await server.exchange(channel, kind)
    name = await server.queue(channel)
    for key in ("a.1", "b.1", "c.1"):
        await bind(channel, name, exchange, key)
    for headers in ({"CC": ["b.1", "c.1"]}, {"BCC": ["b.1"]}):
        channel.publish(b"x", "a.1", exchange, headers=headers)
        assert (await take(channel, name)).method.routing_key == "a.1"
    for headers in ({"CC": ["b.1"]}, {"BCC": ["b.1"]}):
        channel.publish(b"x", "nobody", exchange, headers=headers, mandatory=True)
        assert (await take(channel, name)).method.routing_key == "nobody"
    await works(channel)
    assert not channel.returns.items
    assert await all_taken(channel, name) == []


async def test_bcc_is_secret(server: Server, channel: RawChannel) -> None:
    """BCC is taken out of the headers, CC stays; what remains may be an empty table."""
    name = await server.queue(channel)
    for headers in ({"CC": ["x"], "BCC": ["y"], "a": 1}, {"BCC": ["y"]}):
        await publish(channel, name, b"x", headers=headers)
        expected = {key: value for key, value in headers.items() if key != "BCC"}
        content = await take(channel, name)
        assert content.properties.headers == expected
    assert channel.connection.content_headers[-1] == pack(">HHQHI", 60, 0, 1, HEADERS, 0)


async def test_bcc_is_secret_returned(channel: RawChannel) -> None:
    """BCC is taken out of a message that comes back, too."""
    headers = {"CC": ["no.such.queue"], "BCC": ["no.such.queue"]}
    channel.publish(b"x", "no.such.queue", mandatory=True, headers=headers)
    assert (await channel.returns.get()).headers == {"CC": ["no.such.queue"]}


@pytest.mark.parametrize("key", ["CC", "BCC"])
@pytest.mark.parametrize(
    ("value", "kind"), [("x", "longstr"), (1, "byte"), (None, "void"), ({"a": 1}, "table")]
)
async def test_no_array(channel: RawChannel, key: str, value: Any, kind: str) -> None:
    """CC and BCC are arrays."""
    channel.publish(headers={key: value})
    text = f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{key}",{kind}}}'
    await closes(channel, 406, text, PUBLISH)


async def test_default_exchange(server: Server, channel: RawChannel) -> None:
    """The default exchange knows every queue by its whole name."""
    name = await server.queue(channel)
    for key in (name, name[:-1], name + "x", name.upper(), "#", "*", ""):
        channel.publish(key.encode(), key)
    await publish(channel, name, b"last")
    assert await all_taken(channel, name) == [(name.encode(), False), (b"last", False)]


async def test_deleted_queue(server: Server, channel: RawChannel) -> None:
    """What is published to a queue that was deleted comes back."""
    name = await server.queue(channel)
    await channel.call(Queue.Delete(queue=name))
    channel.publish(b"x", name, mandatory=True)
    assert (await channel.returns.get()).body == b"x"


async def test_published_before_close(server: Server, channel: RawChannel) -> None:
    """What was published before the channel was closed is there."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    for number in range(20):
        other.publish(b"%d" % number, name)
    other.send(Channel.Close(200, "", 0, 0))
    for number in range(20):
        assert (await take(channel, name)).body == b"%d" % number
    assert not isinstance(await channel.call(Basic.Get(queue=name)), Content)


@versions("4.0 - 4.3")
async def test_largest(server: Server, channel: RawChannel) -> None:
    """A body of 16 MiB is taken; one more byte closes the channel once it is there."""
    name, largest = await server.queue(channel), 16 * 2**20
    other = await channel.connection.channel()
    channel.publish(bytes(largest), name)
    await works(channel)
    channel.publish(bytes(largest + 1), name)
    text = f"message size {largest + 1} is larger than configured max size {largest}"
    same(await channel.closed(), (406, f"PRECONDITION_FAILED - {text}", (60, 40)))
    assert await server.count(other, name) == 1
