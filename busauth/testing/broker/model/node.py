"""A broker without sockets: virtual hosts, users, time and memory."""

import heapq
import math
from collections.abc import Iterable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Final

from busauth.testing.broker.model.connection import Connection
from busauth.testing.broker.model.journal import Journal
from busauth.testing.broker.model.limits import Limits
from busauth.testing.broker.model.queues.queues import BaseQueue
from busauth.testing.broker.model.replies import Replies
from busauth.testing.broker.model.sinks import ConnectionSink
from busauth.testing.broker.model.vhost import VirtualHost
from busauth.testing.broker.model.words.errors import NOT_ALLOWED, AMQPError
from busauth.testing.clock import Timer, Timers

GUEST: Final = MappingProxyType({"guest": "guest"})
_EXCESS = 2
_RELIEF = 0.8
"""Publishers may go on once this part of the memory limit is used."""


class Node:
    """Everything that happens to messages, on an injected clock.

    Args:
        clock: the time, and who calls back.
        users: passwords by user.
        vhosts: names of virtual hosts.
        limits: how much is taken in.
        stamps: whether the instant of each publication is written on it.
    """

    def __init__(
        self,
        clock: Timers,
        *,
        users: Mapping[str, str] = GUEST,
        vhosts: Iterable[str] = ("/",),
        limits: Limits | None = None,
        stamps: bool = False,
    ) -> None:
        self.stamps = stamps
        self.limits = limits or Limits()
        self.now, self.monotonic, self._call_at = clock.now, clock.monotonic, clock.call_at
        self.journal = Journal(clock.now, self.limits.journal)
        self.replies = Replies()
        self.bytes_held = 0
        self._users = dict(users)
        self._blocking = False
        self._connections: dict[Connection, None] = {}
        self._dirty: dict[BaseQueue, None] = {}
        self._due: list[tuple[float, int, BaseQueue]] = []
        self._most_due = _FEW_DUE
        self._order = count()
        self._timer: tuple[float, Timer] | None = None
        self.vhosts = {name: VirtualHost(name, self) for name in vhosts}

    # --- connections ----------------------------------------------------------------------------

    def authenticates(self, user: str, password: str) -> bool:
        """Whether this is a user's password."""
        return self._users.get(user) == password

    def connect(self, user: str, vhost: str, sink: ConnectionSink) -> Connection:
        """Let an authenticated user in.

        Raises:
            AMQPError: 530, no such virtual host.
        """
        if vhost not in self.vhosts:
            raise AMQPError(NOT_ALLOWED, f"vhost {vhost} not found")
        connection = Connection(self, user, self.vhosts[vhost], sink)
        self._connections[connection] = None
        if self._blocking:
            sink.blocked(_REASON)
        return connection

    def forget(self, connection: Connection) -> None:
        """A connection is closed."""
        self._connections.pop(connection, None)

    # --- memory ---------------------------------------------------------------------------------

    def hold(self, size: int) -> None:
        """Count bytes in queues; above the limit publishers are told to wait."""
        self.bytes_held += size
        limit = self.limits.memory
        if not self._blocking and self.bytes_held > limit:
            self._blocking = True
            for connection in list(self._connections):
                connection.sink.blocked(_REASON)
        elif self._blocking and self.bytes_held <= limit * _RELIEF:
            self._blocking = False
            for connection in list(self._connections):
                connection.sink.unblocked()

    @property
    def overfull(self) -> bool:
        """Whether even messages that have begun must wait, as too many of them did."""
        return self.bytes_held > self.limits.memory * _EXCESS

    # --- deliveries -----------------------------------------------------------------------------

    def mark(self, queue: BaseQueue) -> None:
        """Look at a queue's deliveries at the next pump."""
        self._dirty[queue] = None

    def pump(self) -> None:
        """Deliver whatever can be delivered."""
        while self._dirty:
            queues, self._dirty = self._dirty, {}
            for queue in queues:
                if not queue.deleted:
                    queue.deliver()

    # --- time -----------------------------------------------------------------------------------

    def schedule(self, queue: BaseQueue, due: float) -> None:
        """Call a queue's `fire` at an instant, unless it is called before anyway."""
        if due >= queue.scheduled:
            return
        queue.scheduled = due
        if len(self._due) >= self._most_due:
            self._forget_past()
        heapq.heappush(self._due, (due, next(self._order), queue))
        self._set_timer()

    def _forget_past(self) -> None:
        """Drop what is due to queues that are gone, or at instants that no longer count."""
        self._due = [each for each in self._due if _counts(*each)]
        heapq.heapify(self._due)
        self._most_due = max(_FEW_DUE, 2 * len(self._due))

    def _set_timer(self) -> None:
        due = self._due[0][0]
        if self._timer is not None:
            if self._timer[0] <= due:
                return
            self._timer[1].cancel()
        self._timer = (due, self._call_at(due, self._ring))

    def _ring(self) -> None:
        self._timer = None
        self.fire()

    def fire(self) -> None:
        """Do everything that is due, in order, and deliver what follows from it."""
        while self._due and self._due[0][0] <= self.monotonic():
            each = heapq.heappop(self._due)
            queue = each[2]
            if _counts(*each):
                queue.scheduled = math.inf
                queue.fire()
        self.pump()
        if self._due:
            self._set_timer()


_FEW_DUE: Final = 256


def _counts(due: float, _: int, queue: BaseQueue) -> bool:
    return not queue.deleted and due == queue.scheduled


_REASON: Final = "low on memory"
