"""Publishing to the revocation feed, and keeping its time."""

from types import TracebackType
from typing import Self

from pamqp.commands import Basic

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.feed.options import StreamOptions
from busauth._amqp.feed.writing import StreamWriter
from busauth._amqp.publishing.copies import Outgoing
from busauth._arguments import Seconds, checked
from busauth._revocation.events import TYPE, EventSigner
from busauth.audit import LOGGER
from busauth.clock import Clock, SystemClock
from busauth.errors import PublishError

PERSISTENT = 2  # AMQP 0-9-1's `delivery-mode` for what outlives a restart of the broker


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
        self._options = options or StreamOptions()
        self._writer = StreamWriter(
            broker_url(url),
            self._options.name,
            arguments=self._options.arguments if self._options.declare else None,
            timeout=timeout,
        )

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
            content_type=f"application/{TYPE}", delivery_mode=PERSISTENT, app_id="busauth"
        )
        await self._writer.publish(Outgoing(event.encode("ascii"), properties))

    async def open(self) -> None:
        """Connect, and declare the stream.

        Raises:
            PublishError: the broker is out of reach, or the stream cannot be declared.
        """
        await self._writer.open()

    async def close(self) -> None:
        """Close the connection; the next event opens another."""
        await self._writer.close()

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
