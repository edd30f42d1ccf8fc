"""Probes over HTTP: what is live, what is ready, and who cannot hold that up."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busauth import ConfigurationError
from busauth._amqp.readiness import Readiness
from busauth.cli.run.health import CONNECTIONS, answering
from busauth.settings.bus import Address

ANYWHERE = Address("127.0.0.1", 0)
REASON = "worker 2: not connected to rabbit:5672"


def served(*reasons: str, seconds: float = 20) -> AbstractAsyncContextManager[Address | None]:
    return answering(ANYWHERE, lambda: Readiness(reasons), seconds=seconds)


async def raw(address: Address | None, *sent: bytes, ends: bool = False) -> bytes:
    """Send bytes, and say no more if that `ends` it; return all that comes back."""
    assert address is not None
    reader, writer = await asyncio.open_connection(*address)
    try:
        for each in sent:
            writer.write(each)
            await writer.drain()
        if ends:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("method", "path", "reasons", "status", "text"),
    [
        ("GET", "/live", [REASON], 200, "live\n"),
        ("GET", "/livez", [REASON], 200, "live\n"),
        ("GET", "/healthz", [REASON], 200, "live\n"),
        ("GET", "/ready", [REASON], 503, f"not ready: {REASON}\n"),
        ("GET", "/readyz?verbose", [REASON], 503, f"not ready: {REASON}\n"),
        ("GET", "/ready", [], 200, "ready\n"),
        ("HEAD", "/ready", [REASON], 503, ""),
        ("POST", "/ready", [], 405, "expected GET\n"),
        ("GET", "/", [], 404, "expected /live or /ready\n"),
        ("GET", "/../ready/", [], 404, "expected /live or /ready\n"),
    ],
)
async def test_what_is_answered(
    method: str, path: str, reasons: list[str], status: int, text: str
) -> None:
    """Live while somebody answers; ready, or else why not; nothing is kept by a cache."""
    async with served(*reasons) as address, httpx.AsyncClient() as client:
        answer = await client.request(method, f"http://{address}{path}")
    assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /ready HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 8200, 431),
        (b"GET /ready HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_is_refused(sent: bytes, status: int) -> None:
    """Its status says so, and nothing of it comes back."""
    async with served() as address:
        answer = await raw(address, sent)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"xxx" not in answer


async def test_who_is_slow_is_hung_up_on() -> None:
    """A request that does not come to its end is not waited for, and gets no answer."""
    async with served(seconds=0.05) as address:
        assert await raw(address, b"GET /ready HTTP/1.1\r\nHost:") == b""


async def test_who_holds_connections_keeps_no_probe_out() -> None:
    """However many say nothing, whoever asks is answered; the oldest is hung up on."""
    async with served() as address, httpx.AsyncClient() as client:
        assert address is not None
        silent = [await asyncio.open_connection(*address) for _ in range(CONNECTIONS)]
        assert (await client.get(f"http://{address}/ready")).status_code == 200
        async with asyncio.timeout(20):
            with suppress(ConnectionResetError):
                assert await silent[0][0].read() == b""
        for _, writer in silent:
            writer.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"GET /live ", b"\r\n", b"HTTP/1.1"])))
def test_no_bytes_break_it(sent: list[bytes]) -> None:
    """Whatever was sent, it is answered or hung up on, and the next one is answered."""

    async def ask() -> None:
        async with served() as address:
            first = await raw(address, *sent, ends=True)
            assert first == b"" or first.startswith(b"HTTP/1.1 ")
            assert b" 200 " in await raw(address, b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")

    asyncio.run(ask())


async def test_a_port_that_is_taken_is_told() -> None:
    """Where somebody listens already, the error says where, and what was expected."""
    async with served() as address:
        with pytest.raises(ConfigurationError, match=rf"cannot listen on {address}.*expected a fr"):
            async with answering(address, Readiness):
                pass


@pytest.mark.parametrize("host", ["a..b", "..", "a" * 64])
async def test_a_name_that_no_host_can_have_is_told(host: str) -> None:
    """It is a sentence, and no error of the codec that looked at it."""
    with pytest.raises(ConfigurationError, match=r"cannot listen on .*expected a free port"):
        async with answering(Address(host, 0), Readiness):
            pass


async def test_nothing_listens_unasked() -> None:
    """Without an address there is nobody who answers."""
    async with answering(None, Readiness) as address:
        assert address is None
