"""Heartbeats: clients that send them are kept, one that falls silent is not."""

import asyncio
import threading
from collections.abc import Callable

import aio_pika
import aiormq
import pika  # type: ignore[import-untyped]
import pytest
from kombu.connection import Connection
from yarl import URL

from tests.clients.serving import Server
from tests.clients.test_pika_asyncio import Callbacks
from tests.conformance.client import ConnectionClosed, RawConnection

SECONDS = 20


def of_pika(url: str, over: threading.Event) -> bool:
    """Be idle in pika's own loop."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    while not over.is_set():
        connection.process_data_events(0.1)
    connection.channel().queue_declare("", exclusive=True)
    connection.close()
    return True


def of_kombu(url: str, over: threading.Event) -> bool:
    """Be idle as kombu wants it done: with a check now and then."""
    with Connection(url, heartbeat=1) as connection:  # type: ignore[no-untyped-call]
        connection.connect()
        while not over.is_set():
            try:
                connection.drain_events(timeout=0.1)
            except TimeoutError:
                connection.heartbeat_check()
        connection.channel().queue_declare("", exclusive=True)
    return True


async def until_cut(silent: RawConnection) -> None:
    """Say nothing until the broker has had enough."""
    with pytest.raises(ConnectionClosed) as closed:
        await silent.replies.get(seconds=SECONDS)
    assert closed.value.code == 0
    assert silent.heartbeats


@pytest.mark.long
async def test_silence(server: Server) -> None:
    """A silent client is cut off though it got heartbeats; every other kind of client is kept."""
    url, over = str(URL(server.url).with_query(heartbeat=1)), threading.Event()
    threads: tuple[Callable[[str, threading.Event], bool], ...] = (of_pika, of_kombu)
    with_adapter = Callbacks(url)
    await with_adapter.opened()
    async with (
        await aiormq.connect(url) as below,
        await aio_pika.connect(url) as plain,
        await aio_pika.connect_robust(url) as robust,
        RawConnection(server.url, heartbeat=1) as silent,
    ):
        blocking = [asyncio.create_task(asyncio.to_thread(each, url, over)) for each in threads]
        try:
            await until_cut(silent)
        finally:
            over.set()
        assert await asyncio.gather(*blocking) == [True, True]
        for connection in (below, plain, robust):
            await connection.channel()
        await with_adapter.channel()
        with_adapter.connection.close()
        await with_adapter.closed
