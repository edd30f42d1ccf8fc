"""Publishing to the revocation feed, and keeping its time."""

import asyncio
from types import TracebackType
from typing import Self

import aiormq.exceptions
from aiormq.abc import AbstractConnection
from pamqp.commands import Basic

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.connecting.connect import connected_below
from busauth._amqp.connecting.own import OwnConnection
from busauth._amqp.connecting.patience import answered, left
from busauth._amqp.connecting.within import Within
from busauth._amqp.feed.options import StreamOptions
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import Publisher
from busauth._arguments import Seconds, checked
from busauth._revocation.events import TYPE, EventSigner
from busauth.audit import LOGGER
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, PublishError

_PERSISTENT = 2  # AMQP 0-9-1's `delivery-mode` for what outlives a restart of the broker


class FeedPublisher:
    """Publishes signed events to the stream: `async with FeedPublisher(url) as feed`.

    Whoever may publish to the stream can slow its readers down, and can revoke nothing: events
    count by who signed them.

    Args:
        url: the broker.
        options: the stream, and how it is declared.
        timeout: seconds after which an unconfirmed event counts as not published.

    Raises:
        ConfigurationError: the URL could never connect.
    """

    @checked
    def __init__(
        self, url: str, *, options: StreamOptions | None = None, timeout: Seconds = 10.0
    ) -> None:
        self._url = broker_url(url)
        self._options = options or StreamOptions()
        self._timeout = timeout
        self._publisher = Publisher(timeout=timeout)
        self._own = OwnConnection()

    @property
    def stream(self) -> str:
        """Return the stream's name."""
        return self._options.name

    async def publish(self, event: str) -> None:
        """Return once the broker has confirmed an event.

        Args:
            event: a signed Security Event Token, in its compact form.

        Raises:
            PublishError: it did not; the event may be published again, which changes nothing.
        """
        properties = Basic.Properties(
            content_type=f"application/{TYPE}", delivery_mode=_PERSISTENT, app_id="busauth"
        )
        outgoing = Outgoing(event.encode("ascii"), properties)
        within = Within.of(None, self._timeout)
        connection = await self._reached(within)
        try:
            await self._publisher.publish(
                connection, outgoing, exchange="", routing_key=self._options.name, within=within
            )
        except PublishError:
            # The next one connects, and declares what may be gone; unless another did so meanwhile.
            if self._own.is_kept(connection):
                self._own.leave()
            await left(connection)
            raise

    async def open(self) -> None:
        """Connect, and declare the stream.

        Raises:
            PublishError: the broker is out of reach, or the stream cannot be declared.
        """
        await self._reached(Within.of(None, self._timeout))

    async def close(self) -> None:
        """Close the connection; the next event opens another."""
        connection = self._own.leave()
        if connection is not None:
            await left(connection)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _reached(self, within: Within) -> AbstractConnection:
        """Return the connection; who comes while it is opened waits for the same attempt.

        Raises:
            PublishError: the broker is out of reach, or the stream cannot be declared.
        """
        try:
            async with within.limit():
                return await self._own.get(self._connect)
        except aiormq.exceptions.AMQPError as error:
            raise PublishError(f"{self._options.name!r} cannot be declared: {error}") from error
        except (OSError, ConfigurationError) as error:
            # The end of a span of time is an `OSError` as well, and has no words.
            why = str(error) or f"no answer within {within.seconds:g} s"
            raise PublishError(f"the broker is out of reach: {why}") from error

    async def _connect(self) -> AbstractConnection:
        """Connect and declare, in one span of time: what does not answer in it is left at once."""
        async with asyncio.timeout(self._timeout):
            connection = await connected_below(self._url)
            try:
                await answered(connection, self._declare(connection), None)
            except aiormq.exceptions.AMQPError:  # it has answered, so it is there for a goodbye
                await left(connection)
                raise
            except BaseException:  # cancelled, or too late: nothing more may be waited for
                connection.abort()
                raise
        return connection

    async def _declare(self, connection: AbstractConnection) -> None:
        """Declare the stream, unless it is there, however it was declared."""
        options = self._options
        if not options.declare:
            return
        channel = await connection.channel()
        try:
            await channel.queue_declare(options.name, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            channel = await connection.channel()  # the broker's refusal has closed the first one
        else:
            await channel.close()
            return
        await channel.queue_declare(options.name, durable=True, arguments=options.arguments)
        await channel.close()


@checked
async def keep_beating(
    publisher: FeedPublisher,
    signer: EventSigner,
    *,
    every: Seconds = 5.0,
    clock: Clock | None = None,
) -> None:
    """Publish heartbeats until cancelled; one that fails is logged, and the next one tried.

    Args:
        publisher: of the feed.
        signer: a transmitter that keeps the feed's time.
        every: seconds between heartbeats; a fraction of the readers' `stale_after`.
        clock: what they are signed and spaced by.
    """
    clock = clock or SystemClock()
    while True:
        try:
            await publisher.publish(signer.heartbeat(clock.now()))
        except PublishError as error:  # readers notice when none comes: their policy decides
            LOGGER.warning("a heartbeat of the revocation feed was not published: %s", error)
        await clock.sleep(every)
