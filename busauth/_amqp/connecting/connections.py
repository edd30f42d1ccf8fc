"""A service's connections: one to consume, one to publish, and one for copies where it consumes.

A broker that is short of memory blocks connections that publish, and acknowledgements must not be
stuck behind that. Copies (dead letters, retries, what is parked or postponed) go where nothing of a
user's does: whatever a handler publishes, it closes no connection that settles messages. It is
opened with the others, so that what stands in its way is found at the start.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from aio_pika.abc import AbstractRobustConnection
from aiormq.abc import AbstractConnection

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.connecting.connect import Kept
from busauth._amqp.connecting.patience import is_unblocked, left, unblocked
from busauth._amqp.connecting.within import Within
from busauth.audit import LOGGER
from busauth.errors import ConfigurationError, PublishError

_RECONNECT_SECONDS = 1.0  # between attempts: a broker that is back is soon found, and not flooded
_PUBLISH, _COPIES, _CONSUME = "publish", "copies", "consume"


_SELDOM = 600
"""Attempts after which it is told once more, where the doubling of the gaps would take longer."""


_STAYED = 60.0
"""Seconds after which a broker that is back counts as having stayed."""


class Watch:
    """Tells the log that the broker was lost, now and then that it still is, and that it is back.

    One line for all connections: they go to one broker. Where it comes back and is lost again at
    once, that is told now and then, too.

    Args:
        service: whose connections.
        monotonic: seconds, as of a clock that is never set.
    """

    def __init__(self, service: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._monotonic = monotonic
        self._attempts: dict[object, int] = {}
        self._losses = 0
        self._is_told = True
        self._back_at = -math.inf

    def lost(self, link: Kept, error: BaseException | None) -> None:
        """Note that a connection was lost, or could not be restored once more."""
        if link not in self._attempts:
            if not self._attempts:  # of the first connection only: it is one broker
                self._count(link, error)
            self._attempts[link] = 0
            return
        self._attempts[link] += 1  # aio-pika calls again for each attempt that failed
        count = self._attempts[link]
        is_due = self._is_told or count >= self._losses
        attempts = f"{count} attempt{'s' if count > 1 else ''}"
        if is_due and _is_time(count) and link is next(iter(self._attempts)):
            self._tell(f"the broker is not back after {attempts}", link, error)

    def back(self, link: Kept) -> None:
        """Note that a connection was restored."""
        self._attempts.pop(link, None)
        if self._attempts:
            return
        self._back_at = self._monotonic()
        if self._is_told:
            LOGGER.warning("%s: the broker is back", self._service)

    def _count(self, link: Kept, error: BaseException | None) -> None:
        """Note that the broker was lost, and whether that is told: not each time that it was."""
        if self._monotonic() - self._back_at >= _STAYED:
            self._losses = 0
        self._losses += 1
        self._is_told = _is_time(self._losses)
        if self._losses == 1:
            self._tell("the broker was lost, and is tried again every second", link, error)
        elif self._is_told:
            often = f"the broker was lost {self._losses} times, and never stayed for {_STAYED:g} s"
            self._tell(often, link, error)

    def _tell(self, what: str, link: Kept, error: BaseException | None) -> None:
        self._is_told = True
        LOGGER.warning("%s: %s: %s", self._service, what, link.told(error))


def _is_time(count: int) -> bool:
    return count & (count - 1) == 0 or count % _SELDOM == 0


class Connections:
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
        self._connections: dict[str, Kept] = {}
        self._watch = Watch(service)

    @property
    def are_open(self) -> bool:
        """Return whether they were opened and not closed, connected at this moment or not."""
        return _CONSUME in self._connections

    async def open(self, *, copies: bool) -> AbstractRobustConnection:
        """Connect, and return the connection to consume on.

        Args:
            copies: whether there is something to copy.

        Raises:
            ConnectionError: the broker cannot be reached.
            ConfigurationError: it can be, and waiting will not help.
        """
        for purpose in (_PUBLISH, _COPIES, _CONSUME) if copies else (_PUBLISH, _CONSUME):
            link = Kept(self.url, f"{self._service} ({purpose})", _RECONNECT_SECONDS)
            try:
                await link.open()
            except (ConnectionError, ConfigurationError) as error:
                raise type(error)(f"{self._service}: {error}") from None
            # Only now: where it could not be opened, the error says so, and nothing was lost.
            link.close_callbacks.add(self._lost)
            link.reconnect_callbacks.add(self._back)
            self._connections[purpose] = link
        LOGGER.info("%s: connected to %s:%s", self._service, self.url.host, self.url.port)
        return self._connections[_CONSUME]

    async def close(self) -> None:
        """Close what is open."""
        # Forgotten before they are closed: what we close ourselves is not told as a loss.
        links, self._connections, self._watch = self._connections, {}, Watch(self._service)
        await asyncio.gather(*map(left, links.values()))

    def doubts(self) -> Iterator[str]:
        """Yield what stands in the way of publishing and consuming at this moment, for people."""
        if not self.are_open:
            yield f"not connected to {self.url.host}:{self.url.port}"
            return
        for purpose, link in tuple(self._connections.items()):  # another thread may ask
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
        if (alarmed := _blocked(self._connections.get(_COPIES))) is not None:
            try:
                async with within.limit():
                    await unblocked(alarmed)
            except TimeoutError as error:
                raise PublishError(
                    f"the broker took nothing for {within.seconds:g} s (it blocks publishers while "
                    "its memory or disk is short): it was not sent"
                ) from error
        return connection

    async def copies(self, within: Within) -> AbstractConnection:
        """Return the connection for copies, likewise; while an alarm lasts, who heard of it."""
        return _blocked(self._connections.get(_PUBLISH)) or await self._restored(_COPIES, within)

    async def _restored(self, purpose: str, within: Within) -> AbstractConnection:
        link = self._connections.get(purpose)
        if link is None:
            raise PublishError("the bus is not connected: use `async with bus` or `bus.run()`")
        try:
            async with within.limit():
                await link.ready()
        except TimeoutError as error:
            raise PublishError(
                f"the broker is out of reach for {within.seconds:g} s: it was not sent"
            ) from error
        if link.transport is None:  # lost again, in the turns between its word and this
            raise PublishError("the connection to the broker was lost: it was not sent")
        return link.transport.connection

    def _lost(self, link: Any, error: BaseException | None) -> None:
        if link in self._connections.values():
            self._watch.lost(link, error)

    def _back(self, link: Any) -> None:
        self._watch.back(link)


def _blocked(link: AbstractRobustConnection | None) -> AbstractConnection | None:
    """Return a connection that an alarm of the broker's blocks, None for any other."""
    if link is None or link.transport is None or is_unblocked(link.transport.connection):
        return None
    return link.transport.connection
