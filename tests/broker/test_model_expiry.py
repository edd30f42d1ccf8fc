"""Messages and queues that expire, on a clock that is moved."""

from collections.abc import Callable
from typing import Any

import pytest

from busauth.testing import ManualClock
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.node import Node
from tests.broker.model import Client, node

Use = Callable[[Client, str], Any]

both = pytest.mark.parametrize("kind", ["classic", "quorum"])


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


def exists(client: Client, queue: str) -> bool:
    return queue in client.channel.vhost.queues


def steps(broker: Node, message: Message) -> list[tuple[Step, str]]:
    """What a message went through, after it was queued."""
    found = [(each.step, each.detail) for each in broker.journal if each.message is message]
    return found[2:]


def declare(client: Client, name: str, **arguments: Any) -> str:
    """Declare a queue whose dead letters go to `dead`."""
    client.declare("dead")
    return client.declare(
        name, dead_letter_exchange="", dead_letter_routing_key="dead", **arguments
    )


# --- messages -----------------------------------------------------------------------------------


@both
async def test_queue_ttl(clock: ManualClock, client: Client, kind: str) -> None:
    """A message dies at x-message-ttl, at that instant and not before."""
    declare(client, "q", queue_type=kind, message_ttl=5000)
    client.publish("q")
    await clock.advance(4.999)
    assert (ready(client, "q"), ready(client, "dead")) == (1, 0)
    await clock.advance(0.001)
    assert (ready(client, "q"), ready(client, "dead")) == (0, 1)


@both
@pytest.mark.parametrize(("of_queue", "of_message"), [(2000, "9000"), (9000, "2000")])
async def test_the_smaller_counts(
    clock: ManualClock, client: Client, kind: str, of_queue: int, of_message: str
) -> None:
    """Of the queue's TTL and the message's expiration the smaller counts."""
    client.declare("q", queue_type=kind, message_ttl=of_queue)
    client.publish("q", expiration=of_message)
    await clock.advance(1.999)
    assert ready(client, "q") == 1
    await clock.advance(0.001)
    assert ready(client, "q") == 0


async def test_ten_years(clock: ManualClock, client: Client) -> None:
    """The longest TTL there is lasts ten years."""
    client.declare("q", message_ttl=315_360_000_000)
    client.publish("q")
    await clock.advance(days=3649)
    assert ready(client, "q") == 1
    await clock.advance(days=1)
    assert ready(client, "q") == 0


@both
async def test_only_at_the_head(clock: ManualClock, client: Client, kind: str) -> None:
    """What is dead behind what lives counts as ready, until it comes to the head."""
    client.declare("q", queue_type=kind)
    client.publish("q", b"long", expiration="9000")
    client.publish("q", b"short", expiration="1000")
    await clock.advance(5)
    assert ready(client, "q") == 2
    delivery = client.get("q")
    assert delivery is not None
    assert (delivery.message.body, delivery.remaining, ready(client, "q")) == (b"long", 0, 0)


@both
async def test_passed_over(clock: ManualClock, client: Client, kind: str) -> None:
    """A consumer gets nothing that is dead by the time its turn comes."""
    declare(client, "q", queue_type=kind)
    for body, expiration in ((b"0", None), (b"1", "1000"), (b"2", None)):
        client.publish("q", body, expiration=expiration)
    await clock.advance(1)
    client.consume("q")
    assert client.sink.bodies() == [b"0", b"2"]
    assert ready(client, "dead") == 1


@both
async def test_held_messages_live(clock: ManualClock, client: Client, kind: str) -> None:
    """What somebody holds does not expire; given back too late it does at once."""
    declare(client, "q", queue_type=kind, message_ttl=1000)
    client.publish("q")
    delivery = client.get("q")
    assert delivery is not None
    await clock.advance(5)
    assert ready(client, "dead") == 0
    client.channel.reject(delivery.tag, requeue=True)
    client.node.pump()
    assert (ready(client, "q"), ready(client, "dead")) == (0, 1)


async def test_priorities(clock: ManualClock, client: Client) -> None:
    """In a queue with priorities only what leaves next is looked at."""
    client.declare("q", max_priority=5)
    client.publish("q", b"low", expiration="1000", priority=0)
    client.publish("q", b"high", expiration="2000", priority=5)
    await clock.advance(1)
    assert ready(client, "q") == 2
    await clock.advance(1)
    assert ready(client, "q") == 0


async def test_order_of_deaths(clock: ManualClock, client: Client) -> None:
    """What dies within one step of the clock arrives in the order in which it died."""
    declare(client, "first", message_ttl=2000)
    declare(client, "second", message_ttl=1000)
    client.publish("first", b"later")
    client.publish("second", b"sooner")
    await clock.advance(10)
    client.consume("dead", no_ack=True)
    assert client.sink.bodies() == [b"sooner", b"later"]


async def test_chain(clock: ManualClock, client: Client) -> None:
    """A dead letter begins a new life in the next queue, with that queue's TTL."""
    client.declare("end")
    client.declare("two", message_ttl=3000, dead_letter_exchange="", dead_letter_routing_key="end")
    client.declare("one", message_ttl=2000, dead_letter_exchange="", dead_letter_routing_key="two")
    client.publish("one", expiration="1000")
    await clock.advance(1)
    assert (ready(client, "one"), ready(client, "two")) == (0, 1)
    await clock.advance(2.999)
    assert (ready(client, "two"), ready(client, "end")) == (1, 0)
    await clock.advance(0.001)
    delivery = client.get("end")
    assert delivery is not None
    two, one = delivery.message.headers()["x-death"]
    assert (two["queue"], one["queue"]) == ("two", "one")
    assert (two["reason"], one["reason"]) == ("expired", "expired")
    assert one["original-expiration"] == "1000"
    assert "original-expiration" not in two
    assert (two["time"].timestamp(), one["time"].timestamp()) == (clock.now(), clock.now() - 3)


async def test_never_goes_back(clock: ManualClock, broker: Node, client: Client) -> None:
    """A TTL queue that dead-letters into itself drops what comes round, and does not spin."""
    client.declare("q", message_ttl=0, dead_letter_exchange="", dead_letter_routing_key="q")
    message = client.publish("q")
    await clock.advance(1)
    assert steps(broker, message) == [(Step.DROPPED, "expired; it came round by itself")]


# --- queues -------------------------------------------------------------------------------------


async def test_unused_queue(clock: ManualClock, broker: Node, client: Client) -> None:
    """A queue that nobody uses is deleted after x-expires, with what is in it and what is held."""
    declare(client, "q", expires=5000)
    messages = [client.publish("q") for _ in range(2)]
    delivery = client.get("q")
    assert delivery is not None
    await clock.advance(4.999)
    assert exists(client, "q")
    await clock.advance(0.001)
    assert not exists(client, "q")
    assert ready(client, "dead") == 0
    assert broker.bytes_held == 0
    assert [steps(broker, each)[-1] for each in messages] == [(Step.PURGED, "")] * 2
    client.channel.ack(delivery.tag, multiple=False)


def get(client: Client, queue: str) -> None:
    client.get(queue)


def declare_passively(client: Client, queue: str) -> None:
    client.channel.queue_declare(
        queue, passive=True, durable=False, exclusive=False, auto_delete=False, arguments={}
    )


def declare_again(client: Client, queue: str) -> None:
    client.declare(queue, expires=5000)


def begin_and_stop(client: Client, queue: str) -> None:
    client.channel.cancel(client.consume(queue))


@pytest.mark.parametrize("use", [get, declare_passively, declare_again, begin_and_stop])
async def test_use(clock: ManualClock, client: Client, use: Use) -> None:
    """Each use of a queue begins its x-expires anew."""
    client.declare("q", expires=5000)
    for _ in range(3):
        await clock.advance(4)
        use(client, "q")
    await clock.advance(4.999)
    assert exists(client, "q")
    await clock.advance(0.001)
    assert not exists(client, "q")


async def test_publishing_is_no_use(clock: ManualClock, client: Client) -> None:
    """Whoever publishes, purges or binds does not use a queue."""
    client.declare("q", expires=5000)
    await clock.advance(4)
    client.publish("q")
    client.channel.queue_bind("q", "amq.fanout", "", {})
    client.channel.queue_purge("q")
    await clock.advance(1)
    assert not exists(client, "q")


async def test_consumer_keeps_it(clock: ManualClock, client: Client) -> None:
    """A queue with a consumer does not expire, whatever happens, until the consumer is gone."""
    client.declare("q", expires=5000)
    other = Client.of(client.node)
    other.consume("q")
    await clock.advance(60)
    assert exists(client, "q")
    other.close()
    await clock.advance(5)
    assert not exists(client, "q")
