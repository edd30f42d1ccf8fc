"""Whatever happens, each message of the embedded broker is in exactly one place."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from busauth.testing import ManualClock
from busauth.testing.broker.model.channels.channel import Channel
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.queues.classic import Queue
from busauth.testing.broker.model.queues.queues import Consumer
from busauth.testing.broker.model.queues.quorum import QuorumQueue
from busauth.testing.broker.model.queues.turns import SingleActive
from busauth.testing.broker.model.words.errors import AMQPError
from tests.broker.model import Client, node
from tests.properties.letter_queues import LATER, QUEUES, Table, declarations
from tests.properties.places import (
    ENDINGS,
    Ledger,
    Place,
    meant,
    place,
    places,
    queues_of,
    waiting,
)

queues = st.sampled_from(QUEUES)
indexes = st.integers(0, 2)
somebody_holds = precondition(lambda machine: any(map(holds, machine.clients)))


def holds(client: Client) -> bool:
    return len(client.channel.unacked) > 0


class Places(RuleBasedStateMachine):
    """Three clients, three queues that dead-letter into each other, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.node = node(self.clock)
        self.ledger = Ledger(self.node)
        self.clients = [Client.of(self.node) for _ in range(3)]
        self.unpublished = Counter[Channel]()
        self.later: dict[Channel, list[tuple[set[Place], set[Place]]]] = {}

    def teardown(self) -> None:
        self.loop.close()

    # --- queues and exchanges -------------------------------------------------------------------

    @initialize(three=st.tuples(declarations, declarations, declarations))
    def begin(self, three: tuple[Table, ...]) -> None:
        """Some messages lie in each queue, and some are held."""
        for name, table in zip(QUEUES, three, strict=True):
            self.declare(name, table)
        self.publish(0, 3, "", "amq.fanout", body=b"x")
        self.qos(1, 1, shared=False)
        self.consume(1, "a", no_ack=False, priority=0)
        for name in QUEUES:
            self.get(2, name, no_ack=False)

    @rule(name=queues, table=declarations)
    def declare(self, name: str, table: Table) -> None:
        channel = self.clients[0].channel
        if name in channel.vhost.queues:
            return
        if table:
            table = {**table, "dead_letter_routing_key": QUEUES[(QUEUES.index(name) + 1) % 3]}
        self.ledger.options[name] = table
        self.ledger.emptied.discard(name)
        self.clients[0].declare(name, **table)
        channel.queue_bind(name, "amq.fanout", "", {})
        self.node.pump()

    @rule(name=st.none() | queues)
    def open_or_close_a_way(self, name: str | None) -> None:
        """Dead letters reach this queue by an exchange that none of them had before, or none."""
        channel = self.clients[0].channel
        if name is None:
            channel.exchange_delete(LATER, if_unused=False)
            return
        channel.exchange_declare(
            LATER,
            "fanout",
            passive=False,
            durable=True,
            auto_delete=False,
            internal=False,
            arguments={},
        )
        if name in channel.vhost.queues:
            channel.queue_bind(name, LATER, "", {})
        self.node.pump()

    @rule(queue=queues, index=indexes, delete=st.booleans())
    def empty(self, queue: str, index: int, delete: bool) -> None:
        """queue.purge, or queue.delete."""
        client = self.clients[index]
        channel = client.channel
        self.ledger.emptied.add(queue)
        if delete:
            channel.queue_delete(queue, if_unused=False, if_empty=False)
            self.node.pump()
        else:
            self._try(client, channel.queue_purge, queue)
            self.ledger.read()
            self.ledger.emptied.discard(queue)

    @rule(seconds=st.sampled_from([0.005, 0.01, 0.5, 2, 10]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    # --- messages -------------------------------------------------------------------------------

    @rule(
        index=indexes,
        count=st.integers(1, 3),
        key=queues,
        exchange=st.sampled_from(["", "amq.fanout"]),
        body=st.sampled_from([b"", b"x", b"0123456789"]),
        expiration=st.sampled_from([None, None, "1000", "10", "0"]),
        priority=st.sampled_from([None, 0, 2, 9]),
    )
    def publish(self, index: int, count: int, key: str, exchange: str, **values: Any) -> None:
        client = self.clients[index]
        for _ in range(count):
            message = client.publish(key, exchange=exchange, **values)
            if client.channel.publisher.transaction is not None:
                self.unpublished[client.channel] += message.size

    @rule(index=indexes, queue=queues, no_ack=st.booleans(), priority=st.integers(-1, 1))
    def consume(self, index: int, queue: str, no_ack: bool, priority: int) -> None:
        client = self.clients[index]
        tag = f"{len(self.ledger.no_ack)}.{self.clock.monotonic()}.{len(client.channel.consumers)}"
        if no_ack:
            self.ledger.no_ack.add(tag)
        arguments = {"x-priority": priority}
        self._try(client, client.consume, queue, tag, no_ack=no_ack, arguments=arguments)

    @rule(index=indexes, count=st.integers(0, 3), shared=st.booleans())
    def qos(self, index: int, count: int, shared: bool) -> None:
        channel = self.clients[index].channel
        channel.qos(prefetch_size=0, prefetch_count=count, global_=shared)
        self.node.pump()

    @rule(index=indexes, queue=queues, no_ack=st.booleans())
    def get(self, index: int, queue: str, no_ack: bool) -> None:
        client = self.clients[index]
        delivery = self._try(client, client.get, queue, no_ack=no_ack)
        if delivery is not None and no_ack:
            self.ledger.acked.add(place(delivery.message, queue))

    # --- settling -------------------------------------------------------------------------------

    def _who_and_what(self, data: st.DataObject) -> tuple[Client, int]:
        """A client that holds something, and mostly a tag that means something."""
        client = data.draw(st.sampled_from([each for each in self.clients if holds(each)]))
        known = [tag for tag, _ in client.channel.unacked.items()]
        return client, data.draw(st.sampled_from([0, *known, *known, *known, known[-1] + 1]))

    def _settled(self, client: Client, acked: set[Place], rejected: set[Place]) -> None:
        if client.channel.publisher.transaction is None:
            self.ledger.acked |= acked
            self.ledger.rejected |= rejected
        else:
            self.later.setdefault(client.channel, []).append((acked, rejected))

    @somebody_holds
    @rule(data=st.data(), multiple=st.booleans())
    def ack(self, data: st.DataObject, multiple: bool) -> None:
        client, tag = self._who_and_what(data)
        self._settled(client, places(meant(client.channel, tag, multiple=multiple)), set())
        self._try(client, client.channel.ack, tag, multiple=multiple)

    @somebody_holds
    @rule(
        data=st.data(), how=st.sampled_from(["nack", "multiple", "reject"]), requeue=st.booleans()
    )
    def give_back(self, data: st.DataObject, how: str, requeue: bool) -> None:
        """basic.nack or basic.reject."""
        client, tag = self._who_and_what(data)
        channel, multiple = client.channel, how == "multiple"
        items = [] if requeue else meant(channel, tag, multiple=multiple)
        self._settled(client, set(), places(items))
        if how == "reject":
            self._try(client, channel.reject, tag, requeue=requeue)
        else:
            self._try(client, channel.nack, tag, multiple=multiple, requeue=requeue)

    @rule(index=indexes, commit=st.booleans())
    def transaction(self, index: int, commit: bool) -> None:
        """Begin one, or end it."""
        client = self.clients[index]
        channel = client.channel
        if channel.publisher.transaction is None:
            self._try(client, channel.tx_select)
            return
        for acked, rejected in self.later.pop(channel, []) if commit else []:
            self.ledger.acked |= acked
            self.ledger.rejected |= rejected
        self.later.pop(channel, None)
        self.unpublished.pop(channel, None)
        self._try(client, channel.tx_commit if commit else channel.tx_rollback)

    # --- connections ----------------------------------------------------------------------------

    def _try(self, client: Client, action: Any, *args: Any, **values: Any) -> Any:
        """Do what may be refused; a refusal closes the channel, as the wire would."""
        try:
            return action(*args, **values)
        except AMQPError:
            self.cut(self.clients.index(client))
            return None
        finally:
            self.node.pump()

    def cut(self, index: int) -> None:
        self.later.pop(self.clients[index].channel, None)
        self.unpublished.pop(self.clients[index].channel, None)
        self.clients[index].close()
        self.clients[index] = Client.of(self.node)

    @rule(index=indexes, data=st.data(), how=st.sampled_from(["cut", "recover", "cancel"]))
    def stop(self, index: int, data: st.DataObject, how: str) -> None:
        """Close the connection, call basic.recover, or cancel a consumer."""
        channel = self.clients[index].channel
        if how == "cut":
            self.cut(index)
        elif how == "recover":
            channel.recover(requeue=True)
        elif channel.consumers:
            channel.cancel(data.draw(st.sampled_from(sorted(channel.consumers))))
        self.node.pump()

    @rule(index=indexes)
    def read_or_not(self, index: int) -> None:
        sink = self.clients[index].sink
        sink.open = not sink.open
        if sink.open:
            self.clients[index].connection.writable()
            self.node.pump()

    # --- what is always so ----------------------------------------------------------------------

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        """What came into a queue is in it once, or left it once, for a reason that it had."""
        for record in self.ledger.read():
            event(f"{record.step}: {record.detail}" if record.step in ENDINGS else record.step)
        inside: Counter[Place] = Counter()
        for queue in queues_of(self.node):
            if isinstance(queue, QuorumQueue) and queue.letters:
                event("a dead letter waits for a route")
            inside.update(place(entry.message, queue.name) for entry in queue.held())
        assert self.ledger.came == inside + self.ledger.left
        assert set(self.ledger.came.values()) <= {1}

    @invariant()
    def what_is_settled_is_gone(self) -> None:
        """A queue that a client acknowledged a message to has it no more."""
        assert all(self.ledger.left[each] == 1 for each in self.ledger.acked)

    @invariant()
    def none_is_lost_before_a_queue(self) -> None:
        """What was published reached a queue, was refused by one, or had no route."""
        fates = {Step.QUEUED, Step.REFUSED, Step.UNROUTABLE}
        assert all(steps & fates for steps in self.ledger.fates())

    @invariant()
    def unacknowledged_is_what_clients_hold(self) -> None:
        """Queues and channels agree on what is not settled; transactions hold the rest."""
        held: Counter[Place] = Counter()
        for client in self.clients:
            for item in waiting(client.channel):
                if not item.queue.deleted:
                    held[place(item.entry.message, item.queue.name)] += 1
        unacked: Counter[Place] = Counter()
        for queue in queues_of(self.node):
            unacked.update(place(each.message, queue.name) for each in queue.unacked.values())
        assert held == unacked

    @invariant()
    def consumers_hold_what_they_may(self) -> None:
        """A consumer's count is what its channel holds for it, and within its prefetch count."""
        for client in self.clients:
            counts = Counter(item.consumer for item in waiting(client.channel))
            for consumer in client.channel.consumers.values():
                assert consumer.unacked == counts[consumer]
                assert not consumer.prefetch or consumer.unacked <= consumer.prefetch

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Where something is ready no consumer could take it, and nothing at the head is dead."""
        for queue in queues_of(self.node):
            if queue.ready:
                due = queue.ready.head().expires_at
                assert due is None or due > self.clock.monotonic()
                assert not any(consumer.can_take() for consumer in self._served(queue))

    def _served(self, queue: Queue) -> list[Consumer]:
        if not isinstance(queue.consumers, SingleActive):
            return list(queue.consumers)
        return [] if queue.consumers.active is None else [queue.consumers.active]

    @invariant()
    def memory_is_counted(self) -> None:
        """The bytes held are those of what is in the queues, or waits for tx.commit."""
        held = (entry for queue in queues_of(self.node) for entry in queue.held())
        inside = sum(entry.message.size for entry in held)
        assert self.node.bytes_held == inside + self.unpublished.total()


class MorePlaces(Places):
    """The same for longer."""


Places.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
MorePlaces.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestPlaces = Places.TestCase
TestMorePlaces = pytest.mark.long(MorePlaces.TestCase)
