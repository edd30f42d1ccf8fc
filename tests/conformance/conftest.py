"""Each case runs against the embedded broker and against RabbitMQ.

`@versions("3.10 - 4.3")` names the RabbitMQ versions whose behaviour a case states. A server
outside of them is not held to it, and the case is reported as not run there. Cases about versions
that the embedded broker does not imitate are not chosen for it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from pamqp.commands import Basic, Exchange, Queue

from busauth.testing.broker import Broker
from tests.conformance.client import Closed, RawChannel, RawConnection
from tests.conformance.versions import Version, covers, means_embedded, version_of
from tests.support import amqp_url


@dataclass
class Server:
    """A broker under test, and what one case made on it."""

    name: str
    url: str
    prefix: str = field(default_factory=lambda: f"c{uuid4().hex[:10]}")
    queues: list[str] = field(default_factory=list)
    exchanges: list[str] = field(default_factory=list)
    connections: list[RawConnection] = field(default_factory=list)

    async def connect(self, url: str | None = None, **options: object) -> RawConnection:
        """Open a further connection, closed after the case."""
        connection = RawConnection(url or self.url, **options)  # type: ignore[arg-type]
        self.connections.append(connection)
        return await connection.__aenter__()

    def queue_name(self, name: str = "q") -> str:
        """A name for a queue that is deleted after the case."""
        self.queues.append(f"{self.prefix}.{name}")
        return self.queues[-1]

    def exchange_name(self, name: str = "x") -> str:
        """A name for an exchange that is deleted after the case."""
        self.exchanges.append(f"{self.prefix}.{name}")
        return self.exchanges[-1]

    async def queue(self, channel: RawChannel, name: str = "q", **arguments: object) -> str:
        """Declare a queue: keywords of queue.declare, and its `arguments`."""
        queue = self.queue_name(name)
        await channel.call(Queue.Declare(queue=queue, **arguments))  # type: ignore[arg-type]
        return queue

    async def exchange(
        self, channel: RawChannel, kind: str = "direct", name: str = "x", **arguments: object
    ) -> str:
        """Declare an exchange."""
        exchange = self.exchange_name(name)
        await channel.call(
            Exchange.Declare(exchange=exchange, exchange_type=kind, **arguments)  # type: ignore[arg-type]
        )
        return exchange

    async def count(self, channel: RawChannel, queue: str) -> int:
        """How many messages are ready."""
        reply = await channel.call(Queue.Declare(queue=queue, passive=True))
        return int(reply.message_count)

    async def clean(self) -> None:
        """Close what is open and delete what was made."""
        for connection in self.connections:
            await connection.__aexit__(None, None, None)
        async with RawConnection(self.url) as connection:
            for queue in self.queues:
                channel = await connection.channel()
                await _ignoring(channel, Queue.Delete(queue=queue))
            for exchange in self.exchanges:
                channel = await connection.channel()
                await _ignoring(channel, Exchange.Delete(exchange=exchange))


async def _ignoring(channel: RawChannel, method: Queue.Delete | Exchange.Delete) -> None:
    with suppress(Closed):
        await channel.call(method)


_VERSION = pytest.StashKey[Version]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rabbitmq_versions(first, last): see versions.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the embedded broker does not imitate."""
    others = [item for item in items if _is_embedded_otherwise(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


def _is_embedded_otherwise(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("rabbitmq_versions")
    callspec = getattr(item, "callspec", None)
    if marker is None or callspec is None or callspec.params.get("server") != "embedded":
        return False
    return not means_embedded(marker)


@pytest.fixture(params=["embedded", "rabbitmq"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """The broker under test; the embedded one is made anew for each case."""
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            url = (await stack.enter_async_context(Broker())).url
        else:
            url = amqp_url()
            await _only_where_stated(request, url)
        server = Server(request.param, url)
        stack.push_async_callback(server.clean)
        yield server


async def _only_where_stated(request: pytest.FixtureRequest, url: str) -> None:
    marker = request.node.get_closest_marker("rabbitmq_versions")
    assert marker, "a case names the RabbitMQ versions whose behaviour it states"
    if _VERSION not in request.config.stash:
        request.config.stash[_VERSION] = await version_of(url)
    found = request.config.stash[_VERSION]
    if not covers(marker, found):
        pytest.skip(f"not run: states another version than RabbitMQ {found[0]}.{found[1]}")


@pytest.fixture
async def connection(server: Server) -> RawConnection:
    return await server.connect()


@pytest.fixture
async def channel(connection: RawConnection) -> RawChannel:
    return await connection.channel()


__all__ = ["Basic", "Server"]
