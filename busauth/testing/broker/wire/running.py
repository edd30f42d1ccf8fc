"""An open connection: each frame to its channel, and channel 0."""

from collections.abc import Callable
from typing import Final

from pamqp.base import Frame
from pamqp.commands import Connection

from busauth.testing.broker.model.words.errors import CHANNEL_ERROR, NOT_ALLOWED
from busauth.testing.broker.wire.channel import Line, WireChannel
from busauth.testing.broker.wire.faults import fault
from busauth.testing.broker.wire.framing.content import check_frame
from busauth.testing.broker.wire.zero import method_on_zero

_UNEXPECTED: Final = "unexpected method in connection state running"


class Running:
    """What a client does once its connection is open.

    Args:
        line: what the channels share.
        channel_max: how many of them there may be, whatever their numbers.
        reply: writes a method on channel 0.
        closed: called when the client closes the connection.
    """

    def __init__(
        self,
        line: Line,
        channel_max: int,
        *,
        reply: Callable[[Frame], None],
        closed: Callable[[], None],
    ) -> None:
        self._channels: dict[int, WireChannel] = {}
        self._line = line
        self._channel_max = channel_max
        self._reply, self._closed = reply, closed

    def receive(self, kind: int, number: int, payload: bytes) -> None:
        """Take a frame.

        Raises:
            Fault: the connection has to be closed.
            HangUp: it has to be cut.
        """
        channel = self._channels.get(number)
        if channel is None:
            if not number:
                self._on_zero(kind, payload)
                return
            channel = self._new(number, kind, payload)
        channel.receive(kind, payload)

    def _on_zero(self, kind: int, payload: bytes) -> None:
        found = method_on_zero(kind, payload)
        if found is None:
            return
        method, ids = found
        if isinstance(method, Connection.Close):
            self._closed()
        elif isinstance(method, Connection.UpdateSecret):
            self._reply(Connection.UpdateSecretOk())
        else:
            raise fault(CHANNEL_ERROR, _UNEXPECTED, ids)

    def _new(self, number: int, kind: int, payload: bytes) -> WireChannel:
        """Begin a channel with whatever comes first on it."""
        check_frame(kind, payload)
        count, most = len(self._channels), self._channel_max
        if count >= most:
            text = f"number of channels opened ({count}) has reached the negotiated channel_max "
            raise fault(NOT_ALLOWED, f"{text}({most})")
        channel = self._channels[number] = WireChannel(number, self._line, self._channels.pop)
        return channel
