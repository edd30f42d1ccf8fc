"""Thousands of everything: what a broker does for each must not grow with how many there are.

Each case is done within seconds, or, where its costs multiply, not before the time limit.
"""

from itertools import pairwise

import pytest

from tests.broker.model import Client, node

pytestmark = [pytest.mark.long, pytest.mark.timeout(40)]
MANY = 10_000
LONG = 200


def declare(client: Client, name: str, kind: str = "fanout", *, auto_delete: bool = False) -> None:
    client.channel.exchange_declare(
        name,
        kind,
        passive=False,
        durable=False,
        auto_delete=auto_delete,
        internal=False,
        arguments={},
    )


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.topic", "amq.fanout", "amq.headers"])
def test_bindings(exchange: str) -> None:
    """Thousands of queues come, are bound and go."""
    client = Client.of(node())
    for number in range(MANY):
        client.declare(f"q{number}")
        client.channel.queue_bind(f"q{number}", exchange, f"key.{number}", {})
    client.publish("key.7", exchange=exchange)
    vhost = client.channel.vhost
    assert vhost.queues["q7"].messages() == 1
    for number in range(MANY):
        client.channel.queue_delete(f"q{number}", if_unused=False, if_empty=False)
    assert not vhost.exchanges[exchange].bindings
    assert client.node.bytes_held == 0


def test_acknowledged_in_turn() -> None:
    """Thousands of deliveries are acknowledged one by one, with `multiple`, too."""
    client = Client.of(node())
    client.declare("q")
    client.consume("q")
    for _ in range(3 * MANY):
        client.publish("q")
    for tag in range(1, 3 * MANY + 1):
        client.channel.ack(tag, multiple=True)
    assert client.node.bytes_held == 0


@pytest.mark.parametrize("argument", [{"message_ttl": 0}, {"max_length": 0}])
@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish-dlx"])
def test_dead_letters_in_a_row(argument: dict[str, int], overflow: str) -> None:
    """A dead letter passes through any number of queues."""
    client = Client.of(node())
    names = [f"q{number}" for number in range(LONG)]
    for name, following in pairwise([*names, "end"]):
        client.declare(
            name,
            dead_letter_exchange="",
            dead_letter_routing_key=following,
            overflow=overflow,
            **argument,
        )
    client.declare("end")
    client.publish("q0")
    queues = client.channel.vhost.queues
    assert [name for name, queue in queues.items() if queue.messages()] == ["end"]
    assert client.channel.queue_purge("end") == 1
    assert client.node.bytes_held == 0


def test_exchanges_in_a_row() -> None:
    """An exchange that goes takes any number of others with it."""
    client = Client.of(node())
    names = [f"x{number}" for number in range(LONG * 5)]
    for name in names:
        declare(client, name, auto_delete=True)
    for source, destination in pairwise(names):
        client.channel.exchange_bind(destination, source, "", {})
    client.declare("q")
    client.channel.queue_bind("q", names[-1], "", {})
    client.publish("", exchange="x0")
    assert client.channel.queue_delete("q", if_unused=False, if_empty=False) == 1
    assert not client.channel.vhost.exchanges.keys() & names


def test_queues_that_would_have_expired() -> None:
    """Of queues that are gone nothing waits for the instant at which they would have expired."""
    client = Client.of(node())
    for _ in range(MANY):
        client.declare("q", expires=2**31)
        client.channel.queue_delete("q", if_unused=False, if_empty=False)
    assert len(client.node._due) < MANY / 10


def test_deliveries_of_queues_that_are_gone() -> None:
    """A message of a deleted queue is not kept for a client that never acknowledges it."""
    client = Client.of(node())
    client.declare("q")
    client.consume("q")
    client.publish("q", bytes(10_000))
    client.channel.queue_delete("q", if_unused=False, if_empty=False)
    ((tag, held),) = client.channel.unacked.items()
    assert held.entry.message.body == b""
    client.channel.nack(tag, multiple=False, requeue=True)
    assert client.node.bytes_held == 0


def test_deliveries_of_streams() -> None:
    """What a stream has dropped is not kept for a client that never acknowledges it."""
    client = Client.of(node())
    client.declare("s", queue_type="stream", max_length_bytes=1000)
    client.channel.qos(prefetch_size=0, prefetch_count=10, global_=False)
    client.consume("s", arguments={"x-stream-offset": "first"})
    for _ in range(5):
        client.publish("s", bytes(10_000))
    assert client.sink.bodies() == [bytes(10_000)] * 5
    assert not any(held.entry.message.body for _, held in client.channel.unacked.items())
