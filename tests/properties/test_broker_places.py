"""Whatever happens, each message of the embedded broker is in exactly one place."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from busauth.testing import ManualClock
from busauth.testing.broker.model.errors import AMQPError
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues import Queue
from tests.broker.model import Client, node

QUEUES = ("a", "b", "c")
ENDINGS = {Step.ACKED, Step.DEAD_LETTERED, Step.DROPPED, Step.PURGED}
Place = tuple[int, str]

arguments = st.fixed_dictionaries(
    {},
    optional={
        "message_ttl": st.sampled_from([0, 10, 1000]),
        "expires": st.sampled_from([50, 5000]),
        "max_length": st.integers(0, 3),
        "max_length_bytes": st.sampled_from([0, 5, 50]),
        "overflow": st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
        "dead_letter_exchange": st.sampled_from(["", "amq.fanout", "no such exchange"]),
        "single_active_consumer": st.booleans(),
    },
)
of_quorum = st.fixed_dictionaries(
    {"queue_type": st.just("quorum")},
    optional={
        "delivery_limit": st.integers(0, 2),
        "dead_letter_strategy": st.just("at-least-once"),
    },
)
queues = st.sampled_from(QUEUES)
indexes = st.integers(0, 2)


class Places(RuleBasedStateMachine):
    """Three clients, three queues that dead-letter into each other, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.node = node(self.clock)
        self.clients = [Client.of(self.node) for _ in range(3)]
        self.published: list[Message] = []

    def teardown(self) -> None:
        self.loop.close()

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        for name in QUEUES:
            self._declare(name, data.draw(arguments), data.draw(st.none() | of_quorum))

    def _declare(self, name: str, usual: dict[str, Any], quorum: dict[str, Any] | None) -> None:
        table: dict[str, Any] = usual | (quorum or {})
        if "dead_letter_exchange" in table:
            table["dead_letter_routing_key"] = QUEUES[(QUEUES.index(name) + 1) % 3]
        client = self.clients[0]
        if name in client.channel.vhost.queues:
            return
        client.declare(name, **table)
        client.channel.queue_bind(name, "amq.fanout", "", {})

    def _try(self, client: Client, action: Any, *args: Any, **values: Any) -> None:
        """Do what may be refused; a refusal closes the channel, as the wire would."""
        try:
            action(*args, **values)
        except AMQPError:
            index = self.clients.index(client)
            client.close()
            self.clients[index] = Client.of(self.node)
        self.node.pump()

    @rule(name=queues, usual=arguments, quorum=st.none() | of_quorum)
    def declare_again(self, name: str, usual: dict[str, Any], quorum: dict[str, Any]) -> None:
        self._declare(name, usual, quorum)

    @rule(
        index=indexes,
        key=queues,
        exchange=st.sampled_from(["", "amq.fanout"]),
        body=st.sampled_from([b"", b"x", b"0123456789"]),
        expiration=st.sampled_from([None, "0", "10", "1000"]),
    )
    def publish(
        self, index: int, key: str, exchange: str, body: bytes, expiration: str | None
    ) -> None:
        message = self.clients[index].publish(key, body, exchange, expiration=expiration)
        self.published.append(message)

    @rule(index=indexes, queue=queues, no_ack=st.booleans())
    def consume(self, index: int, queue: str, no_ack: bool) -> None:
        client = self.clients[index]
        self._try(client, client.consume, queue, no_ack=no_ack)

    @rule(index=indexes, count=st.integers(0, 3), shared=st.booleans())
    def qos(self, index: int, count: int, shared: bool) -> None:
        channel = self.clients[index].channel
        channel.qos(prefetch_size=0, prefetch_count=count, global_=shared)
        self.node.pump()

    @rule(index=indexes, data=st.data())
    def cancel(self, index: int, data: st.DataObject) -> None:
        channel = self.clients[index].channel
        if channel.consumers:
            channel.cancel(data.draw(st.sampled_from(sorted(channel.consumers))))
            self.node.pump()

    @rule(index=indexes, queue=queues, no_ack=st.booleans())
    def get(self, index: int, queue: str, no_ack: bool) -> None:
        client = self.clients[index]
        self._try(client, client.get, queue, no_ack=no_ack)

    @rule(index=indexes, tag=st.integers(0, 20), multiple=st.booleans())
    def ack(self, index: int, tag: int, multiple: bool) -> None:
        client = self.clients[index]
        self._try(client, client.channel.ack, tag, multiple=multiple)

    @rule(index=indexes, tag=st.integers(0, 20), multiple=st.booleans(), requeue=st.booleans())
    def nack(self, index: int, tag: int, multiple: bool, requeue: bool) -> None:
        client = self.clients[index]
        self._try(client, client.channel.nack, tag, multiple=multiple, requeue=requeue)

    @rule(index=indexes)
    def recover(self, index: int) -> None:
        self.clients[index].channel.recover(requeue=True)
        self.node.pump()

    @rule(index=indexes)
    def transaction(self, index: int) -> None:
        client = self.clients[index]
        self._try(client, client.channel.tx_select)

    @rule(index=indexes, commit=st.booleans())
    def end_transaction(self, index: int, commit: bool) -> None:
        client = self.clients[index]
        channel = client.channel
        self._try(client, channel.tx_commit if commit else channel.tx_rollback)

    @rule(index=indexes)
    def cut(self, index: int) -> None:
        self.clients[index].close()
        self.clients[index] = Client.of(self.node)

    @rule(index=indexes)
    def stop_reading(self, index: int) -> None:
        self.clients[index].sink.open = False

    @rule(index=indexes)
    def read_again(self, index: int) -> None:
        self.clients[index].sink.open = True
        self.clients[index].channel.connection.writable()
        self.node.pump()

    @rule(queue=queues, index=indexes)
    def purge(self, queue: str, index: int) -> None:
        client = self.clients[index]
        self._try(client, client.channel.queue_purge, queue)

    @rule(queue=queues, index=indexes)
    def delete(self, queue: str, index: int) -> None:
        channel = self.clients[index].channel
        channel.queue_delete(queue, if_unused=False, if_empty=False)
        self.node.pump()

    @rule(seconds=st.sampled_from([0.005, 0.01, 0.5, 2, 10]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    def _inside(self) -> Counter[Place]:
        """Where the queues themselves say messages are."""
        inside: Counter[Place] = Counter()
        for queue in self.clients[0].channel.vhost.queues.values():
            assert isinstance(queue, Queue)
            entries = [*queue.ready, *queue.unacked.values(), *(e for e, _ in queue.letters)]
            inside.update((id(entry.message), queue.name) for entry in entries)
        return inside

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        """What came into a queue is in it once, or left it once."""
        came, left = Counter[Place](), Counter[Place]()
        for record in self.node.journal:
            place = (id(record.message), record.queue)
            if record.step is Step.QUEUED:
                came[place] += 1
            elif record.step in ENDINGS:
                left[place] += 1
        assert came == self._inside() + left
        assert set(came.values()) <= {1}

    @invariant()
    def none_is_lost_before_a_queue(self) -> None:
        """What was published reached a queue, was refused by one, or had no route."""
        seen: dict[int, set[Step]] = {}
        for record in self.node.journal:
            seen.setdefault(id(record.message), set()).add(record.step)
        fates = {Step.QUEUED, Step.REFUSED, Step.UNROUTABLE}
        for steps in seen.values():
            assert steps & fates

    @invariant()
    def dead_letters_have_successors(self) -> None:
        """A message that left its queue as a dead letter goes on as another one."""
        made_of = {id(r.source) for r in self.node.journal if r.source is not None}
        for record in self.node.journal:
            if record.step is Step.DEAD_LETTERED:
                assert id(record.message) in made_of

    @invariant()
    def unacknowledged_is_what_clients_hold(self) -> None:
        """Queues and channels agree on what is not settled; transactions hold the rest."""
        held: Counter[Place] = Counter()
        for client in self.clients:
            unacked = client.channel.unacked
            transaction = client.channel.publisher.transaction
            waiting = (
                [item for _, items in transaction.settlements for item in items]
                if (transaction)
                else []
            )
            for _, item in (*unacked.items(), *waiting):
                if not item.queue.deleted:
                    held[id(item.entry.message), item.queue.name] += 1
        unacked_in_queues: Counter[Place] = Counter()
        for queue in self.clients[0].channel.vhost.queues.values():
            assert isinstance(queue, Queue)
            unacked_in_queues.update((id(e.message), queue.name) for e in queue.unacked.values())
        assert held == unacked_in_queues

    @invariant()
    def memory_is_counted(self) -> None:
        """The bytes held are those of what is in the queues."""
        total = 0
        for queue in self.clients[0].channel.vhost.queues.values():
            assert isinstance(queue, Queue)
            entries = [*queue.ready, *queue.unacked.values(), *(e for e, _ in queue.letters)]
            total += sum(entry.message.size for entry in entries)
        assert self.node.bytes_held == total


Places.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPlaces = Places.TestCase
