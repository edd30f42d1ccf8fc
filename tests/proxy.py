"""A proxy between clients and a broker, which can cut connections, or hold up what passes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from yarl import URL


class Proxy:
    """Passes bytes on between clients and the broker, until told to cut a connection.

    Attributes:
        delay: seconds for which the broker's bytes are held up.
        mute: whether new connections are taken and not answered.
        refuses: whether new connections are cut at once.
    """

    def __init__(self, url: str) -> None:
        self.delay = 0.0
        self.mute = self.refuses = False
        self._reads = asyncio.Event()
        self._reads.set()
        self._target = URL(url)
        self._open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        if self.refuses:
            writer.transport.abort()
            return
        if self.mute:
            await reader.read()
            writer.close()
            return
        host, port = self._target.host or "localhost", self._target.port or 5672
        up_reader, up_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(
            self._pipe(reader, up_writer), self._pipe(up_reader, writer, slow=True)
        )

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool = False
    ) -> None:
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay if slow else 0)
                if not slow:
                    await self._reads.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    def hold(self) -> None:
        """Read nothing more of what clients write, as a broker does that is overwhelmed."""
        self._reads.clear()

    def release(self) -> None:
        """Read on."""
        self._reads.set()

    def cut(self, number: int | None = None) -> None:
        """Cut the n-th connection that was made, or all of them."""
        for writer in self._open if number is None else [self._open[number]]:
            writer.transport.abort()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Return a proxy, and the URL that leads through it."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy, str(URL(url).with_host("127.0.0.1").with_port(port))
        proxy.cut()
        await asyncio.sleep(0.05)
