"""tx.select, commit and rollback."""

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue, Tx

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.delivering import (
    ACK,
    PUBLISH,
    ack,
    all_taken,
    came,
    closes,
    filled,
    hold,
    nack,
    next_bodies,
    order,
    publish,
    reject,
    settled,
)
from tests.conformance.lettering import bind, consume, eventually, queue
from tests.conformance.refusals import exchange_at, method_id, refused, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")


async def selected(channel: RawChannel) -> RawChannel:
    """A further channel of the same connection, in tx mode."""
    tx = await channel.connection.channel()
    assert isinstance(await tx.call(Tx.Select()), Tx.SelectOk)
    return tx


async def commit(channel: RawChannel) -> None:
    assert isinstance(await channel.call(Tx.Commit()), Tx.CommitOk)


async def rollback(channel: RawChannel) -> None:
    assert isinstance(await channel.call(Tx.Rollback()), Tx.RollbackOk)


async def given_up(server: Server, channel: RawChannel, name: str) -> list[bytes]:
    """Close the channel, which holds all there is, and say what comes back."""
    other = await channel.connection.channel()
    await publish(other, name, b"last")
    await hold(channel, name, 1)
    await channel.call(Channel.Close(200, "", 0, 0))
    await eventually(lambda: server.count(other, name))
    *found, last = [body for body, _ in await all_taken(other, name)]
    assert last == b"last"
    return found


async def test_select_again(channel: RawChannel) -> None:
    """A further tx.select is answered and changes nothing."""
    tx = await selected(channel)
    tx.publish(b"x", "no.such.queue", mandatory=True)
    assert isinstance(await tx.call(Tx.Select()), Tx.SelectOk)
    await commit(tx)
    assert len(tx.returns.items) == 1


@pytest.mark.parametrize("method", [Tx.Commit(), Tx.Rollback()], ids=["commit", "rollback"])
@pytest.mark.parametrize("confirming", [False, True])
async def test_not_selected(channel: RawChannel, method: Frame, confirming: bool) -> None:
    """Without tx.select there is nothing to commit and nothing to roll back."""
    if confirming:
        await channel.call(Confirm.Select())
    await refused(channel, method, 406, "PRECONDITION_FAILED - channel is not transactional")


@pytest.mark.parametrize("nowait", [False, True])
async def test_confirms_after_tx(channel: RawChannel, nowait: bool) -> None:
    """A channel in tx mode cannot switch to confirm mode."""
    tx = await selected(channel)
    text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode"
    await refused(tx, Confirm.Select(nowait=nowait), 406, text)


async def test_tx_after_confirms(channel: RawChannel) -> None:
    """A channel in confirm mode cannot switch to tx mode."""
    await channel.call(Confirm.Select())
    text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode"
    await refused(channel, Tx.Select(), 406, text)


async def test_nothing(channel: RawChannel) -> None:
    """A transaction may be empty, and there is always a next one."""
    tx = await selected(channel)
    for method in (commit, rollback, commit):
        await method(tx)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_commit(server: Server, channel: RawChannel, kind: str) -> None:
    """What is published is in its queue from commit-ok on, in its order, and not before."""
    tx = await selected(channel)
    name = await queue(server, channel, queue_type=kind)
    await consume(channel, name, no_ack=True)
    for body in (b"0", b"1", b"2"):
        tx.publish(body, name)
    await works(tx)
    await publish(channel, name, b"other")
    assert await next_bodies(channel, 1) == [b"other"]
    await settled(name, channel)
    assert came(channel) == []
    await commit(tx)
    assert await next_bodies(channel, 3) == [b"0", b"1", b"2"]


async def test_committed_is_there(server: Server, channel: RawChannel) -> None:
    """By commit-ok everybody finds what was published."""
    tx = await selected(channel)
    names = [await server.queue(channel, name) for name in ("a", "b")]
    for number in range(5):
        for name in names:
            tx.publish(b"%d" % number, name)
        await commit(tx)
        for name in names:
            assert await all_taken(channel, name) == [(b"%d" % number, False)]


async def test_rollback(server: Server, channel: RawChannel) -> None:
    """What was published before a rollback is gone; what comes after it is not."""
    tx = await selected(channel)
    name = await server.queue(channel)
    tx.publish(b"0", name)
    tx.publish(b"x", "no.such.queue", mandatory=True)
    await rollback(tx)
    tx.publish(b"1", name)
    await commit(tx)
    assert await all_taken(channel, name) == [(b"1", False)]
    assert not tx.returns.items


async def test_not_committed(server: Server, channel: RawChannel) -> None:
    """What was published is gone when the channel is closed without a commit."""
    tx = await selected(channel)
    name = await server.queue(channel)
    tx.publish(b"0", name)
    assert await given_up(server, tx, name) == []


async def test_not_confirmed(server: Server, channel: RawChannel) -> None:
    """In tx mode nothing is confirmed but by commit-ok."""
    tx = await selected(channel)
    names = order(tx)
    tx.publish(b"0", await server.queue(channel))
    await commit(tx)
    await works(tx)
    assert names == ["Tx.CommitOk", "Basic.QosOk"]


async def test_acks(server: Server, channel: RawChannel) -> None:
    """What is acknowledged is gone after the commit, and comes back without one."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0", b"1", b"2")
    await hold(tx, name, 3)
    ack(tx, 1)
    await commit(tx)
    ack(tx, 3)
    assert await given_up(server, tx, name) == [b"1", b"2"]


async def test_acks_rolled_back(server: Server, channel: RawChannel) -> None:
    """After a rollback the channel holds again what it acknowledged, and may do so once more."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0", b"1", b"2")
    await hold(tx, name, 3)
    ack(tx, 2)
    reject(tx, 1, requeue=False)
    nack(tx, 3)
    await rollback(tx)
    assert await all_taken(channel, name) == []
    ack(tx, 2, multiple=True)
    await commit(tx)
    assert await given_up(server, tx, name) == [b"2"]


async def test_acked_twice(server: Server, channel: RawChannel) -> None:
    """A tag is unknown once it was acknowledged, committed or not."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0", b"1")
    await hold(tx, name, 2)
    ack(tx, 1)
    ack(tx, 1)
    await closes(tx, 406, "PRECONDITION_FAILED - unknown delivery tag 1", ACK)
    await eventually(lambda: server.count(channel, name))
    assert await all_taken(channel, name) == [(b"0", True), (b"1", True)]


async def test_acked_before(server: Server, channel: RawChannel) -> None:
    """What was acknowledged before tx.select is not part of the transaction."""
    name = await filled(server, channel, b"0", b"1")
    tx = await channel.connection.channel()
    await hold(tx, name, 2)
    ack(tx, 1)
    await tx.call(Tx.Select())
    ack(tx, 2)
    await rollback(tx)
    assert await given_up(server, tx, name) == [b"1"]


@pytest.mark.parametrize("requeue", [False, True])
async def test_rejected(server: Server, channel: RawChannel, requeue: bool) -> None:
    """What is rejected is requeued or dropped by the commit, and not before."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0", b"1", b"2")
    await hold(tx, name, 3)
    reject(tx, 1, requeue=requeue)
    nack(tx, 3, multiple=True, requeue=requeue)
    await works(tx)
    assert await all_taken(channel, name) == []
    await commit(tx)
    await works(tx)
    expected = [(b"0", True), (b"1", True), (b"2", True)]
    assert await all_taken(channel, name) == (expected if requeue else [])


async def test_prefetch(server: Server, channel: RawChannel) -> None:
    """A consumer gets the next message when its ack is committed."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0", b"1")
    await tx.call(Basic.Qos(prefetch_count=1))
    await consume(tx, name)
    assert await next_bodies(tx, 1) == [b"0"]
    ack(tx, 1)
    await works(tx)
    await settled(name, tx)
    assert came(tx) == []
    await commit(tx)
    assert await next_bodies(tx, 1) == [b"1"]


async def test_prefetch_until_the_commit(server: Server, channel: RawChannel) -> None:
    """A message that arrives between an ack and its commit waits for the commit."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0")
    await tx.call(Basic.Qos(prefetch_count=1))
    await consume(tx, name)
    assert await next_bodies(tx, 1) == [b"0"]
    ack(tx, 1)
    await works(tx)
    await publish(channel, name, b"1")
    await settled(name, tx)
    assert came(tx) == []
    await commit(tx)
    assert await next_bodies(tx, 1) == [b"1"]


async def test_get(server: Server, channel: RawChannel) -> None:
    """What is taken with no-ack is gone whatever becomes of the transaction."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0")
    await tx.get(name, no_ack=True)
    await rollback(tx)
    assert await given_up(server, tx, name) == []


async def test_recover(server: Server, channel: RawChannel) -> None:
    """basic.recover does not wait for a commit, and leaves out what was acknowledged."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0", b"1", b"2")
    await hold(tx, name, 3)
    ack(tx, 2)
    await tx.call(Basic.Recover(requeue=True))
    assert await all_taken(channel, name) == [(b"0", True), (b"2", True)]
    await rollback(tx)
    assert await given_up(server, tx, name) == [b"1"]


async def test_moved(server: Server, channel: RawChannel) -> None:
    """A commit moves a message from one queue to another."""
    tx = await selected(channel)
    source = await filled(server, channel, b"0", name="source")
    target = await server.queue(channel, "target")
    await hold(tx, source, 1)
    tx.publish(b"0", target)
    ack(tx, 1)
    await commit(tx)
    assert await given_up(server, tx, source) == []
    assert await all_taken(channel, target) == [(b"0", False)]


async def test_returned(channel: RawChannel) -> None:
    """Mandatory messages come back at the commit, before commit-ok and in their order."""
    tx = await selected(channel)
    names = order(tx)
    for body in (b"0", b"1"):
        tx.publish(body, "no.such.queue", mandatory=True)
    await works(tx)
    assert names == ["Basic.QosOk"]
    await commit(tx)
    assert names == ["Basic.QosOk", "Basic.Return", "Basic.Return", "Tx.CommitOk"]
    returned = list(tx.returns.items)
    assert [each.body for each in returned] == [b"0", b"1"]
    assert {each.method.reply_code for each in returned} == {312}


async def test_routed_when_published(server: Server, channel: RawChannel) -> None:
    """A message goes by the bindings of when it was published, not of its commit."""
    tx = await selected(channel)
    exchange = await server.exchange(channel, "fanout")
    early, late = await server.queue(channel, "early"), await server.queue(channel, "late")
    await bind(channel, early, exchange)
    tx.publish(b"x", "", exchange, mandatory=True)
    await works(tx)
    await channel.call(Queue.Unbind(queue=early, exchange=exchange))
    await bind(channel, late, exchange)
    await commit(tx)
    assert await all_taken(channel, early) == [(b"x", False)]
    assert await all_taken(channel, late) == []


@versions("3.10 - 3.12", still=True)
async def test_queue_is_gone(server: Server, channel: RawChannel) -> None:
    """A message whose queue was deleted before the commit comes back."""
    tx = await selected(channel)
    name = await server.queue(channel)
    tx.publish(b"x", name, mandatory=True)
    await works(tx)
    await channel.call(Queue.Delete(queue=name))
    await commit(tx)
    assert [each.body for each in tx.returns.items] == [b"x"]


async def test_exchange_is_gone(server: Server, channel: RawChannel) -> None:
    """A message goes to its queue though its exchange was deleted before the commit."""
    tx = await selected(channel)
    exchange = await server.exchange(channel, "fanout")
    name = await server.queue(channel)
    await bind(channel, name, exchange)
    tx.publish(b"x", "", exchange)
    await works(tx)
    await channel.call(Exchange.Delete(exchange=exchange))
    await commit(tx)
    assert await all_taken(channel, name) == [(b"x", False)]


async def test_error(server: Server, channel: RawChannel) -> None:
    """An error closes the channel at once, and the whole transaction is gone."""
    tx = await selected(channel)
    name = await filled(server, channel, b"0")
    await hold(tx, name, 1)
    ack(tx, 1)
    tx.publish(b"1", name)
    missing = server.exchange_name()
    tx.publish(b"2", name, missing)
    await closes(tx, 404, f"NOT_FOUND - no {exchange_at(missing)}", PUBLISH)
    await eventually(lambda: server.count(channel, name))
    assert await all_taken(channel, name) == [(b"0", True)]


async def test_refused_by_a_queue(server: Server, channel: RawChannel) -> None:
    """A commit fails when a full queue rejects a message; what other queues took they keep."""
    tx = await selected(channel)
    full = await queue(
        server, channel, "full", queue_type="classic", overflow="reject-publish", max_length=1
    )
    other = await server.queue(channel, "other")
    for body in (b"0", b"1"):
        for name in (full, other):
            tx.publish(body, name)
    tx.send(Tx.Commit())
    text = "PRECONDITION_FAILED - partial tx completion"
    await closes(tx, 406, text, method_id(Tx.Commit()))
    assert await all_taken(channel, full) == [(b"0", False)]
    assert await all_taken(channel, other) == [(b"0", False), (b"1", False)]
