"""A service's connections: one to consume, one to publish, and one for copies where it consumes.

A broker that is short of memory blocks connections that publish, and acknowledgements must not be
stuck behind that. Copies (dead letters, retries, what is parked or postponed) go where nothing of a
user's does: whatever a handler publishes, it closes no connection that settles messages. It is
opened with the others, so that what stands in its way is found at the start.
"""

import asyncio
from collections.abc import Iterator

from aio_pika.abc import AbstractRobustConnection
from aiormq.abc import AbstractConnection

from busauth.amqp.address import broker_url
from busauth.amqp.connecting import Kept
from busauth.amqp.lanes import is_unblocked, unblocked
from busauth.amqp.within import Within
from busauth.errors import ConfigurationError, PublishError

_RECONNECT_SECONDS = 1.0
_PUBLISH, _COPIES, _CONSUME = "publish", "copies", "consume"


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
        self._links: dict[str, Kept] = {}

    @property
    def are_open(self) -> bool:
        """Return whether they were opened and not closed, connected at this moment or not."""
        return _CONSUME in self._links

    async def open(self, *, copies: bool) -> AbstractRobustConnection:
        """Connect, and return the connection to consume on.

        Args:
            copies: whether there is something to copy.

        Raises:
            ConnectionError: the broker cannot be reached.
            ConfigurationError: it can be, and waiting will not help.
        """
        for purpose in (_PUBLISH, _COPIES, _CONSUME) if copies else (_PUBLISH, _CONSUME):
            self._links[purpose] = await self._connect(purpose)
        return self._links[_CONSUME]

    async def close(self) -> None:
        """Close what is open."""
        links, self._links = self._links, {}
        closing = (link.close() for link in links.values())
        await asyncio.gather(*closing, return_exceptions=True)

    def doubts(self) -> Iterator[str]:
        """Yield what stands in the way of publishing and consuming at this moment, for people."""
        if not self.are_open:
            yield f"not connected to {self.url.host}:{self.url.port}"
            return
        for purpose, link in self._links.items():
            if link.transport is None or not link.connected.is_set():
                yield f"the connection for {purpose} was lost, and is being restored"
            elif _blocked(link):
                yield "the broker takes no publications: its memory or disk is short"

    async def outlet(self, within: Within) -> AbstractConnection:
        """Return the publishing connection, waiting for it while it is being restored.

        An alarm of which the other connection has heard is waited for as well: the broker takes
        nothing from anybody then, and says so to each connection only when it has published.

        Args:
            within: how long.

        Raises:
            PublishError: it was not opened, or is not restored in time, or the alarm lasts.
        """
        connection = await self._restored(_PUBLISH, within)
        if (alarmed := _blocked(self._links.get(_COPIES))) is not None:
            await _over(alarmed, within)
        return connection

    async def copies(self, within: Within) -> AbstractConnection:
        """Return the connection for copies, likewise; while an alarm lasts, who heard of it."""
        return _blocked(self._links.get(_PUBLISH)) or await self._restored(_COPIES, within)

    async def _restored(self, purpose: str, within: Within) -> AbstractConnection:
        link = self._links.get(purpose)
        if link is None:
            raise PublishError("the bus is not connected: use `async with bus` or `bus.run()`")
        try:
            async with within.limit():
                await link.ready()
        except TimeoutError as error:
            raise PublishError(
                f"the broker is out of reach for {within.seconds:g} s: it was not sent"
            ) from error
        if link.transport is None:
            raise PublishError("the connection to the broker was lost: it was not sent")
        return link.transport.connection

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


async def _over(alarmed: AbstractConnection, within: Within) -> None:
    try:
        async with within.limit():
            await unblocked(alarmed)
    except TimeoutError as error:
        raise PublishError(
            f"the broker took nothing for {within.seconds:g} s (it blocks publishers while its "
            "memory or disk is short): it was not sent"
        ) from error
