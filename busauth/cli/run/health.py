"""Liveness and readiness over HTTP, for probes: two questions, and whoever asks holds up nothing.

A request has five seconds in all, eight kilobytes of head, and a connection to itself; of those
there are 64 at a time, and the oldest makes room. Its body is not read, and the answer holds
nothing of what was sent.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import h11

from busauth._amqp.readiness import Readiness
from busauth.errors import ConfigurationError
from busauth.settings.bus import Address

LIVE = frozenset({b"/live", b"/livez", b"/healthz"})
READY = frozenset({b"/ready", b"/readyz"})

SECONDS = 5.0
CONNECTIONS = 64
HEAD_BYTES = 8 * 1024
_READ_BYTES = 4096

Ready = Callable[[], Readiness]


@asynccontextmanager
async def answering(
    address: Address | None, ready: Ready, *, seconds: float = SECONDS
) -> AsyncIterator[Address | None]:
    """Answer probes while inside; where no address is given, nothing listens.

    Args:
        address: its port 0 takes a free one.
        ready: is asked for each answer about readiness.
        seconds: that a request may take.

    Yields:
        Where it listens.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    if address is None:
        yield None
        return
    probes = Probes(ready, seconds)
    try:
        server = await asyncio.start_server(probes.meet, *address, limit=_READ_BYTES)
    except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
        why = error.strerror if isinstance(error, OSError) else None
        raise ConfigurationError(
            f"health: cannot listen on {address} ({why or error}): expected a free port of an "
            "address of this machine"
        ) from None
    try:
        yield Address(address.host, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await probes.end()


class Probes:
    """The connections of those who ask.

    Args:
        ready: is asked for each answer about readiness.
        seconds: that a request may take, its answer included.
    """

    def __init__(self, ready: Ready, seconds: float) -> None:
        self._ready, self._seconds = ready, seconds
        self._tasks: dict[asyncio.Task[None], None] = {}

    def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection; a probe asks at once, so whoever came first has had the time."""
        if len(self._tasks) >= CONNECTIONS:
            oldest = next(iter(self._tasks))
            oldest.cancel()
            del self._tasks[oldest]
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks[task] = None
        task.add_done_callback(lambda ended: self._tasks.pop(ended, None))

    async def end(self) -> None:
        """Hang up on whoever is left."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._exchange(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):  # hung up, or too slow: nobody is left to be told
            pass
        finally:
            writer.transport.abort()  # nothing, where it is closed

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        method = b""
        try:
            request = await _request(http, reader)
        except h11.RemoteProtocolError as error:
            status, text = HTTPStatus(error.error_status_hint), "not understood"
        else:
            if request is None:
                return
            method, (status, text) = request.method, self._answer(request)
        body = f"{text}\n".encode()
        writer.write(http.send(_head(status, len(body))) or b"")
        if method != b"HEAD":
            writer.write(http.send(h11.Data(body)) or b"")
        await writer.drain()

    def _answer(self, request: h11.Request) -> tuple[HTTPStatus, str]:
        path = request.target.partition(b"?")[0]
        if path not in LIVE | READY:
            return HTTPStatus.NOT_FOUND, "expected /live or /ready"
        if request.method not in {b"GET", b"HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, "expected GET"
        if path in LIVE:
            return HTTPStatus.OK, "live"
        found = self._ready()
        return HTTPStatus.OK if found else HTTPStatus.SERVICE_UNAVAILABLE, str(found)


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Return what is asked, None where nothing was."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        http.receive_data(await reader.read(_READ_BYTES))


def _head(status: HTTPStatus, length: int) -> h11.Response:
    headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", str(length)),
        ("cache-control", "no-store"),
        ("connection", "close"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("allow", "GET, HEAD"))
    return h11.Response(status_code=status, headers=headers, reason=status.phrase)
