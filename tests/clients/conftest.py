"""Each test runs against the embedded broker and against RabbitMQ."""

from collections.abc import AsyncIterator, Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from tests.clients.serving import Remote, Server, serving


@pytest.fixture(params=["embedded", "rabbitmq"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(kind: str) -> AsyncIterator[Server]:
    """The broker under test; the embedded one shares the client's loop."""
    async with serving(kind) as server:
        yield server


@pytest.fixture
def remote(kind: str) -> Iterator[Remote]:
    """The broker under test; the embedded one has a loop and a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(kind)) as server,
    ):
        yield Remote(server, portal)
