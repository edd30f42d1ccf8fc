"""A service's two connections: one to consume, one to publish.

A broker that is short of memory blocks connections that publish, and acknowledgements must not be
stuck behind that.
"""

import asyncio

import aio_pika
from aio_pika.abc import AbstractRobustConnection
from aiormq.abc import AbstractConnection

from busauth.amqp.address import broker_url
from busauth.amqp.tolerant import TolerantRobustConnection
from busauth.errors import PublishError

_RECONNECT_SECONDS = 1.0


class Links:
    """Both connections, restored by themselves once they are open.

    Args:
        url: the broker, ``amqp://`` or ``amqps://``.
        service: what the broker's management shows.

    Attributes:
        url: as given, with its port.

    Raises:
        ConfigurationError: the URL could never connect.
    """

    def __init__(self, url: str, service: str) -> None:
        self.url = broker_url(url)
        self._service = service
        self._consuming: AbstractRobustConnection | None = None
        self._publishing: AbstractRobustConnection | None = None

    @property
    def are_open(self) -> bool:
        """Return whether they were opened and not closed, connected at this moment or not."""
        return self._consuming is not None

    async def open(self) -> AbstractRobustConnection:
        """Connect, and return the connection to consume on.

        Raises:
            ConnectionError: the broker cannot be reached.
        """
        self._publishing = await self._connect("publish")
        self._consuming = await self._connect("consume")
        return self._consuming

    async def close(self) -> None:
        """Close what is open."""
        links = [self._consuming, self._publishing]
        self._consuming = self._publishing = None
        closing = [link.close() for link in links if link is not None]
        await asyncio.gather(*closing, return_exceptions=True)

    async def outlet(self, seconds: float) -> AbstractConnection:
        """Return the publishing connection, waiting for it while it is being restored.

        Raises:
            PublishError: it was not opened, or is not restored in time.
        """
        if self._publishing is None:
            raise PublishError("the bus is not connected: use `async with bus` or `bus.run()`")
        try:
            async with asyncio.timeout(seconds):
                await self._publishing.ready()
        except TimeoutError as error:
            raise PublishError(f"the broker is out of reach for {seconds:g} s") from error
        if self._publishing.transport is None:
            raise PublishError("the connection to the broker was lost")
        return self._publishing.transport.connection

    async def _connect(self, purpose: str) -> AbstractRobustConnection:
        try:
            return await aio_pika.connect_robust(
                self.url,
                connection_class=TolerantRobustConnection,
                client_properties={"connection_name": f"{self._service} ({purpose})"},
                reconnect_interval=_RECONNECT_SECONDS,
            )
        except OSError as error:
            where = f"{self.url.host}:{self.url.port}"
            raise ConnectionError(
                f"{self._service}: no broker at {where}: {error}; is RabbitMQ running there?"
            ) from error
