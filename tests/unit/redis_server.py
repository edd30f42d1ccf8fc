"""A Redis of a test's own: on a private port, in a private folder, gone afterwards."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_PATIENCE = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RedisServer:
    """A server that was started, and can be ended before its time."""

    port: int
    process: asyncio.subprocess.Process

    def client(self) -> Redis:
        """Return a client that gives up at once; whoever asks closes it."""
        return Redis(port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[RedisServer]:
    """Run a redis-server, which must be installed, without anything kept on disk."""
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is not installed"
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    server = RedisServer(port, process)
    try:
        await _answering(server)
        yield server
    finally:
        await server.stop()


async def _answering(server: RedisServer) -> None:
    client = server.client()
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await _pinged(client):
                await asyncio.sleep(0.01)
    finally:
        await client.aclose()


async def _pinged(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
