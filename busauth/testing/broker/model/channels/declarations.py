"""The exchange and queue classes of a channel (AMQP 0-9-1, sections 1.5 and 1.7)."""

from dataclasses import dataclass

from busauth.testing.broker.model.channels.owner import Owner
from busauth.testing.broker.model.exchanges.topology import (
    generated_name,
    known_kind,
    not_reserved,
    queue_options,
    same_queue,
    without_breaks,
)
from busauth.testing.broker.model.queues.queues import BaseQueue, Declaration
from busauth.testing.broker.model.replies import REPLY_TO
from busauth.testing.broker.model.words.arguments import CLASSIC, Arguments
from busauth.testing.broker.model.words.errors import NOT_FOUND, PRECONDITION_FAILED, AMQPError


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """What queue.declare-ok says."""

    name: str
    messages: int = 0
    consumers: int = 0


class Declarations:
    """Declares, binds and deletes, and remembers the queue that was declared last.

    Args:
        connection: whose channel this is.
    """

    def __init__(self, connection: Owner) -> None:
        self.connection = connection
        self.vhost = connection.vhost
        self._last_queue = ""

    # --- exchanges ------------------------------------------------------------------------------

    def exchange_declare(
        self,
        name: str,
        kind: str,
        *,
        passive: bool,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Arguments,
    ) -> None:
        """exchange.declare"""
        name = without_breaks(name)
        if passive:
            self.vhost.not_default(name)
            self.vhost.exchange(name)
            return
        exchange = known_kind(kind)
        self.vhost.not_default(name)
        self.vhost.declare_exchange(exchange(name, durable, auto_delete, internal, arguments))

    def exchange_delete(self, name: str, *, if_unused: bool) -> None:
        """exchange.delete"""
        self.vhost.delete_exchange(without_breaks(name), if_unused=if_unused)

    def exchange_bind(self, destination: str, source: str, key: str, arguments: Arguments) -> None:
        """exchange.bind"""
        destination, source = self._not_default(destination), self._not_default(source)
        self.vhost.exchange(source)
        target = self.vhost.exchange(destination)
        self.vhost.bind(target, source, key, arguments)

    def exchange_unbind(
        self, destination: str, source: str, key: str, arguments: Arguments
    ) -> None:
        """exchange.unbind; what is not there is no error."""
        destination, source = self._not_default(destination), self._not_default(source)
        target = self.vhost.exchanges.get(destination)
        if target is not None and source in self.vhost.exchanges:
            self.vhost.unbind(target, source, key, arguments)

    def _not_default(self, exchange: str) -> str:
        name = without_breaks(exchange)
        self.vhost.not_default(name)
        return name

    # --- queues ---------------------------------------------------------------------------------

    def queue_declare(
        self,
        name: str,
        *,
        passive: bool,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        arguments: Arguments,
    ) -> QueueStatus:
        """queue.declare; an empty name is replaced by one of the broker's choice."""
        if name.startswith(f"{REPLY_TO}"):
            return self._reply_queue(name)
        name = without_breaks(name)
        if passive:
            return self._status(self.vhost.queue(name, self.connection))
        not_reserved("queue", name)
        owner = self.connection if exclusive else None
        lasting = durable and not exclusive
        resource = self.vhost.shown("queue", name)
        existing = self.vhost.queues.get(name) if name else None
        if existing is not None:
            same_queue(
                resource, existing, arguments, durable=lasting, auto_delete=auto_delete, owner=owner
            )
            return self._status(existing)
        options = queue_options(
            resource, arguments, durable=durable, exclusive=exclusive, auto_delete=auto_delete
        )
        if not name and options.kind != CLASSIC:
            text = f"Cannot declare a server-named queue for type rabbit_{options.kind}_queue"
            raise AMQPError(PRECONDITION_FAILED, text)
        name = name or generated_name("amq.gen-")
        declared = Declaration(name, lasting, auto_delete, owner, arguments, options)
        return self._status(self.vhost.add_queue(declared))

    def _reply_queue(self, name: str) -> QueueStatus:
        if name == REPLY_TO or self.connection.engine.replies.find(name):
            return QueueStatus(name, 0, 1)
        raise AMQPError(NOT_FOUND, f"no {self.vhost.shown('queue', name)}")

    def _status(self, queue: BaseQueue) -> QueueStatus:
        queue.touch()
        self._last_queue = queue.name
        return QueueStatus(queue.name, queue.messages(), len(queue.consumers))

    def _named(self, name: str) -> str:
        """The name, or for an empty one that of the queue that was declared last."""
        if not name and not self._last_queue:
            raise AMQPError(NOT_FOUND, "no previously declared queue")
        return name or self._last_queue

    def _queue(self, name: str) -> BaseQueue:
        return self.vhost.queue(self._named(name), self.connection)

    def queue_bind(self, queue: str, exchange: str, key: str, arguments: Arguments) -> None:
        """queue.bind"""
        name, exchange = without_breaks(self._named(queue)), self._not_default(exchange)
        source = self.vhost.exchange(exchange)
        if name in self.vhost.queues:
            source.check_binding(arguments)
        target = self._queue(name)
        key = name if not queue and not key else key
        self.vhost.bind(target, exchange, key, arguments)

    def queue_unbind(self, queue: str, exchange: str, key: str, arguments: Arguments) -> None:
        """queue.unbind; what is not there is no error."""
        name, exchange = without_breaks(self._named(queue)), self._not_default(exchange)
        if exchange not in self.vhost.exchanges or name not in self.vhost.queues:
            return
        key = name if not queue and not key else key
        target = self.vhost.queues[name]
        if self.vhost.exchange(exchange).has(target, key, arguments):
            self.vhost.unbind(self._queue(name), exchange, key, arguments)

    def queue_purge(self, queue: str) -> int:
        """queue.purge"""
        return self._queue(queue).purge()

    def queue_delete(self, queue: str, *, if_unused: bool, if_empty: bool) -> int:
        """queue.delete; one that is not there is no error."""
        name = without_breaks(self._named(queue))
        if name not in self.vhost.queues:
            return 0
        target = self._queue(name)
        target.check_delete(if_unused=if_unused, if_empty=if_empty)
        return target.delete()
