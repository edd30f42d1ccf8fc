"""kombu on py-amqp, as Celery's and others' transport."""

# mypy: allow-untyped-calls
# (kombu says that it is typed; most of it is not)

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from amqp.exceptions import (  # type: ignore[import-untyped]
    AccessRefused,
    NotAllowed,
    NotFound,
    PreconditionFailed,
)
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer, Producer
from kombu.mixins import ConsumerMixin
from kombu.simple import SimpleQueue

from tests.clients.serving import Remote

SECONDS = 10


@pytest.fixture
def connection(remote: Remote) -> Iterator[Any]:
    options = {"confirm_publish": True}
    with Connection(remote.url, transport_options=options, connect_timeout=SECONDS) as connection:
        yield connection


def queue_of(remote: Remote, name: str = "q", **options: Any) -> Any:
    exchange = Exchange(remote.name(f"x-{name}"), "topic")
    return Queue(remote.name(name), exchange, routing_key="orders.*", **options)


def publish(producer: Any, queue: Any, body: Any = "x", **options: Any) -> None:
    producer.publish(
        body,
        exchange=queue.exchange,
        routing_key="orders.placed",
        declare=[queue],
        **options,
    )


def received(channel: Any, queue: Any, count: int = 1, **options: Any) -> list[Any]:
    """Consume until so many have come; the consumer stays on its channel."""
    found: list[Any] = []
    consumer = Consumer(channel, [queue], on_message=found.append, **options)
    with consumer:
        while len(found) < count:
            channel.connection.drain_events(timeout=SECONDS)
    return found


def test_wrong_password(remote: Remote) -> None:
    """A wrong password is refused as such, without another try."""
    with pytest.raises(AccessRefused), Connection(remote.wrong_password) as connection:
        connection.connect()


def test_wrong_vhost(remote: Remote) -> None:
    """A virtual host that does not exist is refused by its name."""
    with (
        pytest.raises(NotAllowed, match="nowhere"),
        Connection(remote.wrong_vhost) as connection,
    ):
        connection.connect()


def test_amqplain(remote: Remote) -> None:
    """The other mechanism to log in with is AMQPLAIN."""
    with Connection(remote.url, login_method="AMQPLAIN") as connection:
        connection.connect()
        assert connection.connected
    with (
        pytest.raises(AccessRefused),
        Connection(remote.wrong_password, login_method="AMQPLAIN") as connection,
    ):
        connection.connect()


def test_declare(remote: Remote, connection: Any) -> None:
    """What is declared otherwise is 406, what is not there 404, and only the channel is gone."""
    queue = queue_of(remote)
    queue(connection.channel()).declare()
    with pytest.raises(PreconditionFailed):
        Queue(queue.name, durable=False)(connection.channel()).queue_declare()
    with pytest.raises(NotFound):
        Queue(remote.name("none"))(connection.channel()).queue_declare(passive=True)
    assert queue(connection.channel()).queue_declare(passive=True).message_count == 0


def test_serializers(remote: Remote, connection: Any) -> None:
    """Objects arrive as they were sent, with content type and headers."""
    queue, body = queue_of(remote), {"id": 1, "lines": ["\u00e9"]}
    channel = connection.channel()
    publish(Producer(channel), queue, body, compression="zlib", headers={"a": 1})
    (message,) = received(channel, queue)
    assert message.payload == body
    assert (message.content_type, message.headers["a"]) == ("application/json", 1)
    message.ack()


def test_mandatory(remote: Remote, connection: Any) -> None:
    """What is mandatory and cannot be routed is returned to the producer."""
    returned: list[Any] = []
    exchange = Exchange(remote.name("x"))
    channel = connection.channel()
    producer = Producer(
        channel, exchange, on_return=lambda error, *rest: returned.append((error, rest[-1]))
    )
    producer.publish("x", routing_key="nowhere", mandatory=True)
    ((error, message),) = returned
    assert (error.reply_code, error.reply_text, message.body) == (312, "NO_ROUTE", "x")


def test_prefetch(remote: Remote, connection: Any) -> None:
    """No more messages are out than the prefetch allows; an ack makes room."""
    queue, channel = queue_of(remote), connection.channel()
    for number in range(3):
        publish(Producer(channel), queue, number)
    found: list[Any] = []
    with Consumer(channel, [queue], on_message=found.append, prefetch_count=1):
        for number in range(3):
            connection.drain_events(timeout=SECONDS)
            assert [message.payload for message in found] == list(range(number + 1))
            assert queue(channel).queue_declare(passive=True).message_count == 2 - number
            found[-1].ack()


def test_global_prefetch(remote: Remote, connection: Any) -> None:
    """A prefetch for the whole channel, as Celery sets it, holds for the consumer that comes."""
    queue, channel = queue_of(remote), connection.channel()
    for number in range(3):
        publish(Producer(channel), queue, number)
    channel.basic_qos(0, 1, a_global=True)
    found: list[Any] = []
    with Consumer(channel, [queue], on_message=found.append):
        for count in (1, 2, 3):
            connection.drain_events(timeout=SECONDS)
            assert len(found) == count
            found[-1].ack()


def test_settling(remote: Remote, connection: Any) -> None:
    """A requeued message comes again, a rejected one goes, an acked one is gone."""
    queue, channel = queue_of(remote), connection.channel()
    publish(Producer(channel), queue)
    (message,) = received(channel, queue)
    message.requeue()
    (message,) = received(channel, queue)
    assert message.delivery_info["redelivered"]
    message.reject()
    publish(Producer(channel), queue, "y")
    (message,) = received(channel, queue)
    assert message.payload == "y"
    message.ack()
    assert queue(channel).queue_declare(passive=True).message_count == 0


def test_dead_letters(remote: Remote, connection: Any) -> None:
    """Messages rejected and expired are dead-lettered with x-death."""
    channel, dead = connection.channel(), queue_of(remote, "dead")
    dead(channel).declare()
    target = {"x-dead-letter-exchange": dead.exchange.name}
    queue = queue_of(remote, queue_arguments=target)
    for reason, options in (("rejected", {}), ("expired", {"expiration": 0.02})):
        publish(Producer(channel), queue, **options)
        if reason == "rejected":
            received(channel, queue)[0].reject()
        (letter,) = received(channel, dead)
        letter.ack()
        (death,) = letter.headers["x-death"]
        assert (death["reason"], death["queue"]) == (reason, queue.name)
        assert list(death["routing-keys"]) == ["orders.placed"]


def test_ttl(remote: Remote, connection: Any) -> None:
    """Queues and messages have the time to live that their options name."""
    dead = queue_of(remote, "dead")
    channel = connection.channel()
    dead(channel).declare()
    target = {"x-dead-letter-exchange": dead.exchange.name}
    queue = queue_of(remote, message_ttl=0.02, expires=60, max_length=10, queue_arguments=target)
    publish(Producer(channel), queue)
    (letter,) = received(channel, dead)
    letter.ack()
    assert letter.headers["x-death"][0]["reason"] == "expired"


def test_priorities(remote: Remote, connection: Any) -> None:
    """A queue with priorities delivers the more urgent message first."""
    queue, channel = queue_of(remote, max_priority=5), connection.channel()
    for priority in (0, 3, 5):
        publish(Producer(channel), queue, priority, priority=priority)
    found = received(channel, queue, 3, no_ack=True)
    assert [message.payload for message in found] == [5, 3, 0]


def test_cancel(remote: Remote, connection: Any) -> None:
    """After its cancellation a consumer gets nothing more."""
    queue, channel = queue_of(remote), connection.channel()
    found: list[Any] = []
    consumer = Consumer(channel, [queue], on_message=found.append)
    consumer.consume()
    consumer.cancel()
    publish(Producer(channel), queue)
    assert queue(channel).queue_declare(passive=True).message_count == 1
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.01)
    assert not found


def test_large_body(remote: Remote, connection: Any) -> None:
    """A body of many frames arrives whole."""
    queue, channel, body = queue_of(remote), connection.channel(), bytes(range(256)) * 8_000
    publish(Producer(channel), queue, body)
    (message,) = received(channel, queue, no_ack=True)
    assert bytes(message.body) == body


def test_simple_queue(remote: Remote, connection: Any) -> None:
    """The simple interface puts, gets, and finds nothing when it is empty."""
    queue = SimpleQueue(connection.channel(), remote.name())
    queue.put({"n": 1})
    message = queue.get(timeout=SECONDS)
    assert message.payload == {"n": 1}
    message.ack()
    with pytest.raises(queue.Empty):
        queue.get(block=False)
    queue.close()


class Worker(ConsumerMixin):
    """A consumer that reconnects by itself, as kombu's guide has it."""

    def __init__(self, connection: Any, queue: Any, cut: Any) -> None:
        self.connection = connection
        self.queue, self.cut = queue, cut
        self.found: list[tuple[Any, bool]] = []

    def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
        return [consumer([self.queue], on_message=self.handle, prefetch_count=1)]

    def on_connection_error(self, exc: Any, interval: Any) -> None:
        pytest.fail(f"could not connect again: {exc}")

    def handle(self, message: Any) -> None:
        self.found.append((message.payload, message.delivery_info["redelivered"]))
        if len(self.found) == 1:
            self.cut()
        else:
            message.ack()
            self.should_stop = True


def test_cut(remote: Remote, connection: Any) -> None:
    """A consumer that was cut connects again, and gets what was out."""
    queue = queue_of(remote)
    publish(Producer(connection.channel()), queue)
    with remote.cuttable() as (url, cut), Connection(url) as cuttable:
        worker = Worker(cuttable, queue, cut)
        worker.run()
    assert worker.found == [("x", False), ("x", True)]


def test_publishing_again(remote: Remote) -> None:
    """A producer told to retry publishes over a new connection after a cut."""
    queue = queue_of(remote)
    options = {"confirm_publish": True}
    with (
        remote.cuttable() as (url, cut),
        Connection(url, transport_options=options) as connection,
    ):
        producer = connection.Producer()
        publish(producer, queue, 1)
        cut()
        publish(producer, queue, 2, retry=True, retry_policy={"interval_start": 0})
        found = received(connection.default_channel, queue, 2, no_ack=True)
        assert [message.payload for message in found] == [1, 2]
