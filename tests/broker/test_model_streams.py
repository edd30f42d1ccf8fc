"""Streams on a clock that is moved: what is kept how long, and where consumers begin."""

from datetime import UTC, datetime
from typing import Any

import pytest

from busauth.testing import ManualClock
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.node import Node
from busauth.testing.broker.model.words.errors import AMQPError
from tests.broker.model import Client, node


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> Node:
    return node(clock)


@pytest.fixture
def client(broker: Node) -> Client:
    return Client.of(broker)


def read(broker: Node, offset: Any = "first", prefetch: int = 100) -> Client:
    """A client that consumes the stream `s`."""
    reader = Client.of(broker)
    reader.channel.qos(prefetch_size=0, prefetch_count=prefetch, global_=False)
    reader.consume("s", "tag", arguments={"x-stream-offset": offset})
    return reader


def offsets(reader: Client) -> list[int]:
    found = []
    for _, delivery in reader.sink.deliveries:
        extra = delivery.extra or {}
        field = extra["x-stream-offset"]
        assert field is not None
        found.append(int.from_bytes(field[1:], "big"))
    return found


async def hourly(clock: ManualClock, client: Client, count: int = 4) -> None:
    """Publish a message, and one more each hour."""
    client.publish("s", b"0")
    for number in range(1, count):
        await clock.advance(hours=1)
        client.publish("s", b"%d" % number)


async def test_age(clock: ManualClock, broker: Node, client: Client) -> None:
    """A message goes once it is older than x-max-age, whoever reads; the others keep offsets."""
    client.declare("s", queue_type="stream", max_age="2h")
    await hourly(clock, client)
    reader = read(broker)
    assert (reader.sink.bodies(), offsets(reader)) == ([b"2", b"3"], [2, 3])
    await clock.advance(hours=2)
    assert client.channel.vhost.queues["s"].messages() == 0
    assert broker.bytes_held == 0
    client.publish("s", b"4")
    assert offsets(reader) == [2, 3, 4]


async def test_age_on_time(clock: ManualClock, client: Client) -> None:
    """Retention needs no traffic: what is too old is gone at that instant."""
    client.declare("s", queue_type="stream", max_age="60s")
    client.publish("s")
    await clock.advance(59.999)
    assert client.channel.vhost.queues["s"].messages() == 1
    await clock.advance(0.001)
    assert client.channel.vhost.queues["s"].messages() == 0


async def test_size(broker: Node, client: Client) -> None:
    """Above x-max-length-bytes the oldest go, and the newest always stays."""
    client.declare("s", queue_type="stream", max_length_bytes=10)
    for body in (b"aaaa", b"bbbb", b"cccc"):
        client.publish("s", body)
    assert read(broker).sink.bodies() == [b"bbbb", b"cccc"]
    client.publish("s", b"d" * 20)
    assert read(broker).sink.bodies() == [b"d" * 20]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("90m", [2, 3]),
        ("1h", [2, 3]),
        ("1D", [0, 1, 2, 3]),
        ("1s", [3]),
        (-5, [0, 1, 2, 3]),
        (3, [3]),
        (4, []),
        ("last", [3]),
        ("next", []),
    ],
)
async def test_offset(
    clock: ManualClock, broker: Node, client: Client, offset: Any, expected: list[int]
) -> None:
    """An interval as x-stream-offset goes back from now; a number is a message's own."""
    client.declare("s", queue_type="stream")
    await hourly(clock, client)
    assert offsets(read(broker, offset)) == expected


@pytest.mark.parametrize(("hours", "expected"), [(-1, [0, 1, 2, 3]), (1, [1, 2, 3]), (4, [])])
async def test_timestamp(
    clock: ManualClock, broker: Node, client: Client, hours: int, expected: list[int]
) -> None:
    """A timestamp as x-stream-offset is the first message from then on."""
    start = clock.now()
    client.declare("s", queue_type="stream")
    await hourly(clock, client)
    when = datetime.fromtimestamp(start + hours * 3600, UTC)
    assert offsets(read(broker, when)) == expected


async def test_gone_offset(clock: ManualClock, broker: Node, client: Client) -> None:
    """A consumer whose messages were dropped goes on with the oldest that is left."""
    client.declare("s", queue_type="stream", max_age="2h")
    await hourly(clock, client, 2)
    reader = read(broker, prefetch=1)
    assert offsets(reader) == [0]
    await clock.advance(hours=1.5)
    client.publish("s", b"2")
    await clock.advance(hours=0.5)
    reader.channel.ack(1, multiple=False)
    broker.pump()
    assert offsets(reader) == [0, 2]


async def test_expiration_means_nothing(clock: ManualClock, broker: Node, client: Client) -> None:
    """A message's own expiration does not count in a stream."""
    client.declare("s", queue_type="stream")
    client.publish("s", expiration="0")
    await clock.advance(days=365)
    assert offsets(read(broker)) == [0]


async def test_journal(broker: Node, client: Client) -> None:
    """What a consumer read, and what went with the stream, is told."""
    client.declare("s", queue_type="stream")
    client.publish("s")
    reader = read(broker)
    reader.channel.ack(1, multiple=False)
    client.channel.queue_delete("s", if_unused=True, if_empty=True)
    assert [(each.step, each.detail) for each in broker.journal][1:] == [
        (Step.QUEUED, ""),
        (Step.DELIVERED, "tag"),
        (Step.PURGED, ""),
    ]
    assert broker.bytes_held == 0
    assert reader.sink.cancels == ["tag"]


async def test_refused_return(broker: Node, client: Client) -> None:
    """A refused basic.nack changes nothing: what was held with it is held still."""
    client.declare("s", queue_type="stream")
    client.declare("q")
    client.publish("q", b"from a queue")
    client.publish("s", b"from a stream")
    reader = read(broker)
    assert reader.get("q") is not None
    with pytest.raises(AMQPError, match="not supported by stream queues"):
        reader.channel.nack(0, multiple=True, requeue=False)
    assert [tag for tag, _ in reader.channel.unacked.items()] == [1, 2]
    reader.close()
    assert client.channel.vhost.queues["q"].messages() == 1
