"""What fuzzing needs: clients of a broker without sockets, and a witness of what they do to it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from struct import pack, unpack_from
from typing import Any, cast

from pamqp.commands import Basic, Channel, Confirm, Connection, Queue

from busauth.testing import ManualClock
from busauth.testing.broker import Limits
from busauth.testing.broker.model.node import Node
from busauth.testing.broker.wire.connection import WireConnection
from busauth.testing.broker.wire.output import Batch
from tests.conformance.client import CAPABILITIES
from tests.conformance.frames import METHOD, body, frame, header, sent

GREETING = b"AMQP\0\0\x09\x01"
_CLIENT: dict[str, Any] = {"capabilities": CAPABILITIES}
START_OK = sent(Connection.StartOk(_CLIENT, "PLAIN", "\0guest\0guest", "en_US"), channel=0)
TUNE_OK = sent(Connection.TuneOk(2047, 131072, 0), channel=0)
OPEN = sent(Connection.Open("/"), channel=0)
HANDSHAKE = GREETING + START_OK + TUNE_OK + OPEN
_CLOSES = {pack(">HH", 10, 50), pack(">HH", 20, 40)}
_BACKLOG = 20
_OURS = {"witness", "backlog"}
_TIMERS = 1000
HUNG_UP = 0
"""The code of a connection that ends without a word."""


@dataclass
class Wire:
    """A socket in memory: it takes everything, and remembers what it was given."""

    written: list[bytes] = field(default_factory=list)
    closing: bool = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    abort = close


def methods(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Channel and payload of each method in what a broker wrote; a frame may be yet to come."""
    at = len(GREETING) if data.startswith(GREETING) else 0
    while at + 7 < len(data):
        kind, number, size = unpack_from(">BHI", data, at)
        start, at = at + 7, at + 8 + size
        if at > len(data):
            return
        assert data[at - 1] == 0xCE, "a broken frame was sent"
        if kind == METHOD:
            yield number, data[start : at - 1]


@dataclass(frozen=True)
class End:
    """How a connection fared: its close code (None: it was open), and those of its channels."""

    code: int | None
    channels: tuple[tuple[int, int], ...] = ()

    @classmethod
    def told(cls, data: bytes, code: int | None) -> "End":
        """What was said, or `code` when nothing was said of the connection."""
        channels = []
        for number, payload in methods(data):
            if payload[:4] in _CLOSES:
                (told,) = unpack_from(">H", payload, 4)
                code = code if number else told
                channels += [(number, told)] if number else []
        return cls(code, tuple(channels))


class Client:
    """One connection of an arena's broker."""

    def __init__(self, arena: "Arena") -> None:
        self.wire = Wire()
        seats = arena.connections
        self._protocol = WireConnection(arena.node, arena.batch, seats.add, seats.discard)
        self._protocol.connection_made(cast("Any", self.wire))

    def send(self, data: bytes) -> None:
        """Send bytes, unless the broker has closed the socket."""
        if not self.wire.closing:
            self._protocol.data_received(data)

    def leave(self) -> End:
        """Cut the socket, and return what the broker had said."""
        code: int | None = HUNG_UP if self.wire.closing else None
        self._protocol.connection_lost(None)
        return End.told(b"".join(self.wire.written), code)


class Arena:
    """A broker that is attacked, and a client of it that has to be served all the while."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.node = Node(self.clock, limits=Limits(memory=2**30))
        self.batch = Batch()
        self.connections: set[WireConnection] = set()
        self._vhost = self.node.vhosts["/"]
        self._exchanges = set(self._vhost.exchanges)
        self._witness = Client(self)
        self._witness.send(_witness())
        self._pings = 0
        self._held = self.node.bytes_held
        self._ping = sent(Basic.Ack(0, multiple=True)) + _publication("witness", b"ping")

    def check(self) -> None:
        """Everything of others is gone, and the witness is served."""
        self._clean()
        wire = self._witness.wire
        wire.written.clear()
        self._witness.send(self._ping)
        self._pings += 1
        assert b"".join(wire.written) == self._pong(), "the witness is not served"
        assert len(self.connections) == len(self.node._connections) == 1
        assert len(self._vhost.queues["backlog"].ready) == _BACKLOG  # type: ignore[attr-defined]
        one = self._vhost.queues["witness"].unacked  # type: ignore[attr-defined]
        assert self.node.bytes_held == self._held + sum(each.message.size for each in one.values())
        assert not self.node._dirty
        assert not self.node.replies._channels

    def left(self) -> None:
        """Nothing is kept of all those who came and went."""
        assert len(self.node._due) < _TIMERS
        assert len(self._vhost.queues) == len(_OURS)
        assert self._vhost.exchanges.keys() == self._exchanges

    def _pong(self) -> bytes:
        tags = pack(">QB", self._pings, 0)
        delivered = pack(">HH", 60, 60) + b"\x01w" + tags + b"\0\x07witness"
        confirmed = pack(">HHQB", 60, 80, self._pings + _BACKLOG, 0)
        content = header(4) + body(b"ping")
        return frame(METHOD, 1, delivered) + content + frame(METHOD, 1, confirmed)

    def _clean(self) -> None:
        """Remove what others declared, as they did not."""
        for name in self._vhost.queues.keys() - _OURS:
            self._vhost.queues[name].delete()
        for name in self._vhost.exchanges.keys() - self._exchanges:
            self._vhost.delete_exchange(name, if_unused=False)
        for exchange in self._vhost.exchanges.values():
            for each in tuple(exchange.bindings):
                self._vhost.unbind(each.destination, exchange.name, each.key, each.arguments)


def _publication(queue: str, content: bytes) -> bytes:
    return sent(Basic.Publish(routing_key=queue)) + header(len(content)) + body(content)


def _witness() -> bytes:
    return (
        HANDSHAKE
        + sent(Channel.Open())
        + sent(Confirm.Select())
        + b"".join(sent(Queue.Declare(queue=name, exclusive=True)) for name in _OURS)
        + _publication("backlog", b"old") * _BACKLOG
        + sent(Basic.Qos(prefetch_count=1))
        + sent(Basic.Consume(queue="witness", consumer_tag="w"))
    )


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


@contextmanager
def errors() -> Iterator[list[str]]:
    """What the broker logs as a fault of its own; of its other words none is kept."""
    log, handler = logging.getLogger("busauth.broker"), _Errors()
    level, propagate = log.level, log.propagate
    log.setLevel(logging.ERROR)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield handler.found
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
