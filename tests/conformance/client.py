"""A bare AMQP 0-9-1 client that adds nothing to the protocol: cases see the broker alone."""

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar
from urllib.parse import unquote, urlsplit

import pamqp.frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Connection
from pamqp.constants import FRAME_HEADER
from pamqp.header import ContentHeader, ProtocolHeader
from pamqp.heartbeat import Heartbeat

SECONDS = 10.0
CAPABILITIES = {
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
}


class Closed(Exception):  # noqa: N818 - what happened, not always an error
    """The broker closed a channel or the whole connection, or hung up."""

    def __init__(self, code: int, text: str, method: tuple[int, int] = (0, 0)) -> None:
        super().__init__(f"{code} {text} {method}")
        self.code = code
        self.text = text
        self.method = method


class ChannelClosed(Closed):
    """channel.close"""


class ConnectionClosed(Closed):
    """connection.close; code 0 when the broker hung up without a word."""


@dataclass(frozen=True)
class Content:
    """A method that carries content: basic.deliver, basic.return or basic.get-ok."""

    method: Any
    properties: Basic.Properties
    body: bytes

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.headers or {})


T = TypeVar("T")


@dataclass
class _Mailbox(Generic[T]):
    """What has come and was not asked for yet; raises the channel's end once it is empty."""

    items: deque[T] = field(default_factory=deque)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    error: Closed | None = None

    def put(self, item: T) -> None:
        self.items.append(item)
        self.changed.set()

    def fail(self, error: Closed) -> None:
        self.error = self.error or error
        self.changed.set()

    async def get(self, seconds: float = SECONDS) -> T:
        async with asyncio.timeout(seconds):
            while not self.items:
                if self.error:
                    raise self.error
                self.changed.clear()
                await self.changed.wait()
        return self.items.popleft()


class RawChannel:
    """One channel of a `RawConnection`."""

    def __init__(self, connection: "RawConnection", number: int) -> None:
        self.connection = connection
        self.number = number
        self.replies: _Mailbox[Any] = _Mailbox()
        self.deliveries: _Mailbox[Content] = _Mailbox()
        self.returns: _Mailbox[Content] = _Mailbox()
        self.confirms: _Mailbox[Basic.Ack | Basic.Nack] = _Mailbox()
        self.cancels: _Mailbox[Basic.Cancel] = _Mailbox()
        self._pending: tuple[Any, Basic.Properties, int, bytearray] | None = None

    def send(self, frame: Any) -> None:
        """Write a frame and wait for nothing."""
        self.connection.write(pamqp.frame.marshal(frame, self.number))

    async def call(self, method: Frame, seconds: float = SECONDS) -> Any:
        """Send a method and return the next reply; raises how the broker closed instead."""
        self.send(method)
        return await self.replies.get(seconds)

    async def get(self, queue: str, *, no_ack: bool = False) -> Content | None:
        """basic.get: the message, or None for get-empty."""
        reply = await self.call(Basic.Get(queue=queue, no_ack=no_ack))
        return reply if isinstance(reply, Content) else None

    def publish(
        self,
        body: bytes = b"x",
        routing_key: str = "",
        exchange: str = "",
        *,
        mandatory: bool = False,
        immediate: bool = False,
        properties: Basic.Properties | None = None,
        **values: Any,
    ) -> None:
        """basic.publish with its content, in one write."""
        frames: list[Any] = [
            Basic.Publish(
                exchange=exchange,
                routing_key=routing_key,
                mandatory=mandatory,
                immediate=immediate,
            ),
            ContentHeader(body_size=len(body), properties=properties or Basic.Properties(**values)),
        ]
        size = self.connection.frame_max - 8
        frames += [ContentBody(body[at : at + size]) for at in range(0, len(body), size)]
        self.connection.write(b"".join(pamqp.frame.marshal(f, self.number) for f in frames))

    async def closed(self, seconds: float = SECONDS) -> Closed:
        """Wait until the broker closes this channel (or its connection) and return how."""
        try:
            reply = await self.replies.get(seconds)
        except Closed as error:
            return error
        raise AssertionError(f"expected a close, got {reply}")

    def fail(self, error: Closed) -> None:
        for box in (self.replies, self.deliveries, self.returns, self.confirms, self.cancels):
            box.fail(error)

    def receive(self, frame: Any) -> None:
        if isinstance(frame, ContentHeader):
            assert self._pending is not None
            method = self._pending[0]
            self._pending = (method, frame.properties, frame.body_size, bytearray())
            self._complete()
        elif isinstance(frame, ContentBody):
            assert self._pending is not None
            self._pending[3].extend(frame.value or b"")
            self._complete()
        elif isinstance(frame, (Basic.Deliver, Basic.Return, Basic.GetOk)):
            self._pending = (frame, Basic.Properties(), -1, bytearray())
        elif isinstance(frame, Channel.Close):
            self.send(Channel.CloseOk())
            self.fail(ChannelClosed(*_told(frame)))
            self.connection.channels.pop(self.number, None)
        elif isinstance(frame, (Basic.Ack, Basic.Nack)):
            self.confirms.put(frame)
        elif isinstance(frame, Basic.Cancel):
            self.cancels.put(frame)
        else:
            self.replies.put(frame)

    def _complete(self) -> None:
        assert self._pending is not None
        method, properties, size, body = self._pending
        if len(body) < size:
            return
        self._pending = None
        content = Content(method, properties, bytes(body))
        if isinstance(method, Basic.Deliver):
            self.deliveries.put(content)
        elif isinstance(method, Basic.Return):
            self.returns.put(content)
        else:
            self.replies.put(content)


class RawConnection:
    """A connection: `async with RawConnection(url) as connection`, or step by step.

    Args:
        url: amqp://user:password@host:port/vhost
        capabilities: client-properties.capabilities
        heartbeat: seconds, answered to connection.tune; 0 for none
    """

    def __init__(
        self, url: str, *, capabilities: dict[str, bool] | None = None, heartbeat: int = 0
    ) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 5672
        self.user, self.password = unquote(parts.username or ""), unquote(parts.password or "")
        self.vhost = unquote(parts.path[1:]) or "/"
        self.capabilities = CAPABILITIES if capabilities is None else capabilities
        self.heartbeat = heartbeat
        self.frame_max = 131072
        self.channels: dict[int, RawChannel] = {}
        self.replies: _Mailbox[Any] = _Mailbox()
        self.blocked: _Mailbox[Any] = _Mailbox()
        self.heartbeats = 0
        self.server_properties: dict[str, Any] = {}
        self.content_headers: deque[bytes] = deque(maxlen=64)  # as they came, for their types
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        await self.login()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task and not self._task.done():
            self.write(pamqp.frame.marshal(Connection.Close(200, "bye", 0, 0), 0))
            await asyncio.wait([self._task], timeout=SECONDS)
        await self.hang_up()

    async def connect(self, *, header: bytes | None = None) -> None:
        """Open the socket and send the protocol header."""
        self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        self._task = asyncio.create_task(self._read())
        self.write(ProtocolHeader().marshal() if header is None else header)

    async def login(self, *, mechanism: str = "PLAIN", response: str | None = None) -> None:
        """The handshake up to connection.open-ok."""
        start = await self.replies.get()
        self.server_properties = start.server_properties
        plain = f"\0{self.user}\0{self.password}" if response is None else response
        client: dict[str, Any] = {"capabilities": self.capabilities}
        await self.call(
            Connection.StartOk(
                client_properties=client, mechanism=mechanism, response=plain, locale="en_US"
            )
        )
        self.write(pamqp.frame.marshal(Connection.TuneOk(2047, self.frame_max, self.heartbeat), 0))
        await self.call(Connection.Open(virtual_host=self.vhost))

    async def hang_up(self) -> None:
        """Cut the socket without a word."""
        if self._writer:
            self._writer.close()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        assert self._writer is not None
        self._writer.write(data)

    async def call(self, method: Frame, seconds: float = SECONDS) -> Any:
        """Send a method on channel 0 and return the next reply."""
        self.write(pamqp.frame.marshal(method, 0))
        return await self.replies.get(seconds)

    async def channel(self, number: int | None = None) -> RawChannel:
        """Open a channel."""
        number = number or max(self.channels, default=0) + 1
        channel = self.channels[number] = RawChannel(self, number)
        await channel.call(Channel.Open())
        return channel

    async def closed(self, seconds: float = SECONDS) -> Closed:
        """Wait until the broker closes this connection and return how."""
        try:
            reply = await self.replies.get(seconds)
        except Closed as error:
            return error
        raise AssertionError(f"expected a close, got {reply}")

    async def _read(self) -> None:
        assert self._reader is not None
        try:
            while True:
                head = await self._reader.readexactly(7)
                if head[:4] == b"AMQP":
                    raise ConnectionClosed(0, f"protocol header {head!r}")
                size = int.from_bytes(head[3:7], "big")
                data = head + await self._reader.readexactly(size + 1)
                if data[0] == FRAME_HEADER:
                    self.content_headers.append(data[7:-1])
                _, number, frame = pamqp.frame.unmarshal(data)
                self._receive(number, frame)
        except (OSError, asyncio.IncompleteReadError):
            self._fail(ConnectionClosed(0, "hung up"))
        except Closed as error:
            self._fail(error)

    def _receive(self, number: int, frame: Any) -> None:
        if isinstance(frame, Heartbeat):
            self.heartbeats += 1
        elif number:
            if number in self.channels:
                self.channels[number].receive(frame)
        elif isinstance(frame, Connection.Close):
            self.write(pamqp.frame.marshal(Connection.CloseOk(), 0))
            raise ConnectionClosed(*_told(frame))
        elif isinstance(frame, (Connection.Blocked, Connection.Unblocked)):
            self.blocked.put(frame)
        elif isinstance(frame, Connection.CloseOk):
            raise ConnectionClosed(200, "closed on request")
        else:
            self.replies.put(frame)

    def _fail(self, error: Closed) -> None:
        self.replies.fail(error)
        self.blocked.fail(error)
        for channel in self.channels.values():
            channel.fail(error)


def _told(close: Channel.Close | Connection.Close) -> tuple[int, str, tuple[int, int]]:
    """What a close says: the code, the text, and the class and the method that failed."""
    method = (close.class_id or 0, close.method_id or 0)
    return close.reply_code or 0, close.reply_text or "", method


def matching(text: str) -> re.Pattern[str]:
    """A close text with `*` for what differs from run to run."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")) + r"\Z", re.DOTALL)
