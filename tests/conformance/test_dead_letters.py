"""Dead letters: which messages become one, where they go, and when they are dropped."""

import pytest
from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue

from tests.conformance.client import ChannelClosed, RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import (
    TYPES,
    arrival,
    bind,
    consume,
    deaths,
    queue,
    reject,
    sink,
    take,
    until_count,
)
from tests.conformance.versions import versions

both = pytest.mark.parametrize("kind", TYPES)


@versions("3.10 - 4.2", still=True)
@both
@pytest.mark.parametrize("method", [Basic.Reject, Basic.Nack])
async def test_refused(server: Server, channel: RawChannel, kind: str, method: type) -> None:
    """A message refused without requeueing goes to the dead letter exchange, key unchanged."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"one", source)
    taken = await take(channel, source)
    channel.send(method(delivery_tag=taken.method.delivery_tag, requeue=False))
    letter = await arrival(channel, dead)
    assert letter.body == b"one"
    assert (letter.method.exchange, letter.method.routing_key) == (exchange, source)
    assert not letter.method.redelivered
    await until_count(server, channel, source, 0)


@versions("3.10 - 4.3")
@both
async def test_key(server: Server, channel: RawChannel, kind: str) -> None:
    """x-dead-letter-routing-key replaces the message's key."""
    exchange = await server.exchange(channel, "direct")
    dead = await queue(server, channel, "dead")
    await bind(channel, dead, exchange, "gone")
    source = await queue(
        server,
        channel,
        queue_type=kind,
        dead_letter_exchange=exchange,
        dead_letter_routing_key="gone",
    )
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert (letter.method.exchange, letter.method.routing_key) == (exchange, "gone")


@versions("3.10 - 4.3")
@both
async def test_default_exchange(server: Server, channel: RawChannel, kind: str) -> None:
    """The empty name as x-dead-letter-exchange is the default exchange."""
    dead = await queue(server, channel, "dead")
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange="", dead_letter_routing_key=dead
    )
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert (letter.method.exchange, letter.method.routing_key) == ("", dead)


@versions("3.10 - 4.3")
@both
async def test_several_queues(server: Server, channel: RawChannel, kind: str) -> None:
    """A dead letter goes to every queue that its exchange routes it to."""
    exchange, one = await sink(server, channel)
    two = await queue(server, channel, "two")
    await bind(channel, two, exchange)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    for dead in (one, two):
        assert deaths(await arrival(channel, dead)) == [(source, "rejected", 1)]


@versions("3.10 - 4.3")
@both
async def test_multiple(server: Server, channel: RawChannel, kind: str) -> None:
    """basic.nack with `multiple` dead-letters each message up to its tag, oldest first."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    for body in (b"0", b"1", b"2", b"3"):
        channel.publish(body, source)
    taken = [await take(channel, source) for _ in range(4)]
    channel.send(
        Basic.Nack(delivery_tag=taken[2].method.delivery_tag, multiple=True, requeue=False)
    )
    assert [(await arrival(channel, dead)).body for _ in range(3)] == [b"0", b"1", b"2"]
    reject(channel, taken[3])
    assert (await arrival(channel, dead)).body == b"3"


@versions("3.10 - 4.3")
@both
async def test_order_of_refusal(server: Server, channel: RawChannel, kind: str) -> None:
    """Messages refused one by one arrive in the order of their refusal."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    for body in (b"0", b"1", b"2"):
        channel.publish(body, source)
    taken = [await take(channel, source) for _ in range(3)]
    for content in reversed(taken):
        reject(channel, content)
    assert [(await arrival(channel, dead)).body for _ in range(3)] == [b"2", b"1", b"0"]


@versions("3.10 - 4.3")
@both
async def test_not_refused(
    server: Server, connection: RawConnection, channel: RawChannel, kind: str
) -> None:
    """An ack, a requeue and a closed channel make no dead letters."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    for body in (b"acked", b"requeued", b"held"):
        channel.publish(body, source)
    acked, requeued = await take(channel, source), await take(channel, source)
    channel.send(Basic.Ack(delivery_tag=acked.method.delivery_tag))
    reject(channel, requeued, requeue=True)
    other = await connection.channel()
    await consume(other, source)
    assert {(await other.deliveries.get()).body for _ in range(2)} == {b"requeued", b"held"}
    await other.call(Channel.Close(200, "", 0, 0))
    bodies = {b"requeued", b"held"}
    for _ in range(2):
        content = await take(channel, source)
        assert content.method.redelivered
        bodies.remove(content.body)
        reject(channel, content)
        assert (await arrival(channel, dead)).body == content.body
    await until_count(server, channel, dead, 0)


@versions("3.10 - 4.3")
@both
async def test_purge(server: Server, channel: RawChannel, kind: str) -> None:
    """Purged messages are no dead letters."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"purged", source)
    await until_count(server, channel, source, 1)
    assert (await channel.call(Queue.Purge(queue=source))).message_count == 1
    channel.publish(b"refused", source)
    reject(channel, await take(channel, source))
    assert (await arrival(channel, dead)).body == b"refused"


@versions("3.10 - 4.3")
@both
async def test_delete(server: Server, channel: RawChannel, kind: str) -> None:
    """Messages of a deleted queue, ready or delivered, are no dead letters."""
    exchange, dead = await sink(server, channel)
    gone = await queue(server, channel, "gone", queue_type=kind, dead_letter_exchange=exchange)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"held", gone)
    channel.publish(b"ready", gone)
    held = await take(channel, gone)
    await until_count(server, channel, gone, 1)
    await channel.call(Queue.Delete(queue=gone))
    reject(channel, held)
    channel.publish(b"refused", source)
    reject(channel, await take(channel, source))
    assert (await arrival(channel, dead)).body == b"refused"


@versions("3.10 - 4.3")
@both
async def test_no_exchange(server: Server, channel: RawChannel, kind: str) -> None:
    """The exchange is looked up when a message dies: without one the message is dropped."""
    dead = await queue(server, channel, "dead")
    exchange = server.exchange_name("later")
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"dropped", source)
    reject(channel, await take(channel, source))
    channel.publish(b"kept", source)
    kept = await take(channel, source)  # the queue has dealt with the first
    await channel.call(Exchange.Declare(exchange=exchange, exchange_type="fanout"))
    await bind(channel, dead, exchange)
    reject(channel, kept)
    assert (await arrival(channel, dead)).body == b"kept"


@versions("3.10 - 4.3")
@both
async def test_deleted_exchange(server: Server, channel: RawChannel, kind: str) -> None:
    """An exchange may be deleted while queues name it; their dead letters are dropped then."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    await channel.call(Exchange.Delete(exchange=exchange))
    channel.publish(b"dropped", source)
    reject(channel, await take(channel, source))
    channel.publish(b"next", source)
    await take(channel, source)  # the queue has dealt with the first
    channel.publish(b"direct", dead)
    assert (await arrival(channel, dead)).body == b"direct"


@versions("3.10 - 4.3")
@both
async def test_unroutable(server: Server, channel: RawChannel, kind: str) -> None:
    """A dead letter that no queue is bound for is dropped, a mandatory one is not returned."""
    exchange = await server.exchange(channel, "fanout")
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    await channel.call(Confirm.Select())
    channel.publish(b"dropped", source, mandatory=True)
    await channel.confirms.get()
    reject(channel, await take(channel, source))
    channel.publish(b"next", source)
    await take(channel, source)  # the queue has dealt with the first
    channel.publish(b"unroutable", "no such queue", mandatory=True)
    assert (await channel.returns.get()).body == b"unroutable"


@versions("3.10 - 4.3")
@both
async def test_alternate_exchange(server: Server, channel: RawChannel, kind: str) -> None:
    """What a dead letter exchange cannot route goes to its alternate exchange."""
    alternate, dead = await sink(server, channel)
    exchange = await server.exchange(channel, "direct", arguments={"alternate-exchange": alternate})
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert letter.method.exchange == exchange
    assert deaths(letter) == [(source, "rejected", 1)]


@versions("3.10 - 4.3")
@both
async def test_internal_exchange(server: Server, channel: RawChannel, kind: str) -> None:
    """An internal exchange, closed to publishers, takes dead letters."""
    exchange = await server.exchange(channel, "fanout", internal=True)
    dead = await queue(server, channel, "dead")
    await bind(channel, dead, exchange)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    assert (await arrival(channel, dead)).method.exchange == exchange


@versions("3.10 - 4.3")
@both
async def test_cycle(server: Server, channel: RawChannel, kind: str) -> None:
    """A message that expires back into its own queue is dropped, at the others it arrives."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange=exchange, message_ttl=20
    )
    await bind(channel, source, exchange)
    channel.publish(b"one", source)
    assert deaths(await arrival(channel, dead)) == [(source, "expired", 1)]
    channel.publish(b"two", source)
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"two", [(source, "expired", 1)])
    await until_count(server, channel, source, 0)


@versions("3.10 - 4.3")
@both
async def test_cycle_of_two(server: Server, channel: RawChannel, kind: str) -> None:
    """A message that expires through two queues is dropped where it would enter the first again."""
    exchange, dead = await sink(server, channel)
    one = await queue(
        server,
        channel,
        "one",
        queue_type=kind,
        dead_letter_exchange="",
        dead_letter_routing_key=server.queue_name("two"),
        message_ttl=20,
    )
    two = await queue(
        server, channel, "two", queue_type=kind, dead_letter_exchange=exchange, message_ttl=20
    )
    await bind(channel, one, exchange)
    channel.publish(b"x", one)
    assert deaths(await arrival(channel, dead)) == [(two, "expired", 1), (one, "expired", 1)]
    channel.publish(b"y", one)
    letter = await arrival(channel, dead)
    assert (letter.body, deaths(letter)) == (b"y", [(two, "expired", 1), (one, "expired", 1)])


@versions("3.10 - 4.3")
@both
async def test_cycle_with_rejection(server: Server, channel: RawChannel, kind: str) -> None:
    """A rejection anywhere in the cycle lets the message go round, again and again."""
    work = server.queue_name("work")
    wait = await queue(
        server,
        channel,
        "wait",
        queue_type=kind,
        dead_letter_exchange="",
        dead_letter_routing_key=work,
        message_ttl=20,
    )
    await queue(
        server,
        channel,
        "work",
        queue_type=kind,
        dead_letter_exchange="",
        dead_letter_routing_key=wait,
    )
    channel.publish(b"x", work)
    reject(channel, await take(channel, work))
    for count in (1, 2, 3):
        content = await take(channel, work)
        assert deaths(content) == [(wait, "expired", count), (work, "rejected", count)]
        reject(channel, content)


@versions("3.10 - 4.2", still=True)
@both
async def test_rejected_to_itself(server: Server, channel: RawChannel, kind: str) -> None:
    """A queue that dead-letters to itself gets a rejected message back."""
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange="")
    channel.publish(b"x", source)
    reject(channel, await take(channel, source))
    for count in (1, 2):
        content = await take(channel, source)
        assert not content.method.redelivered
        assert deaths(content) == [(source, "rejected", count)]
        reject(channel, content)


@versions("3.10 - 4.3")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"dead_letter_routing_key": "k"},
            "invalid arg 'x-dead-letter-routing-key' for queue '{}' in vhost '/':"
            " routing_key_but_no_dlx_defined",
        ),
        (
            {"dead_letter_exchange": 7},
            "invalid type 'byte' for arg 'x-dead-letter-exchange' in queue '{}' in vhost '/'",
        ),
        (
            {"dead_letter_exchange": "", "dead_letter_routing_key": 7},
            "invalid arg 'x-dead-letter-routing-key' for queue '{}' in vhost '/':"
            " {{unacceptable_type,byte}}",
        ),
    ],
)
@both
async def test_arguments(
    server: Server, channel: RawChannel, kind: str, arguments: dict, text: str
) -> None:
    """The exchange and the key are strings, and a key needs an exchange."""
    with pytest.raises(ChannelClosed) as caught:
        await queue(server, channel, queue_type=kind, **arguments)
    assert caught.value.code == 406
    assert caught.value.text == "PRECONDITION_FAILED - " + text.format(server.queues[-1])
