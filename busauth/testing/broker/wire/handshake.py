"""From the protocol header to connection.open-ok (AMQP 0-9-1, section 2.2.4).

A client that does not keep to it is cut off without a word, except where RabbitMQ has one: for a
wrong password, and once the client has agreed on the limits.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from pamqp.base import Frame
from pamqp.commands import Connection
from pamqp.constants import FRAME_MIN_SIZE
from pamqp.header import ProtocolHeader

from busauth.testing.broker.model import connection as model
from busauth.testing.broker.model.node import Node
from busauth.testing.broker.model.sinks import ConnectionSink
from busauth.testing.broker.model.words.errors import (
    ACCESS_REFUSED,
    CHANNEL_ERROR,
    INTERNAL_ERROR,
    AMQPError,
)
from busauth.testing.broker.wire.faults import Fault, HangUp, Ids, fault, unexpected_frame
from busauth.testing.broker.wire.framing import encoding, tables
from busauth.testing.broker.wire.zero import method_on_zero

HEADER: Final = ProtocolHeader().marshal()
_HEADERS: Final = frozenset({HEADER, b"AMQP\x01\x01\x00\x09"})
"""Of 0-9-1, and of 0-9, which is the same to a client."""

_CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
_PARTS_OF_PLAIN = 3


class _Stage(StrEnum):
    GREETING = "pre_init"
    STARTING = "starting"
    TUNING = "tuning"
    OPENING = "opening"


@dataclass
class Terms:
    """What a client and the broker agreed on.

    Attributes:
        user: who logged in.
        capabilities: what the client says it understands.
        channel_max: how many channels it may have open.
        frame_max: bytes of a frame.
        heartbeat: seconds; 0 for none.
    """

    user: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    channel_max: int = 0
    frame_max: int = FRAME_MIN_SIZE
    heartbeat: int = 0

    def understands(self, capability: str) -> bool:
        """Whether the client said so."""
        return self.capabilities.get(capability) is True


class Handshake:
    """One client's way in.

    Args:
        node: knows the users and virtual hosts.
        sink: what the node tells the connection.
        send: writes bytes.
        reply: writes a method on channel 0.
        opened: called with the node's connection once it is open.
    """

    def __init__(
        self,
        node: Node,
        sink: ConnectionSink,
        *,
        send: Callable[[bytes], None],
        reply: Callable[[Frame], None],
        opened: Callable[[model.Connection], None],
    ) -> None:
        self.terms = Terms()
        self._node = node
        self._sink = sink
        self._send, self._reply, self._opened = send, reply, opened
        self._stage = _Stage.GREETING

    def receive(self, kind: int, number: int, payload: bytes) -> None:
        """Take a frame, or the protocol header.

        Raises:
            Fault: the client is refused; `judged` says how.
            HangUp: it is cut off.
        """
        if self._stage is _Stage.GREETING:
            self._greet(payload)
            return
        if number:
            raise unexpected_frame(kind, payload)
        found = method_on_zero(kind, payload)
        if found is not None:
            self._step(*found)

    def judged(self, error: Exception) -> Exception:
        """Return a fault if the client is to hear of it, or else `HangUp`."""
        if isinstance(error, Fault):
            if error.code == ACCESS_REFUSED:
                return error
            if self._stage is _Stage.OPENING and error.code != INTERNAL_ERROR:
                return error
        return HangUp("a fault in the handshake")

    def _greet(self, header: bytes) -> None:
        if header not in _HEADERS:
            self._send(HEADER)
            raise HangUp("another protocol")
        self._send(_start())
        self._stage = _Stage.STARTING

    def _step(self, method: Frame, ids: Ids) -> None:
        if isinstance(method, Connection.StartOk) and self._stage is _Stage.STARTING:
            self._log_in(method)
        elif isinstance(method, Connection.TuneOk) and self._stage is _Stage.TUNING:
            self._tune(method)
        elif isinstance(method, Connection.Open) and self._stage is _Stage.OPENING:
            self._open(method, ids)
        else:
            text = f"unexpected method in connection state {self._stage}"
            raise fault(CHANNEL_ERROR, text, ids)

    def _log_in(self, method: Connection.StartOk) -> None:
        capabilities = (method.client_properties or {}).get("capabilities")
        self.terms.capabilities = capabilities if isinstance(capabilities, dict) else {}
        user, password = _credentials(method.mechanism, method.response)
        if not self._node.authenticates(user, password):
            if not self.terms.understands("authentication_failure_close"):
                raise HangUp("wrong password")
            text = f"Login was refused using authentication mechanism {method.mechanism}. "
            raise fault(ACCESS_REFUSED, f"{text}For details see the broker logfile.")
        self.terms.user = user
        limits = self._node.limits
        self._reply(Connection.Tune(limits.channel_max, limits.frame_max, limits.heartbeat))
        self._stage = _Stage.TUNING

    def _tune(self, method: Connection.TuneOk) -> None:
        limits = self._node.limits
        self.terms.channel_max = _agreed(method.channel_max, 1, limits.channel_max)
        self.terms.frame_max = _agreed(method.frame_max, FRAME_MIN_SIZE, limits.frame_max)
        self.terms.heartbeat = method.heartbeat
        self._stage = _Stage.OPENING

    def _open(self, method: Connection.Open, ids: Ids) -> None:
        try:
            connection = self._node.connect(self.terms.user, method.virtual_host, self._sink)
        except AMQPError as error:
            raise Fault(error.code, error.text, ids) from error
        self._opened(connection)
        self._reply(Connection.OpenOk())


def _agreed(wanted: int, lowest: int, highest: int) -> int:
    """Return a limit that the client may want; 0 would be none."""
    if not lowest <= wanted <= highest:
        raise HangUp("limits that were not offered")
    return wanted


def _credentials(mechanism: str, response: str | bytes) -> tuple[str, str]:
    """Return the user and the password; malformed ones are never told, nor logged."""
    data = response.encode("utf-8", "surrogateescape") if isinstance(response, str) else response
    if mechanism == "PLAIN":
        parts = data.split(b"\0")
        if len(parts) != _PARTS_OF_PLAIN or parts[0]:
            raise HangUp("malformed PLAIN")
        return _text(parts[1]), _text(parts[2])
    if mechanism == "AMQPLAIN":
        return _of_amqplain(data)
    raise HangUp("unknown mechanism")


def _of_amqplain(data: bytes) -> tuple[str, str]:
    try:
        fields = tables.table(data)
    except ValueError:
        raise HangUp("malformed AMQPLAIN") from None
    login, password = fields.get("LOGIN"), fields.get("PASSWORD")
    if not isinstance(login, str) or not isinstance(password, str):
        raise HangUp("AMQPLAIN without LOGIN or PASSWORD")
    return login, password


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@cache
def _start() -> bytes:
    return encoding.method(
        Connection.Start(0, 9, _server_properties(), "PLAIN AMQPLAIN", "en_US"), 0
    )


def _server_properties() -> dict[str, Any]:
    return {
        "product": "busauth embedded broker",
        "version": version("busauth"),
        "platform": f"Python {platform.python_version()}",
        "information": "in memory; for tests and demos",
        "capabilities": dict.fromkeys(_CAPABILITIES, True),
    }
