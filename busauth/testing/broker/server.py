"""An AMQP 0-9-1 broker on a TCP port of this process."""

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from busauth.testing.broker.model.limits import Limits
from busauth.testing.broker.model.node import GUEST, Node
from busauth.testing.broker.model.words.errors import CONNECTION_FORCED
from busauth.testing.broker.wire.connection import WireConnection
from busauth.testing.broker.wire.output import Batch
from busauth.testing.clock import LoopTimers, Timers
from busauth.testing.loops import HomeLoop

_SHUTDOWN: Final = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
_GRACE_SECONDS: Final = 2.0
"""How long clients may take to answer that the broker stops."""


class Broker:
    """An AMQP 0-9-1 broker in this process, in memory, for tests and demos.

    `async with Broker() as broker` starts and stops it. What it holds survives `stop` and `start`,
    as durable messages would, but not the process.

    Heartbeats and the time limit of the handshake are on the event loop's time, as they are about
    sockets: advancing a `ManualClock` by an hour costs no connection.

    Args:
        clock: what message and queue TTL stand on; None for the machine's time.
        host: the address to listen on.
        port: the port; 0 for a free one, which is kept from the first `start` on.
        users: passwords by user; `url` names the first.
        vhosts: names of virtual hosts; `url` names the first.
        limits: how much is taken in.
        stamps: whether each publication gets the header `timestamp_in_ms`, and its timestamp, from
            this broker's clock, whatever its sender wrote: RabbitMQ 3.12 and later does so with
            ``message_interceptors.incoming.set_header_timestamp.overwrite = true``.

    Attributes:
        node: the broker without its sockets.
        host: the address it listens on.
        port: the port.
    """

    def __init__(
        self,
        *,
        clock: Timers | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        users: Mapping[str, str] = GUEST,
        vhosts: Iterable[str] = ("/",),
        limits: Limits | None = None,
        stamps: bool = False,
    ) -> None:
        self.host, self.port = host, port
        self._users = dict(users)
        self._vhosts = tuple(vhosts)
        self.node = Node(
            clock or LoopTimers(),
            users=self._users,
            vhosts=self._vhosts,
            limits=limits,
            stamps=stamps,
        )
        self._home = HomeLoop("the embedded broker")
        self._batch = Batch()
        self._server: asyncio.Server | None = None
        self._connections: dict[WireConnection, None] = {}
        self._empty: asyncio.Event = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The address for clients, with the password in it.

        Raises:
            ConfigurationError: it is asked for on another event loop than the broker's, which does
                not run, so that nobody would answer there.
        """
        self._home.check()
        user, password = next(iter(self._users.items()), ("", ""))
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if self._users else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        vhost = next(iter(self._vhosts), "/")
        return f"amqp://{login}{host}:{self.port}/{'' if vhost == '/' else quote(vhost, safe='')}"

    @property
    def connections(self) -> int:
        """How many sockets are open, those in their handshake included."""
        return len(self._connections)

    def messages(self) -> int:
        """Return how many messages are ready in all queues."""
        queues = (each for vhost in self.node.vhosts.values() for each in vhost.queues.values())
        return sum(queue.messages() for queue in queues)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be listened on.
            RuntimeError: it listens already.
        """
        if self._server is not None:
            raise RuntimeError("the broker is started already")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._home.move_in()

    async def stop(self) -> None:
        """Close every connection with 320 CONNECTION_FORCED, and listen no more."""
        if self._server is None:
            return
        self._home.check()
        self._home.move_out()
        server, self._server = self._server, None
        server.close()
        with self._batch:
            for connection in list(self._connections):
                connection.closed(CONNECTION_FORCED, _SHUTDOWN)
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._until_empty()
        except TimeoutError:
            self.drop_connections()
            await self._until_empty()
        await server.wait_closed()

    def drop_connections(self) -> None:
        """Cut every client's socket without a word, as a broken network would."""
        connections = list(self._connections)
        with self._batch:
            for connection in connections:
                connection.cut()
            for connection in connections:
                connection.leave()
            self.node.pump()

    def _accept(self) -> WireConnection:
        return WireConnection(self.node, self._batch, self._came, self._gone)

    def _came(self, connection: WireConnection) -> None:
        if self._server is None:
            connection.cut()  # it was accepted while the broker stopped
        else:
            self._connections[connection] = None

    def _gone(self, connection: WireConnection) -> None:
        self._connections.pop(connection, None)
        if not self._connections:
            self._empty.set()

    async def _until_empty(self) -> None:
        self._empty.clear()
        if self._connections:
            await self._empty.wait()
