"""A broker that says no more: every call that waits for it ends, and says why."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from busauth import Bus, Caller, PublishError
from busauth._amqp.connecting import patience
from busauth._amqp.connecting.patience import leaving
from busauth._amqp.consuming import intake
from busauth._amqp.feed import FeedPublisher
from busauth._amqp.resending.again import Sending
from busauth.audit import EventKind
from busauth.letters import dead_letters
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from tests.support import Trail, guard_for

SOON = 0.2
FRAMES = range(12)
"""How many of a broker's frames arrive; all calls need more."""


class Mute:
    """Passes all on to a broker, and so many frames of each connection back."""

    def __init__(self, url: str, frames: int) -> None:
        self._target, self._frames = URL(url), frames
        self._open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(self._target.host, self._target.port)
        self._open += [writer, forth]
        await asyncio.gather(self._forth(reader, forth), self._back(back, writer))

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        self.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self._frames):
            try:
                head = await reader.readexactly(7)
                rest = await reader.readexactly(int.from_bytes(head[3:]) + 1)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            writer.write(head + rest)

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def muted(url: str, frames: int) -> AsyncIterator[str]:
    """Return the URL of a broker that falls silent."""
    mute = Mute(url, frames)
    server = await asyncio.start_server(mute.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield str(URL(url).with_host("127.0.0.1").with_port(port) % {"connection_timeout": "200"})
        mute.close()
        await asyncio.sleep(0.01)


def declaring(url: str, issuer: Issuer, trail: Trail) -> Awaitable[object]:
    bus = Bus(url, guard=guard_for(issuer, trail), service="one")

    @bus.consumer("q")
    async def place(caller: Caller) -> None: ...

    return bus.declare()


def looking(url: str, issuer: Issuer, trail: Trail) -> Awaitable[object]:
    return dead_letters(url, "q.dead")


def sending(url: str, issuer: Issuer, trail: Trail) -> Awaitable[object]:
    async def renew(message: AbstractIncomingMessage, limit: int) -> None: ...

    again = Sending(
        url=url, guard=guard_for(issuer, trail), queue="q", source="q.dead", told=EventKind.REDRIVEN
    )
    return again.run(renew)


async def opening(url: str, issuer: Issuer, trail: Trail) -> None:
    async with FeedPublisher(url, timeout=SOON):
        pass


async def telling(url: str, issuer: Issuer, trail: Trail) -> None:
    async with leaving(FeedPublisher(url, timeout=SOON)) as feed:
        await feed.publish("a.b.c")


@pytest.mark.parametrize("call", [declaring, looking, sending, opening, telling])
async def test_no_call_waits_for_ever(
    call: Callable[[str, Issuer, Trail], Awaitable[object]],
    issuer: Issuer,
    trail: Trail,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whatever frame the broker falls silent, a call ends with a documented error."""
    for waiting in (patience.answered, patience.closed):
        monkeypatch.setattr(waiting, "__defaults__", (SOON,))
    monkeypatch.setattr(intake, "_DECLARING", SOON)
    async with EmbeddedBroker() as broker:
        await declaring(broker.url, issuer, trail)

        async def told(frames: int) -> object:
            async with muted(broker.url, frames) as url:
                try:
                    async with asyncio.timeout(4):
                        return await call(url, issuer, trail)
                except (ConnectionError, PublishError) as error:
                    return error

        outcomes = await asyncio.gather(*map(told, FRAMES))
    assert all(isinstance(each, Exception | None) or each == [] for each in outcomes), outcomes
    assert any(isinstance(each, Exception) and "no answer" in str(each) for each in outcomes)


async def test_one_attempt_is_shared() -> None:
    """Several who publish while the broker is out of reach wait for one attempt, in their time."""
    async with EmbeddedBroker() as broker, muted(broker.url, 0) as url:
        feed = FeedPublisher(url, timeout=SOON)
        began = asyncio.get_running_loop().time()
        told = await asyncio.gather(
            *(feed.publish("a.b.c") for _ in range(6)), return_exceptions=True
        )
        assert asyncio.get_running_loop().time() - began < 2 * SOON
    assert {type(each) for each in told} == {PublishError}


async def test_a_publisher_of_events_that_is_closed_while_it_connects() -> None:
    """Who waits is told, nothing stays connected, and the next one connects."""
    async with EmbeddedBroker() as broker:
        async with muted(broker.url, 1) as url:
            feed = FeedPublisher(url, timeout=20)
            opens = asyncio.create_task(feed.open())
            await asyncio.sleep(0.05)
            await feed.close()
            with pytest.raises(PublishError, match="while it was being opened"):
                await opens
        async with asyncio.timeout(5), FeedPublisher(broker.url) as feed:
            await feed.publish("a.b.c")
