"""A service's connections: one to consume, one to publish, and one for copies where it consumes.

A broker that is short of memory blocks connections that publish, and acknowledgements must not be
stuck behind that. Copies (dead letters, retries, what is parked or postponed) go where nothing of a
user's does: whatever a handler publishes, it closes no connection that settles messages. It is
opened with the others, so that what stands in its way is found at the start.
"""

import asyncio

from aio_pika.abc import AbstractRobustConnection
from aiormq.abc import AbstractConnection

from busauth.amqp.address import broker_url
from busauth.amqp.connecting import Kept
from busauth.amqp.lanes import is_unblocked, unblocked
from busauth.errors import ConfigurationError, PublishError

_RECONNECT_SECONDS = 1.0


class Links:
    """The connections, restored by themselves once they are open.

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
        self._copying: AbstractRobustConnection | None = None

    @property
    def are_open(self) -> bool:
        """Return whether they were opened and not closed, connected at this moment or not."""
        return self._consuming is not None

    async def open(self, *, copies: bool) -> AbstractRobustConnection:
        """Connect, and return the connection to consume on.

        Args:
            copies: whether there is something to copy.

        Raises:
            ConnectionError: the broker cannot be reached.
            ConfigurationError: it can be, and waiting will not help.
        """
        self._publishing = await self._connect("publish")
        if copies:
            self._copying = await self._connect("copies")
        self._consuming = await self._connect("consume")
        return self._consuming

    async def close(self) -> None:
        """Close what is open."""
        links = [self._consuming, self._publishing, self._copying]
        self._consuming = self._publishing = self._copying = None
        closing = [link.close() for link in links if link is not None]
        await asyncio.gather(*closing, return_exceptions=True)

    async def outlet(self, seconds: float) -> AbstractConnection:
        """Return the publishing connection, waiting for it while it is being restored.

        An alarm of which the other connection has heard is waited for as well: the broker takes
        nothing from anybody then, and says so to each connection only when it has published.

        Args:
            seconds: how long.

        Raises:
            PublishError: it was not opened, or is not restored in time, or the alarm lasts.
        """
        connection = await _restored(self._publishing, seconds)
        if (alarmed := _blocked(self._copying)) is not None:
            await _over(alarmed, seconds)
        return connection

    async def copies(self, seconds: float) -> AbstractConnection:
        """Return the connection for copies, likewise; while an alarm lasts, who heard of it."""
        return _blocked(self._publishing) or await _restored(self._copying, seconds)

    async def _connect(self, purpose: str) -> Kept:
        link = Kept(self.url, f"{self._service} ({purpose})", _RECONNECT_SECONDS)
        try:
            await link.open()
        except (ConnectionError, ConfigurationError) as error:
            raise type(error)(f"{self._service}: {error}") from None
        return link


def _blocked(link: AbstractRobustConnection | None) -> AbstractConnection | None:
    """Return a connection that an alarm of the broker's blocks, None for any other."""
    if link is None or link.transport is None or is_unblocked(link.transport.connection):
        return None
    return link.transport.connection


async def _over(alarmed: AbstractConnection, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await unblocked(alarmed)
    except TimeoutError as error:
        raise PublishError(
            f"the broker took nothing for {seconds:g} s (it blocks publishers while its memory or "
            "disk is short): it was not sent"
        ) from error


async def _restored(link: AbstractRobustConnection | None, seconds: float) -> AbstractConnection:
    if link is None:
        raise PublishError("the bus is not connected: use `async with bus` or `bus.run()`")
    try:
        async with asyncio.timeout(seconds):
            await link.ready()
    except TimeoutError as error:
        raise PublishError(f"the broker is out of reach for {seconds:g} s") from error
    if link.transport is None:
        raise PublishError("the connection to the broker was lost")
    return link.transport.connection
