"""The same faulty bytes, on sockets, to the embedded broker and to RabbitMQ: the same end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from struct import pack
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest
from pamqp.commands import Channel, Connection, Exchange, Queue

from busauth.testing.broker import Broker
from tests.broker import mutations as kinds
from tests.broker.fuzzing import HUNG_UP, START_OK, End, methods
from tests.broker.mutations import Case, Mutation
from tests.broker.sequences import Step, drawn, encoded, end_of
from tests.conformance.client import CAPABILITIES, RawConnection
from tests.conformance.frames import sent

_EACH = 10
_AT_ONCE = 40
_SECONDS = 10.0
_CLOSED = [
    *(kinds.wrong_end, kinds.too_large, kinds.unknown_frame, kinds.no_header, kinds.no_body),
    *(kinds.short_header, kinds.stray_content, kinds.bad_properties, kinds.unknown_method),
    *(kinds.cut_arguments, kinds.closed_channel, kinds.second_open, kinds.from_server),
    *(kinds.not_implemented, kinds.bad_table, kinds.other_protocol, kinds.out_of_order),
    *(kinds.login, kinds.vhost, kinds.tuning),
]
_OPEN = [kinds.refused, kinds.deep]
_SILENT = End(-1)
"""Nothing was said, and the socket stayed open."""

_CLOSE_OK = sent(Connection.CloseOk(), channel=0)
_LAST = 99
_ASK = sent(Channel.Open(), channel=_LAST)
_OPEN_OK = pack(">HH", 20, 11)


class Server:
    """A broker, and names that nobody else uses there."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url, self.host, self.port = url, parts.hostname, parts.port
        login = f"\0{unquote(parts.username or '')}\0{unquote(parts.password or '')}"
        client: dict[str, Any] = {"capabilities": CAPABILITIES}
        self._start_ok = sent(Connection.StartOk(client, "PLAIN", login), channel=0)
        self._theirs = uuid4().hex[: len("backlog")]
        self.names: list[str] = []

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Somebody else has a queue, and everything is deleted at the end."""
        async with RawConnection(self.url) as owner:
            channel = await owner.channel()
            await channel.call(Queue.Declare(queue=self._theirs, exclusive=True))
            yield
            for name in self.names:
                await channel.call(Exchange.Delete(exchange=name))
                await channel.call(Queue.Delete(queue=name))

    def _renamed(self, data: bytes) -> bytes:
        """Names of the same length, so that the frames stay as broken as they were."""
        for ours, name in ((b"mine", self.names[-1]), (b"backlog", self._theirs)):
            data = data.replace(ours, name.encode())
        return data.replace(START_OK, self._start_ok)

    async def end_of(self, case: Case) -> End:
        """Send an input, and read until the broker ends the connection, or goes on with it."""
        self.names.append(uuid4().hex[: len("mine")])
        data = self._renamed(case.before + case.data)
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(data + _ASK * (None in case.codes))
        try:
            async with asyncio.timeout(_SECONDS):
                return await _read(reader, writer, len(case.channels or ()))
        except TimeoutError:
            return _SILENT
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channels: int) -> End:
    """Read until the connection ends, or has gone on after so many channels were closed."""
    data = b""
    while True:
        try:
            more = await reader.read(2**16)
        except ConnectionError:
            more = b""
        data += more
        end = End.told(data, None)
        if not more:
            return End.told(data, HUNG_UP)
        opened = any(
            payload[:4] == _OPEN_OK for number, payload in methods(data) if number == _LAST
        )
        if opened and len(end.channels) >= channels:
            return end
        if end.code is not None:
            writer.write(_CLOSE_OK)


def _cut(steps: list[Step]) -> list[Step]:
    """What is the same however a broker's processes race: one fault, and no channel twice."""
    kept: list[Step] = []
    for step in steps:
        if step[0] not in ("close", "close-ok", "miss"):
            kept.append(step)
        if end_of(kept).code is not None:
            break
    return kept


def _any_order(rng: Random) -> Case:
    steps = _cut(drawn(rng, 25))
    return Case(encoded(steps), frozenset({end_of(steps).code}))


def _cases() -> list[tuple[str, int, Case]]:
    weights: list[tuple[Mutation, int]] = [*((kind, _EACH) for kind in (*_CLOSED, *_OPEN))]
    weights.append((_any_order, 10 * _EACH))
    return [
        (kind.__name__, seed, kind(Random(seed)))
        for kind, times in weights
        for seed in range(times)
    ]


@pytest.mark.alone  # RabbitMQ writes a long report of each crash: with others beside, for too long
async def test_same_end(rabbitmq_url: str) -> None:
    """RabbitMQ and the embedded broker end each connection with the same code."""
    cases, room = _cases(), asyncio.Semaphore(_AT_ONCE)

    async def end(server: Server, case: Case) -> End:
        async with room:
            return await server.end_of(case)

    async with Broker() as broker:
        ours, theirs = Server(broker.url), Server(rabbitmq_url)
        async with ours.ready(), theirs.ready():
            found, expected = [
                await asyncio.gather(*(end(server, case) for *_, case in cases))
                for server in (ours, theirs)
            ]
    differing = {
        (name, seed): (a, b)
        for (name, seed, _), a, b in zip(cases, found, expected, strict=True)
        if a != b
    }
    assert differing == {}
    assert all(each.code in case.codes for (*_, case), each in zip(cases, found, strict=True))
