"""Who is served when, without a wire: turns, priorities, a single active one, and limits."""

import pytest

from busauth.testing.broker.model.node import Node
from busauth.testing.broker.model.queues.queues import Consumer
from busauth.testing.broker.model.queues.turns import Consumers, SingleActive
from busauth.testing.broker.model.words.errors import AMQPError
from tests.broker.model import Client, node


@pytest.fixture
def broker() -> Node:
    return node()


@pytest.fixture
def client(broker: Node) -> Client:
    return Client.of(broker)


def consumers(client: Client, *priorities: int) -> list[Consumer]:
    """Consumers of a queue, in order, with prefetch count 1."""
    client.declare("q")
    channel, queue = client.channel, client.channel.vhost.queues["q"]
    return [
        Consumer(str(number), channel, queue, no_ack=False, priority=priority, prefetch=1)
        for number, priority in enumerate(priorities)
    ]


def turns(of: Consumers, count: int) -> str:
    """Whose turn it is, so many times."""
    found = (of.next() for _ in range(count))
    return "".join("-" if each is None else each.tag for each in found)


def joined(of: Consumers, *several: Consumer) -> Consumers:
    for each in several:
        of.add(each)
    return of


def test_turns(client: Client) -> None:
    """Of those with the highest priority each has its turn, the first one first."""
    assert turns(joined(Consumers(), *consumers(client, 0, 1, 0, 1)), 5) == "13131"


def test_passed_over(client: Client) -> None:
    """Whoever cannot take when its turn comes queues up behind its peers once it can."""
    zero, one, two = consumers(client, 0, 0, 0)
    waiting = joined(Consumers(), zero, one, two)
    zero.took()
    assert turns(waiting, 3) == "121"
    zero.settled()
    waiting.resume()
    assert turns(waiting, 3) == "210"


def test_full_but_not_asked(client: Client) -> None:
    """Whoever can take again before its turn comes keeps its place."""
    zero, one = consumers(client, 0, 0)
    waiting = joined(Consumers(), zero, one)
    assert turns(waiting, 1) == "0"
    zero.took()
    zero.settled()
    assert turns(waiting, 3) == "101"


def test_in_the_order_of_acks(client: Client) -> None:
    """Those who were passed over come back in the order in which they made room."""
    zero, one = several = consumers(client, 0, 0)
    waiting = joined(Consumers(), *several)
    for each in several:
        each.took()
    assert turns(waiting, 1) == "-"
    for each in (one, zero):
        each.settled()
        waiting.resume()
    assert turns(waiting, 2) == "10"


def test_nobody_is_lost(client: Client) -> None:
    """Who was passed over still counts, and can leave."""
    zero, one = several = consumers(client, 1, 0)
    waiting = joined(Consumers(), *several)
    zero.took()
    assert turns(waiting, 1) == "1"
    assert set(waiting) == set(several)
    waiting.remove(zero)
    waiting.remove(one)
    assert len(waiting) == 0
    assert turns(waiting, 1) == "-"


@pytest.mark.parametrize(("by_priority", "heirs"), [(True, "0312"), (False, "0123")])
def test_heirs(client: Client, by_priority: bool, heirs: str) -> None:
    """A single active consumer is followed by the highest priority, or by who waited longest."""
    several = consumers(client, 0, 1, 0, 2)
    alone = joined(SingleActive(by_priority=by_priority), *several)
    found = ""
    for _ in several:
        found += turns(alone, 1)
        active = alone.next()
        assert active is not None
        alone.remove(active)
    assert found == heirs
    assert turns(alone, 1) == "-"


def test_single_active_is_full(client: Client) -> None:
    """While the single active consumer cannot take, nobody can."""
    zero, one = consumers(client, 0, 5)
    alone = joined(SingleActive(by_priority=True), zero, one)
    zero.took()
    assert turns(alone, 2) == "--"


def test_whoever_does_not_read(broker: Node, client: Client) -> None:
    """A client that does not read is passed over, and gets its turns once it does."""
    client.declare("q")
    slow, quick = Client.of(broker), Client.of(broker)
    slow.sink.open = False
    for each in (slow, quick):
        each.consume("q")
    for body in (b"0", b"1"):
        client.publish("q", body)
    assert (slow.sink.bodies(), quick.sink.bodies()) == ([], [b"0", b"1"])
    quick.sink.open = False
    client.publish("q", b"2")
    slow.sink.open = True
    slow.connection.writable()
    broker.pump()
    assert slow.sink.bodies() == [b"2"]


# --- prefetch ------------------------------------------------------------------------------------


def test_transaction_makes_room_at_its_end(client: Client) -> None:
    """An acknowledgement in a transaction makes room at tx.commit, and none at tx.rollback."""
    client.declare("q")
    client.channel.tx_select()
    client.channel.qos(prefetch_size=0, prefetch_count=1, global_=False)
    client.consume("q")
    other = Client.of(client.node)
    for body in (b"0", b"1"):
        other.publish("q", body)
    for end in (client.channel.tx_rollback, client.channel.tx_commit):
        client.channel.ack(1, multiple=False)
        client.node.pump()
        assert client.sink.bodies() == [b"0"]
        end()
    client.node.pump()
    assert client.sink.bodies() == [b"0", b"1"]


# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "text"),
    [
        ("stream", {"x-priority": 5}, "'x-priority' for queue 'q' in vhost '/' of queue type"),
        ("quorum", {"x-cancel-on-ha-failover": True}, "of queue type rabbit_quorum_queue"),
        ("classic", {"x-cancel-on-ha-failover": 1}, "unacceptable_type,byte"),
        ("classic", {"x-priority": "a", "x-stream-offset": 0}, "expected integer, got longstr"),
        ("stream", {"x-stream-offset": None}, "invalid_stream_offset_arg,{void,undefined}"),
    ],
)
def test_refused(client: Client, kind: str, arguments: dict[str, object], text: str) -> None:
    """Each type of queue has arguments of its own for consumers; a wrong value is told first."""
    client.declare("q", queue_type=kind)
    client.channel.qos(prefetch_size=0, prefetch_count=1, global_=False)
    with pytest.raises(AMQPError) as caught:
        client.consume("q", arguments=arguments)
    assert caught.value.code == 406
    assert text in caught.value.text
    assert not client.channel.consumers
