"""From the protocol header to connection.open-ok."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pamqp.commands import Channel, Connection
from pamqp.encode import field_table

from tests.conformance.client import CAPABILITIES, Closed, ConnectionClosed, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.frames import HEARTBEAT, frame, sent
from tests.conformance.refusals import same, works
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

HEADER = b"AMQP\x00\x00\x09\x01"
SILENCE = (0, "hung up", (0, 0))
Step = Callable[[RawConnection], Awaitable[object]]


@asynccontextmanager
async def knocking(
    server: Server, *, header: bytes = HEADER, capabilities: dict[str, bool] | None = None
) -> AsyncIterator[RawConnection]:
    """A connection that has sent its protocol header."""
    connection = RawConnection(server.url, capabilities=capabilities)
    await connection.connect(header=header)
    try:
        yield connection
    finally:
        await connection.hang_up()


def start_ok(connection: RawConnection, mechanism: str = "PLAIN", locale: str = "en_US") -> bytes:
    """connection.start-ok with the right name and password."""
    plain = f"\0{connection.user}\0{connection.password}"
    client: dict[str, Any] = {"capabilities": connection.capabilities}
    return sent(Connection.StartOk(client, mechanism, plain, locale), channel=0)


async def tuned(connection: RawConnection, channels: int, frame_max: int, heartbeat: int) -> None:
    """The handshake with a connection.tune-ok of one's own."""
    await connection.replies.get()
    connection.write(start_ok(connection))
    await connection.replies.get()
    connection.write(sent(Connection.TuneOk(channels, frame_max, heartbeat), channel=0))
    await connection.call(Connection.Open(connection.vhost))


async def test_start(server: Server) -> None:
    """The broker starts with its mechanisms, its locale and what it is capable of."""
    async with knocking(server) as connection:
        start = await connection.replies.get()
    assert isinstance(start, Connection.Start)
    assert (start.version_major, start.version_minor) == (0, 9)
    assert {"PLAIN", "AMQPLAIN"} <= set(start.mechanisms.split(" "))
    assert start.locales == "en_US"
    assert start.server_properties["capabilities"] == {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
    }
    assert {"product", "version", "platform"} <= set(start.server_properties)


async def test_tune(server: Server) -> None:
    """The broker proposes 2047 channels, frames of 128 KiB and a heartbeat each minute."""
    async with knocking(server) as connection:
        await connection.replies.get()
        connection.write(start_ok(connection))
        tune = await connection.replies.get()
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


async def test_open(server: Server) -> None:
    """connection.open-ok ends the handshake."""
    async with knocking(server) as connection:
        await connection.login()
        await works(await connection.channel())


async def test_all_at_once(server: Server) -> None:
    """A client need not wait for the broker's half of the handshake."""
    async with knocking(server, header=b"") as connection:
        tune_ok = sent(Connection.TuneOk(2047, 131072, 0), channel=0)
        opening = sent(Connection.Open(connection.vhost), channel=0)
        connection.write(HEADER + start_ok(connection) + tune_ok + opening)
        replies = [await connection.replies.get() for _ in range(3)]
    names = ["Connection.Start", "Connection.Tune", "Connection.OpenOk"]
    assert [reply.name for reply in replies] == names


async def test_byte_by_byte(server: Server) -> None:
    """However the bytes are cut into packets, they mean the same."""
    async with knocking(server, header=b"") as connection:
        for byte in HEADER + start_ok(connection):
            connection.write(bytes([byte]))
            await asyncio.sleep(0)
        names = [(await connection.replies.get()).name for _ in range(2)]
    assert names == ["Connection.Start", "Connection.Tune"]


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize(
    "header",
    [
        b"AMQP\x00\x00\x09\x00",
        b"AMQP\x00\x00\x09\x02",
        b"AMQP\x01\x01\x00\x0a",
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x03\x01\x00\x00",
        b"amqp\x00\x00\x09\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_protocol_header(server: Server, header: bytes) -> None:
    """Whoever speaks another protocol gets the right protocol header, and nothing more."""
    async with knocking(server, header=header) as connection:
        end = await connection.closed()
        assert isinstance(end, ConnectionClosed)
        assert (end.code, end.text) == (0, f"protocol header {HEADER[:7]!r}")


@pytest.mark.parametrize("locale", ["de_DE", ""])
async def test_locale(server: Server, locale: str) -> None:
    """Nobody looks at the locale."""
    async with knocking(server) as connection:
        await connection.replies.get()
        connection.write(start_ok(connection, locale=locale))
        assert isinstance(await connection.replies.get(), Connection.Tune)


@pytest.mark.parametrize("user", [None, "nobody"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
async def test_wrong_password(server: Server, mechanism: str, user: str | None) -> None:
    """A wrong name or password is refused with a close that has no method."""
    async with knocking(server) as connection:
        user = user or connection.user
        responses = {
            "PLAIN": f"\0{user}\0wrong",
            "AMQPLAIN": field_table({"LOGIN": user, "PASSWORD": "wrong"})[4:].decode(),
        }
        with pytest.raises(ConnectionClosed) as caught:
            await connection.login(mechanism=mechanism, response=responses[mechanism])
    text = f"Login was refused using authentication mechanism {mechanism}. For details see the "
    same(caught.value, (403, f"ACCESS_REFUSED - {text}broker logfile.", (0, 0)))


async def test_amqplain(server: Server) -> None:
    """AMQPLAIN carries the name and the password in a table without its size."""
    async with knocking(server) as connection:
        table = {"LOGIN": connection.user, "PASSWORD": connection.password}
        response = field_table(dict(table))[4:].decode()
        await connection.login(mechanism="AMQPLAIN", response=response)
        await works(await connection.channel())


@pytest.mark.parametrize("vhost", ["no.such.vhost", "", "//", "%2f", "/ "])
async def test_vhost(server: Server, vhost: str) -> None:
    """A virtual host that does not exist is told as it was named."""
    async with knocking(server) as connection:
        connection.vhost = vhost
        with pytest.raises(ConnectionClosed) as caught:
            await connection.login()
    same(caught.value, (530, f"NOT_ALLOWED - vhost {vhost} not found", (10, 40)))


def answering(response: str, mechanism: str = "PLAIN") -> Step:
    """A login with this response."""
    return lambda connection: connection.login(mechanism=mechanism, response=response)


def tuning(channels: int, frame_max: int) -> Step:
    """A login with this tune-ok."""
    return lambda connection: tuned(connection, channels, frame_max, 0)


async def _start_at_length(connection: RawConnection) -> None:
    await connection.replies.get()
    client: dict[str, Any] = {"capabilities": connection.capabilities, "long": "x" * 9000}
    await connection.call(Connection.StartOk(client, "PLAIN", "\0guest\0guest"))


async def _open_too_early(connection: RawConnection) -> None:
    await connection.replies.get()
    await connection.call(Connection.Open(connection.vhost))


async def _open_before_tune_ok(connection: RawConnection) -> None:
    await connection.replies.get()
    connection.write(start_ok(connection))
    await connection.replies.get()
    await connection.call(Connection.Open(connection.vhost))


async def _channel_too_early(connection: RawConnection) -> None:
    await connection.replies.get()
    connection.write(sent(Channel.Open()))
    raise await connection.closed()


SILENT: dict[str, Step] = {
    "a mechanism that does not exist": answering("", "NONE"),
    "a mechanism in other letters": answering("\0guest\0guest", "plain"),
    "PLAIN without a name": answering("guest"),
    "PLAIN without anything": answering(""),
    "PLAIN with too much": answering("\0guest\0guest\0"),
    "AMQPLAIN without a table": answering("x", "AMQPLAIN"),
    "AMQPLAIN without a password": answering("\x05LOGINS\x00\x00\x00\x05guest", "AMQPLAIN"),
    "no limit to channels": tuning(0, 131072),
    "too many channels": tuning(2048, 131072),
    "no limit to frames": tuning(2047, 0),
    "too large frames": tuning(2047, 131073),
    "too small frames": tuning(2047, 4095),
    "a large start-ok": _start_at_length,
    "open instead of start-ok": _open_too_early,
    "open instead of tune-ok": _open_before_tune_ok,
    "channel.open instead of start-ok": _channel_too_early,
}


async def test_hang_up(server: Server) -> None:
    """Most faults in the handshake are answered by hanging up, which RabbitMQ takes 3 s for."""

    async def how_it_ends(step: Step) -> tuple[int, str, tuple[int, int]]:
        async with knocking(server) as connection:
            try:
                await step(connection)
            except Closed as error:
                return error.code, error.text, error.method
        return 200, "no fault", (0, 0)

    ends = await asyncio.gather(*(how_it_ends(step) for step in SILENT.values()))
    assert dict(zip(SILENT, ends, strict=True)) == dict.fromkeys(SILENT, SILENCE)


async def test_incapable_of_refusals(server: Server) -> None:
    """A client that did not say it understands a refused login sees the broker hang up."""
    capabilities = {**CAPABILITIES, "authentication_failure_close": False}
    async with knocking(server, capabilities=capabilities) as connection:
        with pytest.raises(ConnectionClosed) as caught:
            await connection.login(response="\0guest\0wrong")
    same(caught.value, SILENCE)


@pytest.mark.parametrize(("channels", "frame_max"), [(1, 8192), (2047, 131072), (10, 10000)])
async def test_tune_ok(server: Server, channels: int, frame_max: int) -> None:
    """A client may want fewer channels and smaller frames."""
    async with knocking(server) as connection:
        await tuned(connection, channels, frame_max, 0)
        await works(await connection.channel())


@versions("3.10 - 4.0", still=True)
async def test_smallest_frames(server: Server) -> None:
    """The smallest frames that can be asked for have 4096 bytes."""
    async with knocking(server) as connection:
        await tuned(connection, 2047, 4096, 0)
        await works(await connection.channel())


@pytest.mark.long
async def test_heartbeats(server: Server) -> None:
    """The broker sends heartbeats twice in the time that tune-ok asks for."""
    async with knocking(server) as connection:
        await tuned(connection, 2047, 131072, 1)
        started = asyncio.get_running_loop().time()
        while connection.heartbeats < 2:
            connection.write(frame(HEARTBEAT, 0, b""))
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.long
async def test_missed_heartbeats(server: Server) -> None:
    """The broker hangs up on a client that was silent for longer than its heartbeats allow."""
    async with knocking(server) as connection:
        await tuned(connection, 2047, 131072, 1)
        same(await connection.closed(), SILENCE)
