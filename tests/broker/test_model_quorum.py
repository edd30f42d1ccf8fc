"""Quorum queues: returns, their limit, and dead letters that wait until somebody takes them."""

from typing import Any

import pytest

from busauth.testing import ManualClock
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.node import Node
from tests.broker.model import Client, node

AT_LEAST_ONCE = {
    "queue_type": "quorum",
    "overflow": "reject-publish",
    "dead_letter_strategy": "at-least-once",
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> Node:
    return node(clock)


@pytest.fixture
def client(broker: Node) -> Client:
    return Client.of(broker)


def ready(client: Client, queue: str) -> int:
    """How many messages wait, asked without using the queue."""
    return client.channel.vhost.queues[queue].messages()


def steps(broker: Node, message: Message) -> list[tuple[Step, str]]:
    """What a message went through, after it was queued."""
    found = [(each.step, each.detail) for each in broker.journal if each.message is message]
    return found[2:]


# --- returns ------------------------------------------------------------------------------------


def filled(client: Client, count: int, **arguments: Any) -> None:
    client.declare("q", queue_type="quorum", **arguments)
    for number in range(count):
        client.publish("q", b"%d" % number)


def fetch(client: Client, count: int) -> str:
    """Take messages from `q`, and say which ones they were."""
    found = [client.get("q") for _ in range(count)]
    return "".join(each.message.body.decode() for each in found if each is not None)


@pytest.mark.parametrize("arguments", [{}, {"delivery_limit": 5}, {"delivery_limit": -1}])
def test_returned(client: Client, arguments: dict[str, int]) -> None:
    """What a client returns goes to the head, whatever the delivery limit."""
    for recover in (False, True):
        filled(client, 4, **arguments)
        fetch(client, 3)
        if recover:
            client.channel.recover(requeue=True)
        else:
            client.channel.nack(0, multiple=True, requeue=True)
        assert fetch(client, 4) == "0123"
        client.channel.queue_delete("q", if_unused=False, if_empty=False)


def test_behind_earlier_returns(client: Client) -> None:
    """At the head the order is that of the returns, whatever it was before."""
    filled(client, 4, delivery_limit=5)
    assert fetch(client, 4) == "0123"
    for tag in (3, 1, 4, 2):
        client.channel.nack(tag, multiple=False, requeue=True)
    assert fetch(client, 4) == "2031"


@pytest.mark.parametrize("limit", [None, 0, 1, 2])
def test_limit(broker: Node, client: Client, limit: int | None) -> None:
    """A message dies with the rejection that is one too many: the 21st where no limit is named."""
    named = {} if limit is None else {"delivery_limit": limit}
    client.declare("q", queue_type="quorum", **named)
    message = client.publish("q")
    returns = 0
    while (delivery := client.get("q")) is not None:
        client.channel.reject(delivery.tag, requeue=True)
        returns += 1
    assert returns == (20 if limit is None else limit) + 1
    assert steps(broker, message)[-1] == (
        Step.DROPPED,
        "delivery_limit; the queue has no dead-letter exchange",
    )


def test_no_limit(client: Client) -> None:
    """A negative limit is none."""
    client.declare("q", queue_type="quorum", delivery_limit=-1)
    client.publish("q")
    for _ in range(30):
        delivery = client.get("q")
        assert delivery is not None
        client.channel.reject(delivery.tag, requeue=True)


@pytest.mark.parametrize("recover", [False, True])
def test_limit_does_not_count_what_is_nobodys_fault(client: Client, *, recover: bool) -> None:
    """A nack with requeue and a basic.recover never reach the limit."""
    client.declare("q", queue_type="quorum", delivery_limit=0)
    client.publish("q")
    for _ in range(30):
        delivery = client.get("q")
        assert delivery is not None
        if recover:
            client.channel.recover(requeue=True)
        else:
            client.channel.nack(delivery.tag, multiple=False, requeue=True)


def test_limit_counts_lost_channels(broker: Node, client: Client) -> None:
    """What a closed channel held counts as returned, too."""
    client.declare("q", queue_type="quorum", delivery_limit=1)
    client.publish("q")
    for _ in range(2):
        other = Client.of(broker)
        assert other.get("q") is not None
        other.close()
    assert ready(client, "q") == 0


def test_returned_beyond_the_length(client: Client) -> None:
    """What comes back to a full queue pushes out what is at its head."""
    filled(client, 2, max_length=1)
    assert fetch(client, 1) == "1"
    client.publish("q", b"2")
    client.channel.nack(1, multiple=False, requeue=True)
    assert ready(client, "q") == 1


# --- at-least-once ------------------------------------------------------------------------------


def rejected(client: Client, queue: str, body: bytes = b"x") -> Message:
    """A message that was published, fetched and rejected."""
    message = client.publish(queue, body)
    delivery = client.get(queue)
    assert delivery is not None
    client.channel.reject(delivery.tag, requeue=False)
    client.node.pump()
    return message


async def test_until_there_is_room(clock: ManualClock, broker: Node, client: Client) -> None:
    """A dead letter that a full queue refused is sent again each second until it is taken."""
    client.declare("full", max_length=1, overflow="reject-publish")
    client.declare("q", dead_letter_exchange="", dead_letter_routing_key="full", **AT_LEAST_ONCE)
    client.publish("full")
    message = rejected(client, "q")
    await clock.advance(60)
    assert steps(broker, message)[1:] == []
    client.channel.queue_purge("full")
    assert ready(client, "full") == 0
    await clock.advance(1)
    assert ready(client, "full") == 1
    assert steps(broker, message)[-1] == (Step.DEAD_LETTERED, "rejected")
    await clock.advance(60)
    assert ready(client, "full") == 1


async def test_to_each_queue_once(clock: ManualClock, broker: Node, client: Client) -> None:
    """Of several queues those that took a dead letter do not get it again with the others."""
    for name in ("open", "full"):
        client.declare(name, max_length=1 + (name == "open"), overflow="reject-publish")
        client.channel.queue_bind(name, "amq.fanout", "", {})
    client.publish("full")
    client.declare("q", dead_letter_exchange="amq.fanout", **AT_LEAST_ONCE)
    message = rejected(client, "q")
    await clock.advance(10)
    assert (ready(client, "open"), ready(client, "full")) == (1, 1)
    assert steps(broker, message)[1:] == []
    client.channel.queue_purge("full")
    await clock.advance(10)
    assert (ready(client, "open"), ready(client, "full")) == (1, 1)
    assert steps(broker, message)[-1] == (Step.DEAD_LETTERED, "rejected")


async def test_no_queue_is_left(clock: ManualClock, broker: Node, client: Client) -> None:
    """A dead letter is done with when the queue that it still waited for is gone."""
    for name in ("open", "full"):
        client.declare(name, max_length=1, overflow="reject-publish")
        client.channel.queue_bind(name, "amq.fanout", "", {})
    client.publish("full")
    client.declare("q", dead_letter_exchange="amq.fanout", **AT_LEAST_ONCE)
    message = rejected(client, "q")
    for name in ("full", "open"):
        client.channel.queue_delete(name, if_unused=False, if_empty=False)
    await clock.advance(1)
    assert steps(broker, message)[-1] == (Step.DEAD_LETTERED, "rejected")


async def test_as_soon_as_there_is_a_way(clock: ManualClock, client: Client) -> None:
    """Dead letters that nothing was bound for go on in their order, once there is a binding."""
    client.declare("q", dead_letter_exchange="amq.fanout", **AT_LEAST_ONCE)
    for body in (b"0", b"1", b"2"):
        rejected(client, "q", body)
    await clock.advance(60)
    client.declare("dead")
    client.channel.queue_bind("dead", "amq.fanout", "", {})
    client.consume("dead", no_ack=True)
    assert client.sink.bodies() == [b"0", b"1", b"2"]


async def test_letters_are_held(clock: ManualClock, broker: Node, client: Client) -> None:
    """Dead letters that wait count for the length and the memory, and go with their queue."""
    client.declare("q", dead_letter_exchange="nowhere", max_length_bytes=3, **AT_LEAST_ONCE)
    message = rejected(client, "q", b"xyz")
    assert broker.bytes_held == message.size
    refused = client.publish("q", b"x")
    assert (Step.REFUSED, "maxlen") in [
        (r.step, r.detail) for r in broker.journal if r.message is refused
    ]
    await clock.advance(10)
    assert ready(client, "q") == 0
    client.channel.queue_delete("q", if_unused=False, if_empty=False)
    assert broker.bytes_held == 0
    await clock.advance(10)
    assert steps(broker, message)[-1] == (Step.PURGED, "")


async def test_expired_letters(clock: ManualClock, client: Client) -> None:
    """What expires with nowhere to go waits as a dead letter, and keeps its reason."""
    client.declare("q", dead_letter_exchange="amq.fanout", message_ttl=1000, **AT_LEAST_ONCE)
    client.publish("q")
    await clock.advance(30)
    client.declare("dead")
    client.channel.queue_bind("dead", "amq.fanout", "", {})
    delivery = client.get("dead")
    assert delivery is not None
    assert delivery.message.headers()["x-first-death-reason"] == "expired"
