"""A channel: what a client asks of the broker, method by method (AMQP 0-9-1, section 1.8)."""

from busauth.testing.broker.model.channels.declarations import Declarations
from busauth.testing.broker.model.channels.owner import Owner
from busauth.testing.broker.model.channels.publishing import Publisher
from busauth.testing.broker.model.exchanges.topology import generated_name
from busauth.testing.broker.model.message import Delivery, Message
from busauth.testing.broker.model.queues import unacked
from busauth.testing.broker.model.queues.consuming import check_arguments, check_consumer
from busauth.testing.broker.model.queues.queues import Consumer
from busauth.testing.broker.model.queues.ready import Entry
from busauth.testing.broker.model.queues.streams import OFFSET, Stream
from busauth.testing.broker.model.queues.unacked import Held, Settle, Unacked
from busauth.testing.broker.model.replies import REPLY_TO
from busauth.testing.broker.model.sinks import ChannelSink
from busauth.testing.broker.model.words.arguments import Arguments
from busauth.testing.broker.model.words.errors import NOT_ALLOWED, NOT_IMPLEMENTED, AMQPError


class Channel(Declarations):
    """The state of one channel.

    Every method raises `AMQPError` for what cannot be done. Deliveries that a method makes
    possible come at the next `Node.pump`.

    Args:
        connection: whose it is.
        sink: takes what the broker sends by itself.
    """

    def __init__(self, connection: Owner, sink: ChannelSink) -> None:
        super().__init__(connection)
        self.sink = sink
        self.consumers: dict[str, Consumer] = {}
        self.unacked = Unacked()
        self.publisher = Publisher(connection, sink, self.unacked)
        self._prefetch = 0

    def close(self) -> None:
        """Stop consuming; what was not acknowledged, and committed, goes back to its queues."""
        self.publisher.close()
        if self.publisher.transaction is not None:
            self.tx_rollback()
        consumers, self.consumers = self.consumers, {}
        for consumer in consumers.values():
            consumer.queue.unsubscribe(consumer)
        unacked.failed([held for _, held in self.unacked.clear()])

    # --- consuming ------------------------------------------------------------------------------

    def qos(self, *, prefetch_size: int, prefetch_count: int, global_: bool) -> None:
        """basic.qos: for each of the consumers that are yet to come, `global` or not."""
        del global_  # RabbitMQ 4.3 permits no count of the whole channel, and does not say so
        if prefetch_size:
            raise AMQPError(NOT_IMPLEMENTED, f"prefetch_size!=0 ({prefetch_size})")
        self._prefetch = prefetch_count

    def look_again(self) -> None:
        """Its consumers may have room: offer them what waits."""
        for consumer in self.consumers.values():
            self.connection.engine.mark(consumer.queue)

    def consume(
        self,
        queue: str,
        consumer_tag: str,
        *,
        no_local: bool,
        no_ack: bool,
        exclusive: bool,
        arguments: Arguments,
    ) -> str:
        """basic.consume; return the consumer tag."""
        del no_local  # RabbitMQ ignores it, too
        if consumer_tag and consumer_tag in self.consumers:
            raise AMQPError(NOT_ALLOWED, f"attempt to reuse consumer tag '{consumer_tag}'")
        tag = consumer_tag or generated_name("amq.ctag-")
        if queue == REPLY_TO:
            self.publisher.take_replies(tag, no_ack=no_ack)
            return tag
        source = self._queue(queue)
        check_arguments(source, arguments)
        priority = arguments.get("x-priority", 0)
        consumer = Consumer(tag, self, source, no_ack, exclusive, priority, self._prefetch)
        check_consumer(consumer)
        if isinstance(source, Stream):
            consumer.offset = source.start_of(arguments.get(OFFSET, "next"))
        self.consumers[tag] = consumer
        source.subscribe(consumer)
        return tag

    def cancel(self, consumer_tag: str) -> None:
        """basic.cancel; an unknown tag is no error. Deliveries stay unacknowledged."""
        if consumer_tag == self.publisher.reply_tag:
            self.publisher.close()
            return
        consumer = self.consumers.pop(consumer_tag, None)
        if consumer is not None:
            consumer.queue.unsubscribe(consumer)

    def lost(self, consumer: Consumer) -> None:
        """The queue is gone: tell the client."""
        if self.consumers.pop(consumer.tag, None) is not None:
            self.sink.cancelled(consumer.tag)

    def hand(
        self,
        consumer: Consumer,
        entry: Entry,
        *,
        redelivered: bool,
        extra: dict[str, bytes | None] | None,
    ) -> None:
        """basic.deliver"""
        tag = self.unacked.next_tag()
        if not consumer.no_ack:
            self.unacked.add(tag, Held(entry, consumer.queue, consumer))
        self.sink.deliver(consumer.tag, Delivery(tag, redelivered, entry.message, extra))

    def get(self, queue: str, *, no_ack: bool) -> Delivery | None:
        """basic.get; None when the queue is empty."""
        source = self._queue(queue)
        entry = source.take()
        if entry is None:
            return None
        tag, redelivered = self.unacked.next_tag(), entry.redelivered
        extra = source.delivery_headers(entry)
        if no_ack:
            source.ack(entry)
        else:
            self.unacked.add(tag, Held(entry, source, None))
        return Delivery(tag, redelivered, entry.message, extra, source.messages())

    # --- settling -------------------------------------------------------------------------------

    def ack(self, tag: int, *, multiple: bool) -> None:
        """basic.ack"""
        self._settle(unacked.acked, self.unacked.remove(tag, multiple=multiple))

    def nack(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """basic.nack"""
        self._return(unacked.requeued if requeue else unacked.rejected, tag, multiple=multiple)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """basic.reject"""
        self._return(unacked.failed if requeue else unacked.rejected, tag, multiple=False)

    def _return(self, settle: Settle, tag: int, *, multiple: bool) -> None:
        items = self.unacked.remove(tag, multiple=multiple)
        self._check_returns(items)
        self._settle(settle, items)

    def _check_returns(self, items: list[tuple[int, Held]]) -> None:
        """Let every queue refuse; then the channel holds everything as before."""
        try:
            for _, held in items:
                held.queue.check_return()
        except AMQPError:
            self.unacked.restore(items)
            raise

    def _settle(self, settle: Settle, items: list[tuple[int, Held]]) -> None:
        if self.publisher.transaction is not None:
            self.publisher.transaction.settlements.append((settle, items))
            return
        self._done(settle, items)

    def _done(self, settle: Settle, items: list[tuple[int, Held]]) -> None:
        """Settle, and look at the queues whose consumers have room now."""
        settle([held for _, held in items])
        for queue in {held.queue for _, held in items}:
            self.connection.engine.mark(queue)

    def recover(self, *, requeue: bool) -> None:
        """basic.recover: everything unacknowledged goes back to its queues."""
        if not requeue:
            raise AMQPError(NOT_IMPLEMENTED, "requeue=false")
        items = self.unacked.clear()
        self._check_returns(items)
        self._done(unacked.requeued, items)

    # --- publishing -----------------------------------------------------------------------------

    def publish(self, message: Message, *, mandatory: bool) -> None:
        """basic.publish"""
        self.publisher.publish(message, mandatory=mandatory)

    def confirm_select(self) -> None:
        """confirm.select"""
        self.publisher.confirm_select()

    def tx_select(self) -> None:
        """tx.select"""
        self.publisher.tx_select()

    def tx_commit(self) -> None:
        """tx.commit"""
        self.publisher.tx().commit(self._done)

    def tx_rollback(self) -> None:
        """tx.rollback"""
        self.publisher.tx().rollback(self.unacked)
