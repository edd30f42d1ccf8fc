"""A virtual host: exchanges and queues by name, and the way of a message through them."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from busauth.testing.broker.model.exchanges.exchanges import KINDS, Direct, Exchange, Topic
from busauth.testing.broker.model.exchanges.routing import routes
from busauth.testing.broker.model.exchanges.topology import (
    checked_alternate,
    locked,
    not_of_the_system,
    not_reserved,
    same_exchange,
)
from busauth.testing.broker.model.journal import Journal, Step
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.queues.classic import Queue
from busauth.testing.broker.model.queues.letters import came_round, letter
from busauth.testing.broker.model.queues.queues import BaseQueue, Declaration, Outcome
from busauth.testing.broker.model.queues.quorum import QuorumQueue
from busauth.testing.broker.model.queues.streams import Stream
from busauth.testing.broker.model.replies import ADDRESS, Replies
from busauth.testing.broker.model.words.arguments import CLASSIC, QUORUM, STREAM, Arguments
from busauth.testing.broker.model.words.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    AMQPError,
)

_KINDS: Final[Mapping[str, type[BaseQueue]]] = {
    CLASSIC: Queue,
    QUORUM: QuorumQueue,
    STREAM: Stream,
}


_TRACE: Final = "amq.rabbitmq.trace"


class Engine(Protocol):
    """What virtual hosts and channels share: time, memory, and what waits to be delivered."""

    journal: Journal
    replies: Replies
    stamps: bool

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def mark(self, queue: BaseQueue) -> None:
        """Look at a queue's deliveries at the next pump."""
        ...

    def schedule(self, queue: BaseQueue, due: float) -> None:
        """Call a queue's `fire` at an instant."""
        ...

    def hold(self, size: int) -> None:
        """Bytes more, or less, in memory."""
        ...


class VirtualHost:
    """A name space of exchanges and queues.

    Args:
        name: its name.
        engine: what it shares with others.
    """

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self.journal = engine.journal
        self.now, self.monotonic = engine.now, engine.monotonic
        self.mark, self.schedule, self.hold = engine.mark, engine.schedule, engine.hold
        self.queues: dict[str, BaseQueue] = {}
        self._keepers: dict[QuorumQueue, None] = {}
        self._steps: deque[Callable[[], object]] = deque()
        self._stepping = False
        self.exchanges: dict[str, Exchange] = {"": Direct("")}
        for exchange in (*KINDS.values(), KINDS["headers"]):
            known = f"amq.{exchange.kind}"
            name = "amq.match" if known in self.exchanges else known
            self.exchanges[name] = exchange(name)
        self.exchanges[_TRACE] = Topic(_TRACE, internal=True)

    def shown(self, kind: str, name: str) -> str:
        """Return how RabbitMQ names an exchange or a queue in its texts."""
        return f"{kind} '{name}' in vhost '{self.name}'"

    # --- exchanges ------------------------------------------------------------------------------

    def exchange(self, name: str) -> Exchange:
        """Return an exchange.

        Raises:
            AMQPError: 404.
        """
        if name not in self.exchanges:
            raise AMQPError(NOT_FOUND, f"no {self.shown('exchange', name)}")
        return self.exchanges[name]

    def declare_exchange(self, wanted: Exchange) -> None:
        """Add an exchange, or see that it is there as wanted.

        Raises:
            AMQPError: 403 for a reserved name, 406 for an alternate exchange that is no name,
                and when it is there and different.
        """
        if wanted.name in self.exchanges:
            resource = self.shown("exchange", wanted.name)
            same_exchange(resource, self.exchanges[wanted.name], wanted)
            return
        not_reserved("exchange", wanted.name)
        checked_alternate(self.shown("exchange", wanted.name), wanted)
        self.exchanges[wanted.name] = wanted
        self._rerouted()

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Remove an exchange with its bindings; one that is not there is no error.

        Raises:
            AMQPError: 403 for the broker's own, 406 when it is in use.
        """
        self.not_default(name)
        not_of_the_system(self.shown("exchange", name), name)
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise AMQPError(PRECONDITION_FAILED, f"{self.shown('exchange', name)} in use")
        self._drop_exchange(exchange)

    def _drop_exchange(self, exchange: Exchange) -> None:
        self.exchanges.pop(exchange.name, None)
        self._forget(exchange)

    def not_default(self, name: str) -> None:
        """Refuse to change the default exchange.

        Raises:
            AMQPError: 403.
        """
        if not name:
            raise AMQPError(ACCESS_REFUSED, "operation not permitted on the default exchange")

    def bind(
        self, destination: BaseQueue | Exchange, source: str, key: str, arguments: Arguments
    ) -> None:
        """Add a binding.

        Raises:
            AMQPError: 404, or 406 for arguments that the source does not understand.
        """
        exchange = self.exchange(source)
        exchange.check_binding(arguments)
        exchange.bind(destination, key, arguments)
        self._rerouted()

    def unbind(
        self, destination: BaseQueue | Exchange, source: str, key: str, arguments: Arguments
    ) -> None:
        """Remove a binding; an auto-delete exchange goes with its last one."""
        exchange = self.exchange(source)
        if exchange.unbind(destination, key, arguments) and _unused(exchange):
            self._drop_exchange(exchange)

    def _forget(self, destination: BaseQueue | Exchange) -> None:
        """Remove the bindings to what is gone; exchanges that this leaves unused go, too."""
        gone = [destination]
        while gone:
            leaving = gone.pop()
            for exchange in list(self.exchanges.values()):
                if exchange.forget(leaving) and _unused(exchange):
                    del self.exchanges[exchange.name]
                    gone.append(exchange)

    # --- queues ---------------------------------------------------------------------------------

    def queue(self, name: str, user: object) -> BaseQueue:
        """Return a queue that a connection may use.

        Raises:
            AMQPError: 404, or 405 when it is another connection's alone.
        """
        queue = self.queues.get(name)
        if queue is None:
            raise AMQPError(NOT_FOUND, f"no {self.shown('queue', name)}")
        if queue.declared.owner not in (None, user):
            raise locked(self.shown("queue", name))
        return queue

    def add_queue(self, declared: Declaration) -> BaseQueue:
        """Make a queue."""
        queue = _KINDS[declared.options.kind](declared, self)
        self.queues[declared.name] = queue
        if isinstance(queue, QuorumQueue) and declared.options.at_least_once:
            self._keepers[queue] = None
        self._rerouted()
        return queue

    def remove(self, queue: BaseQueue) -> None:
        """Forget a queue that is gone, and its bindings."""
        if self.queues.get(queue.name) is queue:
            del self.queues[queue.name]
        if isinstance(queue, QuorumQueue):
            self._keepers.pop(queue, None)
        self._forget(queue)

    def _rerouted(self) -> None:
        """What waits for a route may have one now."""
        for queue in list(self._keepers):
            if queue.letters:
                queue.send_letters()

    # --- messages -------------------------------------------------------------------------------

    def route(self, message: Message) -> list[BaseQueue]:
        """Return the queues that a message goes to; a direct reply is delivered at once."""
        if not message.exchange:
            return self._by_name(message)
        exchange = self.exchanges.get(message.exchange)
        return routes(exchange, message, self.exchanges) if exchange else []

    def _by_name(self, message: Message) -> list[BaseQueue]:
        """The default exchange: every queue is bound with its name."""
        if not message.copies and (queue := self.queues.get(message.routing_key)) is not None:
            return [queue]
        keys = dict.fromkeys((message.routing_key, *message.copies))
        for key in keys:
            if key.startswith(ADDRESS):
                self.engine.replies.deliver(key, message)
        return [self.queues[key] for key in keys if key in self.queues]

    def dead_letter(
        self, queue: BaseQueue, message: Message, reason: str, reached: set[str] | None = None
    ) -> Outcome:
        """Send a message on to a queue's dead-letter exchange, to those not reached before."""
        if queue.options.dead_letter_exchange is None:
            return Outcome.NO_EXCHANGE
        dead = letter(queue, message, reason, self.now())
        targets = self.route(dead)
        kept = [each for each in targets if not came_round(dead, each.name, reason)]
        if not (kept or reached):
            return Outcome.CYCLE if targets else Outcome.UNROUTABLE
        before = set() if reached is None else reached
        left = [target for target in kept if target.name not in before]
        if left:
            self.journal.tell(Step.PUBLISHED, dead, queue.name, reason, message)
        took = {target.name: target.enqueue(dead) for target in left}
        before.update(name for name, taken in took.items() if taken)
        if all(took.values()):
            return Outcome.ROUTED
        return Outcome.PARTLY if before else Outcome.UNROUTABLE

    def later(self, step: Callable[[], object]) -> None:
        """Do something, but not within what is done this way: dead letters go far without end."""
        self._steps.append(step)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._steps:
                self._steps.popleft()()
        finally:
            self._stepping = False


def _unused(exchange: Exchange) -> bool:
    return exchange.auto_delete and not exchange.bindings
