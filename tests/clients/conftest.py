"""Each test runs against the embedded broker and against RabbitMQ."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.clients.serving import KINDS, Remote, Server, serving, serving_apart


@pytest.fixture(params=KINDS)
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
    with serving_apart(kind) as remote:
        yield remote
