"""The publishing side of a channel: routing, returns, confirms, transactions, direct replies."""

from functools import partial

from busauth.testing.broker.model.channels.owner import Owner
from busauth.testing.broker.model.channels.publications import inspect
from busauth.testing.broker.model.channels.transaction import Transaction
from busauth.testing.broker.model.journal import Step
from busauth.testing.broker.model.message import Delivery, Message
from busauth.testing.broker.model.queues.queues import BaseQueue
from busauth.testing.broker.model.queues.unacked import Unacked
from busauth.testing.broker.model.sinks import ChannelSink
from busauth.testing.broker.model.words.errors import (
    ACCESS_REFUSED,
    NO_ROUTE,
    PRECONDITION_FAILED,
    AMQPError,
)


class Publisher:
    """What a channel publishes, and the replies that it waits for.

    Args:
        connection: whose channel this is.
        sink: takes what is returned and confirmed, and the replies.
        unacked: counts the channel's deliveries.
    """

    def __init__(self, connection: Owner, sink: ChannelSink, unacked: Unacked) -> None:
        self._connection = connection
        self._vhost = connection.vhost
        self._sink = sink
        self._unacked = unacked
        self._confirming = False
        self._sequence = 0
        self.transaction: Transaction | None = None
        self.reply_tag = ""
        self._reply_name = ""

    def close(self) -> None:
        """Take no more replies."""
        if self._reply_name:
            self._connection.engine.replies.close(self._reply_name)
        self.reply_tag = self._reply_name = ""

    # --- modes ----------------------------------------------------------------------------------

    def confirm_select(self) -> None:
        """From now on, confirm each publication."""
        if self.transaction is not None:
            raise AMQPError(PRECONDITION_FAILED, "cannot switch from tx to confirm mode")
        self._confirming = True

    def tx_select(self) -> None:
        """From now on, publish and settle at tx.commit."""
        if self._confirming:
            raise AMQPError(PRECONDITION_FAILED, "cannot switch from confirm to tx mode")
        self.transaction = self.transaction or Transaction(self._connection.engine.hold)

    def tx(self) -> Transaction:
        """Return the transaction.

        Raises:
            AMQPError: 406 when the channel is not transactional.
        """
        if self.transaction is None:
            raise AMQPError(PRECONDITION_FAILED, "channel is not transactional")
        return self.transaction

    # --- publishing -----------------------------------------------------------------------------

    def publish(self, message: Message, *, mandatory: bool) -> None:
        """Check a message and route it; queues get it at once, or at tx.commit."""
        exchange = self._vhost.exchange(message.exchange)
        if exchange.internal:
            resource = self._vhost.shown("exchange", exchange.name)
            raise AMQPError(ACCESS_REFUSED, f"cannot publish to internal {resource}")
        inspect(message, self._connection.user, self._reply_name)
        engine = self._connection.engine
        if engine.stamps:
            message.stamp(engine.now())
        queues = self._vhost.route(message)
        if self.transaction is not None:
            self.transaction.add(message.size, partial(self._late, message, queues, mandatory))
            return
        taken = self._hand(message, queues, mandatory)
        if self._confirming:
            self._sequence += 1
            self._sink.confirmed(self._sequence, ack=taken)

    def _late(self, message: Message, queues: list[BaseQueue], mandatory: bool) -> bool:  # noqa: FBT001 - private
        """Publish at tx.commit, to those queues that are still there."""
        names = [queue.name for queue in queues]
        left = [self._vhost.queues[name] for name in names if name in self._vhost.queues]
        return self._hand(message, left, mandatory)

    def _hand(self, message: Message, queues: list[BaseQueue], mandatory: bool) -> bool:  # noqa: FBT001 - private
        """Whether every queue took the message."""
        journal = self._vhost.journal
        journal.tell(Step.PUBLISHED, message, detail=self._connection.user)
        if not queues:
            journal.tell(Step.UNROUTABLE, message)
            if mandatory:
                self._sink.returned(NO_ROUTE, "NO_ROUTE", message)
        taken = True
        for queue in queues:
            taken = queue.enqueue(message) and taken
        return taken

    # --- direct replies -------------------------------------------------------------------------

    def take_replies(self, tag: str, *, no_ack: bool) -> None:
        """Consume from the channel's own replies.

        Raises:
            AMQPError: 406, without no-ack or a second time.
        """
        if not no_ack:
            raise AMQPError(PRECONDITION_FAILED, "reply consumer cannot acknowledge")
        if self.reply_tag:
            raise AMQPError(PRECONDITION_FAILED, "reply consumer already set")
        self.reply_tag = tag
        self._reply_name = self._connection.engine.replies.open(self)

    def replied(self, message: Message) -> None:
        """Deliver a reply to this channel's consumer: under the next delivery's tag."""
        delivery = Delivery(self._unacked.following, redelivered=False, message=message)
        self._sink.deliver(self.reply_tag, delivery)
