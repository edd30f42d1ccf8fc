"""pika's BlockingConnection, as scripts use it."""

from collections.abc import Iterator
from typing import Any

import pika  # type: ignore[import-untyped]
import pytest
from pika import BasicProperties
from pika.exceptions import (  # type: ignore[import-untyped]
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
    UnroutableError,
)

from tests.clients.serving import Remote

Channel = Any
SECONDS = 10


def connect(url: str, **options: Any) -> Any:
    parameters = pika.URLParameters(url)
    for name, value in options.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)


@pytest.fixture
def connection(remote: Remote) -> Iterator[Any]:
    connection = connect(remote.url)
    yield connection
    connection.close()


@pytest.fixture
def channel(connection: Any) -> Channel:
    return connection.channel()


def declare(remote: Remote, channel: Channel, name: str = "q", **x: Any) -> str:
    """Declare a durable queue; keywords are its x-arguments."""
    queue = remote.name(name)
    arguments = {f"x-{key.replace('_', '-')}": value for key, value in x.items()}
    channel.queue_declare(queue, durable=True, arguments=arguments)
    return queue


def messages(channel: Channel, queue: str, **options: Any) -> Iterator[tuple[Any, Any, bytes]]:
    """Consume; fails when nothing comes for a while."""
    for method, properties, body in channel.consume(queue, inactivity_timeout=SECONDS, **options):
        assert method, "nothing came"
        yield method, properties, body


def ready(channel: Channel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def test_wrong_password(remote: Remote) -> None:
    """A wrong password is refused as such."""
    with pytest.raises(ProbableAuthenticationError, match="ACCESS_REFUSED"):
        connect(remote.wrong_password)


def test_wrong_vhost(remote: Remote) -> None:
    """A virtual host that does not exist is refused by its name."""
    with pytest.raises((ConnectionClosedByBroker, ProbableAccessDeniedError), match="nowhere"):
        connect(remote.wrong_vhost)


def test_declare(remote: Remote, connection: Any) -> None:
    """A queue declared otherwise is 406, and costs the channel only."""
    queue = declare(remote, connection.channel())
    with pytest.raises(ChannelClosedByBroker) as closed:
        connection.channel().queue_declare(queue, durable=False)
    assert closed.value.reply_code == 406
    assert ready(connection.channel(), queue) == 0


def test_bindings(remote: Remote, channel: Channel) -> None:
    """Exchanges of each type route as they should."""
    queue = declare(remote, channel)
    for kind, binding, key in (
        ("direct", "a", "a"),
        ("fanout", "", "b"),
        ("topic", "*.placed", "orders.placed"),
    ):
        exchange = remote.name(kind)
        channel.exchange_declare(exchange, kind)
        channel.queue_bind(queue, exchange, binding)
        channel.basic_publish(exchange, key, kind.encode())
        assert channel.basic_get(queue, auto_ack=True)[2] == kind.encode()


def test_confirms(remote: Remote, channel: Channel) -> None:
    """A routed publication is confirmed, an unroutable one is returned with its body."""
    channel.confirm_delivery()
    queue = declare(remote, channel)
    channel.basic_publish("", queue, b"x", mandatory=True)
    with pytest.raises(UnroutableError) as returned:
        channel.basic_publish("", "nowhere", b"y" * 300_000, mandatory=True)
    assert returned.value.messages[0].body == b"y" * 300_000
    assert ready(channel, queue) == 1


def test_nack(remote: Remote, channel: Channel) -> None:
    """A full queue that rejects publications answers with a nack."""
    channel.confirm_delivery()
    queue = declare(remote, channel, max_length=1, overflow="reject-publish")
    channel.basic_publish("", queue, b"1")
    with pytest.raises(NackError):
        channel.basic_publish("", queue, b"2")


def test_properties(remote: Remote, channel: Channel) -> None:
    """Properties and headers of every kind arrive as they were sent."""
    queue = declare(remote, channel)
    headers = {"n": 1, "s": "\u00e9", "b": b"\x00\xff", "t": True, "x": None, "l": [1, {"a": 2}]}
    sent = BasicProperties(headers=headers, delivery_mode=2, priority=1, timestamp=1_700_000_000)
    channel.basic_publish("", queue, b"x", sent)
    found = channel.basic_get(queue, auto_ack=True)[1]
    assert vars(found) == vars(sent)


def test_prefetch(remote: Remote, channel: Channel) -> None:
    """No more messages are out than the prefetch allows."""
    queue = declare(remote, channel)
    for number in range(4):
        channel.basic_publish("", queue, b"%d" % number)
    channel.basic_qos(prefetch_count=2)
    source = messages(channel, queue)
    first, _, _ = next(source)
    assert ready(channel, queue) == 2
    next(source)
    channel.basic_ack(first.delivery_tag)
    assert next(source)[2] == b"2"
    assert ready(channel, queue) == 1


def test_settling(remote: Remote, channel: Channel) -> None:
    """Nacked and rejected messages come again as redelivered, acked ones are gone."""
    queue = declare(remote, channel)
    channel.basic_publish("", queue, b"x")
    source = messages(channel, queue)
    method, _, _ = next(source)
    assert not method.redelivered
    channel.basic_nack(method.delivery_tag)
    method, _, _ = next(source)
    assert method.redelivered
    channel.basic_reject(method.delivery_tag)
    channel.basic_ack(next(source)[0].delivery_tag)
    assert channel.cancel() == 0
    assert ready(channel, queue) == 0


def test_dead_letters(remote: Remote, channel: Channel) -> None:
    """Rejected, expired and crowded out: each dead letter says which it was."""
    dead, exchange = declare(remote, channel, "dead"), remote.name("x")
    channel.exchange_declare(exchange, "fanout")
    channel.queue_bind(dead, exchange)
    queue = declare(remote, channel, dead_letter_exchange=exchange, max_length=1)
    letters = messages(channel, dead, auto_ack=True)
    for reason, publications in (("maxlen", 2), ("rejected", 0), ("expired", 1)):
        for _ in range(publications):
            expiration = "20" if reason == "expired" else None
            channel.basic_publish("", queue, b"x", BasicProperties(expiration=expiration))
        if reason == "rejected":
            method, _, _ = channel.basic_get(queue)
            channel.basic_reject(method.delivery_tag, requeue=False)
        _, properties, _ = next(letters)
        (death,) = properties.headers["x-death"]
        assert (death["reason"], death["queue"], death["count"]) == (reason, queue, 1)


def test_ttl(remote: Remote, channel: Channel) -> None:
    """A queue's time to live empties it without a dead letter exchange, too."""
    queue = declare(remote, channel, message_ttl=1)
    channel.basic_publish("", queue, b"x")
    assert polled(lambda: ready(channel, queue) == 0, channel)


def polled(condition: Any, channel: Channel) -> bool:
    """Ask until it is true, or two hundred times."""
    for _ in range(200):
        if condition():
            return True
        channel.connection.sleep(0.02)
    return False


def test_callbacks(remote: Remote, channel: Channel) -> None:
    """start_consuming calls back until a callback ends it."""
    queue = declare(remote, channel)
    bodies = [b"%d" % number for number in range(100)]
    for body in bodies:
        channel.basic_publish("", queue, body)
    found: list[bytes] = []

    def handle(channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        found.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(found) == len(bodies):
            channel.stop_consuming()

    channel.basic_consume(queue, handle)
    channel.start_consuming()
    assert found == bodies


def test_cancel(remote: Remote, channel: Channel) -> None:
    """Cancelling a consumer gives back what it did not handle."""
    queue = declare(remote, channel)
    for _ in range(3):
        channel.basic_publish("", queue, b"x")
    method, _, _ = next(messages(channel, queue))
    channel.basic_ack(method.delivery_tag)
    channel.cancel()
    assert polled(lambda: ready(channel, queue) == 2, channel)
    assert channel.consumer_tags == []


def test_cancelled_by_the_broker(remote: Remote, connection: Any) -> None:
    """A consumer is told when its queue is deleted."""
    channel = connection.channel()
    queue = declare(remote, channel)
    source = channel.consume(queue, inactivity_timeout=SECONDS)
    channel.basic_publish("", queue, b"x")
    next(source)
    connection.channel().queue_delete(queue)
    assert list(source) == []


def test_single_active_consumer(remote: Remote, channel: Channel) -> None:
    """One consumer gets everything; when it leaves, the next one does."""
    queue = declare(remote, channel, single_active_consumer=True)
    found: list[str] = []
    for tag in ("first", "second"):
        channel.basic_consume(
            queue, lambda _, method, *__: found.append(method.consumer_tag), True, consumer_tag=tag
        )
    channel.basic_publish("", queue, b"x")
    channel.basic_publish("", queue, b"x")
    assert polled(lambda: len(found) == 2, channel)
    channel.basic_cancel("first")
    channel.basic_publish("", queue, b"x")
    assert polled(lambda: len(found) == 3, channel)
    assert found == ["first", "first", "second"]


def test_recover(remote: Remote, channel: Channel) -> None:
    """What is recovered comes again as redelivered; what is purged does not."""
    queue = declare(remote, channel)
    channel.basic_publish("", queue, b"x")
    channel.basic_get(queue)
    channel.basic_recover(requeue=True)
    method, _, _ = channel.basic_get(queue)
    assert method.redelivered
    channel.basic_nack(method.delivery_tag)
    assert polled(lambda: ready(channel, queue) == 1, channel)
    assert channel.queue_purge(queue).method.message_count == 1
    assert channel.basic_get(queue) == (None, None, None)


def test_large_body(remote: Remote, channel: Channel) -> None:
    """A body of many frames arrives whole, and so does an empty one."""
    queue = declare(remote, channel)
    for body in (bytes(range(256)) * 12_000, b""):
        channel.basic_publish("", queue, body)
        assert channel.basic_get(queue, auto_ack=True)[2] == body


def test_small_frames(remote: Remote) -> None:
    """A client may ask for the smallest frames that RabbitMQ takes from 4.1 on."""
    connection = connect(remote.url, frame_max=8192)
    channel = connection.channel()
    queue = declare(remote, channel)
    channel.basic_publish("", queue, b"x" * 50_000)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"x" * 50_000
    connection.close()


def test_cut(remote: Remote) -> None:
    """A cut connection is a lost stream; the next connection gets what was out."""
    with remote.cuttable() as (url, cut):
        channel = connect(url).channel()
        queue = declare(remote, channel)
        channel.basic_publish("", queue, b"x")
        source = messages(channel, queue)
        next(source)
        cut()
        with pytest.raises(StreamLostError):
            next(source)
        again = connect(url)
        method, _, body = next(messages(again.channel(), queue))
        assert (method.redelivered, body) == (True, b"x")
        again.close()


def test_threads(remote: Remote, connection: Any) -> None:
    """Callbacks from other threads are run by the connection's own."""
    done: list[int] = []
    connection.add_callback_threadsafe(lambda: done.append(1))
    assert polled(lambda: done == [1], connection.channel())


def test_transaction(remote: Remote, channel: Channel) -> None:
    """What a transaction published is there once it is committed, or never."""
    queue = declare(remote, channel)
    channel.tx_select()
    channel.basic_publish("", queue, b"never")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"once")
    channel.tx_commit()
    assert channel.basic_get(queue)[2] == b"once"


def test_stream(remote: Remote, channel: Channel) -> None:
    """A stream is read from its first message on, twice."""
    channel.confirm_delivery()
    stream = declare(remote, channel, queue_type="stream")
    for number in range(3):
        channel.basic_publish("", stream, b"%d" % number)
    channel.basic_qos(prefetch_count=10)
    for _ in range(2):
        source = messages(channel, stream, arguments={"x-stream-offset": "first"})
        for number in range(3):
            method, properties, body = next(source)
            assert (body, properties.headers["x-stream-offset"]) == (b"%d" % number, number)
            channel.basic_ack(method.delivery_tag)
        channel.cancel()
