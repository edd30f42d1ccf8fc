"""confirm.select, and the acks that publishers get."""

import pytest
from pamqp.commands import Basic, Confirm, Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import ACK, all_taken, closes, hold, order, publish
from tests.conformance.lettering import bind, confirming, consume, queue, take
from tests.conformance.refusals import works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


async def confirmed(channel: RawChannel, count: int) -> list[int]:
    """Wait until so many messages are confirmed, and return their numbers in this order.

    An ack with multiple confirms everything up to its number that was not confirmed yet.
    """
    found: list[int] = []
    while len(found) < count:
        method = await channel.confirms.get()
        assert isinstance(method, Basic.Ack)
        tag = method.delivery_tag
        found += [each for each in range(1, tag) if method.multiple and each not in found]
        assert tag not in found
        found.append(tag)
    return found


async def test_select(server: Server, channel: RawChannel) -> None:
    """From confirm.select on messages are numbered from 1 and confirmed."""
    name = await server.queue(channel)
    channel.publish(b"before", name)
    assert isinstance(await channel.call(Confirm.Select()), Confirm.SelectOk)
    for number in (1, 2, 3):
        channel.publish(b"x", name)
        method = await channel.confirms.get()
        assert (type(method), method.delivery_tag, method.multiple) == (Basic.Ack, number, False)
    assert len(await all_taken(channel, name)) == 4


async def test_select_again(server: Server, channel: RawChannel) -> None:
    """A further confirm.select is answered and does not number anew."""
    name = await server.queue(await confirming(channel))
    channel.publish(b"x", name)
    assert await confirmed(channel, 1) == [1]
    assert isinstance(await channel.call(Confirm.Select()), Confirm.SelectOk)
    channel.publish(b"x", name)
    assert (await channel.confirms.get()).delivery_tag == 2


async def test_nowait(server: Server, channel: RawChannel) -> None:
    """With no-wait there is no select-ok, and there are confirms."""
    name = await server.queue(channel)
    names = order(channel)
    channel.send(Confirm.Select(nowait=True))
    channel.publish(b"x", name)
    assert (await channel.confirms.get()).delivery_tag == 1
    assert names == ["Basic.Ack"]


async def test_not_selected(server: Server, channel: RawChannel) -> None:
    """Without confirm.select nothing is confirmed, whatever other channels do."""
    name = await server.queue(channel)
    other = await confirming(await channel.connection.channel())
    channel.publish(b"x", name)
    await take(channel, name)
    await works(channel)
    assert not channel.confirms.items
    assert not other.confirms.items


async def test_own_numbers(server: Server, channel: RawChannel) -> None:
    """Each channel has numbers of its own, which have nothing to do with those of deliveries."""
    name = await server.queue(channel)
    other = await channel.connection.channel()
    for each in (channel, other):
        await confirming(each)
        each.publish(b"x", name)
        assert (await each.confirms.get()).delivery_tag == 1
    await hold(channel, name, 2)
    channel.publish(b"x", name)
    assert (await channel.confirms.get()).delivery_tag == 2


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("mode", [1, 2])
async def test_each_once(server: Server, channel: RawChannel, kind: str, mode: int) -> None:
    """Every message is confirmed once, alone or with those before it."""
    name = await queue(server, await confirming(channel), queue_type=kind)
    for _ in range(200):
        channel.publish(b"x", name, delivery_mode=mode)
    assert sorted(await confirmed(channel, 200)) == list(range(1, 201))
    await works(channel)
    assert not channel.confirms.items


async def test_several_queues(server: Server, channel: RawChannel) -> None:
    """A message that several queues have is confirmed once, and each has it by then."""
    exchange = await server.exchange(await confirming(channel), "fanout")
    names = [await queue(server, channel, each) for each in ("a", "b")]
    names.append(await queue(server, channel, "c", queue_type="quorum"))
    for name in names:
        await bind(channel, name, exchange)
    channel.publish(b"x", "", exchange, delivery_mode=2)
    assert await confirmed(channel, 1) == [1]
    for name in names:
        assert (await take(channel, name)).body == b"x"
    assert not channel.confirms.items


@pytest.mark.parametrize("mandatory", [False, True])
async def test_unroutable(server: Server, channel: RawChannel, mandatory: bool) -> None:
    """A message that no queue has is confirmed with an ack."""
    exchange = await server.exchange(await confirming(channel))
    channel.publish(b"x", "no.such.queue", mandatory=mandatory)
    channel.publish(b"x", "key", exchange, mandatory=mandatory)
    assert await confirmed(channel, 2) == [1, 2]
    assert len(channel.returns.items) == 2 * mandatory


async def test_to_a_consumer(server: Server, channel: RawChannel) -> None:
    """A message is confirmed without waiting for its consumer to acknowledge it."""
    name = await queue(server, await confirming(channel), queue_type="classic")
    await consume(channel, name)
    channel.publish(b"x", name)
    assert await confirmed(channel, 1) == [1]
    assert (await channel.deliveries.get()).body == b"x"


async def test_not_confirmed(server: Server, channel: RawChannel) -> None:
    """A message that is refused is not confirmed; those before it are."""
    name = await server.queue(await confirming(channel))
    channel.publish(b"x", name)
    assert await confirmed(channel, 1) == [1]
    channel.publish(b"x", name, server.exchange_name())
    await channel.closed()
    assert not channel.confirms.items


async def test_visible(server: Server, channel: RawChannel) -> None:
    """A message that is confirmed is in the queue, for everybody."""
    name = await server.queue(channel)
    other = await (await server.connect()).channel()
    for number in range(20):
        await publish(channel, name, b"%d" % number)
        assert await all_taken(other, name) == [(b"%d" % number, False)]


async def test_deleted_queue(server: Server, channel: RawChannel) -> None:
    """What is published to a queue while it is deleted is confirmed all the same."""
    name = await server.queue(await confirming(channel))
    other = await channel.connection.channel()
    for _ in range(20):
        channel.publish(b"x", name)
    other.send(Queue.Delete(queue=name))
    for _ in range(20):
        channel.publish(b"x", name)
    assert sorted(await confirmed(channel, 40)) == list(range(1, 41))


async def test_with_an_error(server: Server, channel: RawChannel) -> None:
    """The broker's own numbers say nothing to it: a client's ack of one is an unknown tag."""
    name = await server.queue(channel)
    await publish(channel, name, b"x")
    channel.send(Basic.Ack(delivery_tag=1))
    await closes(channel, 406, "PRECONDITION_FAILED - unknown delivery tag 1", ACK)
