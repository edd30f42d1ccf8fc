"""Whether a client is read from: not while memory is short, nor while it does not read itself."""

import asyncio
from collections.abc import Callable

from pamqp.base import Frame
from pamqp.commands import Connection

_MEMORY = "memory"


class Throttle:
    """Holds one connection's reading; what was read already is still done.

    As on RabbitMQ, a connection is blocked once it publishes while memory is short, and told then.

    Args:
        transport: the socket.
        reply: writes a method on channel 0.

    Attributes:
        reason: why publishers have to wait; empty when they need not.
        tells: the client understands connection.blocked.
    """

    def __init__(self, transport: asyncio.Transport, reply: Callable[[Frame], None]) -> None:
        self.reason = ""
        self.tells = False
        self._transport = transport
        self._reply = reply
        self._held: set[str] = set()
        self._told = False

    @property
    def reading(self) -> bool:
        """Whether the client is read from."""
        return not self._held

    def holds(self, why: str) -> bool:
        """Whether this speaks against reading."""
        return why in self._held

    def published(self) -> None:
        """The client publishes although memory is short."""
        if _MEMORY in self._held:
            return
        self.hold(_MEMORY)
        if self.tells:
            self._told = True
            self._reply(Connection.Blocked(self.reason))

    def unblock(self) -> None:
        """Memory is not short any more."""
        self.reason = ""
        self.release(_MEMORY)
        if self._told:
            self._told = False
            self._reply(Connection.Unblocked())

    def hold(self, why: str) -> None:
        """Stop reading."""
        self._held.add(why)
        self._transport.pause_reading()

    def release(self, why: str) -> None:
        """Read again if nothing else speaks against it."""
        self._held.discard(why)
        if not self._held:
            self._transport.resume_reading()

    def end(self) -> None:
        """Read whatever comes, as it is only waited for the client's close-ok."""
        self.reason = ""
        self._told = False
        self._held.clear()
        self._transport.resume_reading()
