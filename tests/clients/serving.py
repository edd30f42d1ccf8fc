"""The brokers that clients are shown to work with, names on them, and cutting their sockets."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aiormq
from anyio.from_thread import BlockingPortal, start_blocking_portal
from yarl import URL

from busauth.testing.broker import Broker
from tests.proxy import proxied
from tests.support import amqp_url

KINDS = ("embedded", "rabbitmq")

Cut = Callable[[], None]


@dataclass
class Server:
    """A broker under test, and the names of what one test makes on it."""

    url: str
    embedded: Broker | None = None
    prefix: str = field(default_factory=lambda: f"k{uuid4().hex[:10]}")
    names: list[str] = field(default_factory=list)

    def name(self, name: str = "q") -> str:
        """A name for a queue or an exchange that is deleted after the test."""
        self.names.append(f"{self.prefix}.{name}")
        return self.names[-1]

    @property
    def wrong_password(self) -> str:
        return str(URL(self.url).with_password("wrong"))

    @property
    def wrong_vhost(self) -> str:
        return str(URL(self.url).with_path("/nowhere"))

    @asynccontextmanager
    async def cuttable(self) -> AsyncIterator[tuple[str, Cut]]:
        """A URL, and what cuts every connection that was made to it."""
        if self.embedded is not None:
            yield self.url, self.embedded.drop_connections
        else:
            async with proxied(self.url) as (proxy, url):
                yield url, proxy.cut

    async def clean(self) -> None:
        """Delete what was made."""
        connection = await aiormq.connect(self.url)
        channel = await connection.channel()
        for name in self.names:
            await channel.queue_delete(name)
            await channel.exchange_delete(name)
        await connection.close()


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[Server]:
    """Serve from this loop, or from RabbitMQ."""
    if kind == "embedded":
        async with Broker() as broker:
            yield Server(broker.url, broker)
        return
    server = Server(amqp_url())
    try:
        yield server
    finally:
        await server.clean()


@dataclass
class Remote:
    """A `Server` for clients that block: its loop is in another thread."""

    server: Server
    portal: BlockingPortal

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def wrong_password(self) -> str:
        return self.server.wrong_password

    @property
    def wrong_vhost(self) -> str:
        return self.server.wrong_vhost

    def name(self, name: str = "q") -> str:
        return self.server.name(name)

    @contextmanager
    def cuttable(self) -> Iterator[tuple[str, Cut]]:
        with self.portal.wrap_async_context_manager(self.server.cuttable()) as (url, cut):
            yield url, lambda: self.portal.call(cut)


@contextmanager
def serving_apart(kind: str) -> Iterator[Remote]:
    """Serve from a loop of its own in another thread, or from RabbitMQ."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(kind)) as server,
    ):
        yield Remote(server, portal)
