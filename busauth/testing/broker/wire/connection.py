"""One client's connection: bytes in, frames to their channels, and how it ends."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, cast

from pamqp.base import Frame
from pamqp.commands import Connection
from pamqp.constants import FRAME_METHOD

from busauth.testing.broker.model import connection as model
from busauth.testing.broker.model.node import Node
from busauth.testing.broker.wire.channel import Line
from busauth.testing.broker.wire.faults import Fault, HangUp, internal
from busauth.testing.broker.wire.framing import encoding
from busauth.testing.broker.wire.framing.decoding import ids_of
from busauth.testing.broker.wire.framing.frames import FrameReader
from busauth.testing.broker.wire.handshake import Handshake
from busauth.testing.broker.wire.heartbeats import Heartbeats
from busauth.testing.broker.wire.log import LOG, tell
from busauth.testing.broker.wire.output import Batch, Output
from busauth.testing.broker.wire.running import Running
from busauth.testing.broker.wire.throttle import Throttle

HANDSHAKE_SECONDS: Final = 10.0
"""How long a client may take to open its connection."""

_FLUSHING_SECONDS: Final = 3.0
"""How long a client that is not read any more may take to read what it was sent."""

_CLOSING_SECONDS: Final = 30.0
"""How long a client may take to close the socket, or to answer connection.close; no longer than its
heartbeats' interval."""

_BACKLOG: Final = 16 * 2**20
"""Bytes that wait for a client that does not read, from which on its requests wait, too."""
_NOT_READ = "backlog"

_Frame = tuple[int, int, bytes]
_CLOSE, _CLOSE_OK = (10, 50), (10, 51)


class WireConnection(asyncio.Protocol):
    """The broker's end of a client's socket; also the model's `ConnectionSink`.

    Its time limits are about sockets, and so on the event loop's time, never on the model's clock:
    a test that lets an hour pass keeps its connections.

    Args:
        node: the model.
        batch: shared by all connections, so that what one brings about for another is written in
            the same turn of the loop.
        came: called once the socket is open.
        gone: called once it is closed.
    """

    output: Output
    _transport: asyncio.Transport
    _throttle: Throttle
    _timer: asyncio.TimerHandle

    def __init__(
        self,
        node: Node,
        batch: Batch,
        came: Callable[["WireConnection"], None],
        gone: Callable[["WireConnection"], None],
    ) -> None:
        self.heard = False
        self._node = node
        self._batch = batch
        self._came, self._gone = came, gone
        self._reader = FrameReader()
        self._unread: deque[Iterator[_Frame]] = deque()
        self._handshake = Handshake(
            node, self, send=self._send, reply=self._reply, opened=self._opened
        )
        self._receive = self._handshake.receive
        self._model: model.Connection | None = None
        self._heartbeats: Heartbeats | None = None
        self._ending = False

    # --- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the protocol header."""
        self._transport = cast("asyncio.Transport", transport)
        self.output = Output(self._transport, self._batch, self._proceed, self._overflow)
        self._throttle = Throttle(self._transport, self._reply)
        self._cut_in(HANDSHAKE_SECONDS)
        self._came(self)

    def data_received(self, data: bytes) -> None:
        """Do what the frames ask for."""
        self.heard = True
        self._unread.append(self._reader.feed(data))
        self._work()

    def _work(self) -> None:
        """Do what frames ask for, then deliver what they made possible, then write it all."""
        with self._batch:
            while self._unread and not self._throttle.holds(_NOT_READ):
                if self._serve(self._unread[0]):
                    self._unread.popleft()
            self.pump()

    def _serve(self, frames: Iterator[_Frame]) -> bool:
        """Whether all was done; the rest waits while too much waits for the client."""
        output = self.output
        try:
            for kind, number, payload in frames:
                try:
                    self._receive(kind, number, payload)
                except Exception as error:
                    self._fail(error)
                if output.spent > _BACKLOG:
                    self._throttle.hold(_NOT_READ)
                    return False
        except Exception as error:
            self._fail(error)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: its exclusive queues go, its messages come back."""
        del exc
        self._timer.cancel()
        self.output.close()
        self._unread.clear()
        with self._batch:
            self.leave()
            self.pump()
        self._gone(self)

    def pause_writing(self) -> None:
        """The client does not read: hold its deliveries back."""
        self.output.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        self.output.resume()

    # --- frames ---------------------------------------------------------------------------------

    def _opened(self, connection: model.Connection) -> None:
        self._timer.cancel()
        terms = self._handshake.terms
        self._reader.frame_max = terms.frame_max
        self._throttle.tells = terms.understands("connection.blocked")
        line = Line(
            connection,
            self.output,
            self._throttle,
            terms.frame_max,
            self._node.limits.max_message,
            terms.understands("consumer_cancel_notify"),
        )
        running = Running(line, terms.channel_max, reply=self._reply, closed=self._closed_by_client)
        self._model, self._receive = connection, running.receive
        self._heartbeats = Heartbeats(self, terms.heartbeat)
        LOG.info("%s logged in", terms.user)

    def _closed_by_client(self) -> None:
        self.leave()
        self._reply(Connection.CloseOk())
        self._linger()

    def _drain(self, kind: int, number: int, payload: bytes) -> None:
        """Ignore everything until close-ok."""
        if number or kind != FRAME_METHOD:
            return
        if ids_of(payload) == _CLOSE_OK:
            self._hang_up()
        elif ids_of(payload) == _CLOSE:
            self._reply(Connection.CloseOk())

    # --- output ---------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self.output.write(data)

    def _reply(self, method: Frame) -> None:
        self.output.write(encoding.method(method, 0))

    def _proceed(self) -> None:
        """There is room for further deliveries, and for further answers."""
        if not self.output.paused:
            self._throttle.release(_NOT_READ)
        if self._model is not None:
            self._model.writable()
        self._work()

    def _overflow(self, size: int) -> None:
        if size > max(self._node.limits.memory, self._node.limits.max_message + _BACKLOG):
            LOG.warning("a client is cut off: it does not read what it is sent")
            self.cut()
        elif size > _BACKLOG:
            self._throttle.hold(_NOT_READ)

    def pump(self) -> None:
        """Deliver what can be delivered, to whomever; a fault in it is none of this client's."""
        try:
            self._node.pump()
        except Exception as error:
            tell(error)

    # --- the model's ConnectionSink -------------------------------------------------------------

    def blocked(self, reason: str) -> None:
        """Stop reading once the client publishes."""
        self._throttle.reason = reason

    def unblocked(self) -> None:
        """Read again."""
        self._throttle.unblock()

    def closed(self, code: int, text: str) -> None:
        """Close by the broker's own decision."""
        if self._model is None:
            self._hang_up()
        elif not self._ending:
            self._refuse(Fault(code, text))

    # --- ends -----------------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """Whether the client is read from."""
        return self._throttle.reading

    def leave(self) -> None:
        """Close the model's half, if it is open."""
        connection, self._model = self._model, None
        if self._heartbeats is not None:
            self._heartbeats.stop()
        if connection is not None:
            try:
                connection.close()
            except Exception as error:
                tell(error)

    def cut(self) -> None:
        """Close the socket at once; what was not sent yet is lost."""
        self._reader.closed = True
        self.output.close()
        self._transport.abort()

    def _cut_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.cut)

    def _hang_up(self) -> None:
        """Close the socket once everything is sent."""
        self._read_no_more()
        self.output.flush()
        self._transport.close()

    def _linger(self) -> None:
        """Leave it to the client to close the socket, for a while, and discard what it sends.

        A socket that is closed at once is reset by what the client had sent already, and the answer
        to its close is lost.
        """
        self._ending = True
        self._receive = self._drain
        self._throttle.end()
        self._timer.cancel()
        self._cut_in(min(self._handshake.terms.heartbeat or _CLOSING_SECONDS, _CLOSING_SECONDS))

    def _read_no_more(self) -> None:
        """Nothing that the client sends means anything now: be gone soon."""
        self._reader.closed = True
        self._timer.cancel()
        self._cut_in(_FLUSHING_SECONDS)

    def _fail(self, error: Exception) -> None:
        if self._ending:
            self._read_no_more()
            return
        if not isinstance(error, Fault | HangUp):
            tell(error)
            error = internal()
        if self._model is None:
            error = self._handshake.judged(error)
        if isinstance(error, Fault):
            self._refuse(error)
        else:
            LOG.warning("a client is cut off: %s", error)
            self.leave()
            self._hang_up()

    def _refuse(self, error: Fault) -> None:
        """Send connection.close, and wait for close-ok."""
        LOG.warning("a connection is closed: %d after method %s", error.code, error.ids)
        self.output.gather()
        self.leave()
        kind = Connection.Close
        self._send(encoding.close(kind, 0, error.code, error.text, error.ids))
        self._linger()
        if error.out_of_step:
            self._read_no_more()
