"""Publishing to a stream, on a connection of its own: declared where it is not, and confirmed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiormq.exceptions
from aiormq.abc import AbstractConnection
from yarl import URL

from busauth._amqp.connecting.connect import connected_below
from busauth._amqp.connecting.own import OwnConnection
from busauth._amqp.connecting.patience import answered, left
from busauth._amqp.connecting.within import Within
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import Publisher
from busauth.errors import ConfigurationError, PublishError


class StreamWriter:
    """Publishes to one stream.

    Args:
        url: the broker, read already.
        stream: its name.
        arguments: what it is declared with; None where an operator does that.
        timeout: seconds after which a message that is not confirmed counts as not published.

    Attributes:
        stream: as given.
    """

    def __init__(
        self, url: URL, stream: str, *, arguments: Mapping[str, Any] | None, timeout: float
    ) -> None:
        self._url, self.stream = url, stream
        self._arguments, self._timeout = arguments, timeout
        self._publisher = Publisher(timeout=timeout)
        self._own = OwnConnection()

    async def publish(self, outgoing: Outgoing) -> None:
        """Return once the broker has confirmed a message.

        Raises:
            PublishError: it did not; whether it was published may be unknown.
        """
        within = Within.of(None, self._timeout)
        connection = await self._reached(within)
        try:
            await self._publisher.publish(
                connection, outgoing, exchange="", routing_key=self.stream, within=within
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
        """Close the connection; the next message opens another."""
        connection = self._own.leave()
        if connection is not None:
            await left(connection)

    async def _reached(self, within: Within) -> AbstractConnection:
        """Return the connection; who comes while it is opened waits for the same attempt.

        Raises:
            PublishError: the broker is out of reach, or the stream cannot be declared.
        """
        try:
            async with within.limit():
                return await self._own.get(self._connect)
        except aiormq.exceptions.AMQPError as error:
            raise PublishError(f"{self.stream!r} cannot be declared: {error}") from error
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
        if self._arguments is None:
            return
        channel = await connection.channel()
        try:
            await channel.queue_declare(self.stream, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            channel = await connection.channel()  # the broker's refusal has closed the first one
        else:
            await channel.close()
            return
        await channel.queue_declare(self.stream, durable=True, arguments=dict(self._arguments))
        await channel.close()
