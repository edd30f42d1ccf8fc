"""Whose decision it is: a bus with its handlers, or a settings file alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from yarl import URL

from busauth._amqp.bus import Bus
from busauth._amqp.feed.feed import RevocationFeed
from busauth._amqp.guard import Guard
from busauth._amqp.judging.foreseen import Foreseen
from busauth._amqp.judging.judge import FRAME
from busauth._amqp.judging.received import Received
from busauth.cli.again import telling
from busauth.cli.options import warn
from busauth.cli.target import bus_for_report
from busauth.settings import load_settings
from busauth.settings.places import at

BusOf = Annotated[
    str | None,
    typer.Option("--bus", metavar="MODULE:BUS", help="The bus that has the handler."),
]
Of = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        envvar="BUSAUTH_SETTINGS",
        help="A settings file instead: what a handler demands and reads is not known then.",
    ),
]
_FEED_SECONDS = 10.0
"""Seconds for which a revocation feed is waited for, until it is said not to be known."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Who decides.

    Attributes:
        guard: by whose rules.
        bus: whose handlers; None where only settings are known.
        url: the broker.
    """

    guard: Guard
    bus: Bus | None
    url: str | URL

    @classmethod
    def of(cls, target: str | None, settings: Path | None) -> "Whose":
        """Return what a command line names; the bus, where it names both.

        Raises:
            typer.BadParameter: it names neither, or no bus.
            typer.Exit: what it names cannot be had, which has been said.
        """
        if target is None and settings is None:
            raise typer.BadParameter("expected --bus MODULE:BUS, or --settings FILE")
        with telling():
            if target is not None:
                bus = bus_for_report(target)
                return cls(bus.guard, bus, bus.url)
            loaded = load_settings(settings)
            with at("bus"):
                url = "amqp://localhost/" if loaded.bus.url is None else loaded.bus.address()
            return cls(loaded.make_guard(), None, url)

    async def foresee(self, queue: str, message: Received) -> Foreseen:
        """Return what a queue's consumer would decide about a message now.

        Raises:
            ConfigurationError: the bus has none.
        """
        if self.bus is not None:
            return await self.bus.foresee(queue, message)
        foresight = self.guard.core.foresight(queue, None, frame_max=FRAME)
        return await foresight.foresee(message)

    @asynccontextmanager
    async def informed(self) -> AsyncIterator[None]:
        """Know of revocations while inside, as a consumer that runs would; a feed is read."""
        feed = self.guard.core.revocations
        if not isinstance(feed, RevocationFeed) or feed.is_open:
            yield
            return
        async with feed:
            with suppress(TimeoutError):  # what is not known then is told with each message
                async with asyncio.timeout(_FEED_SECONDS):
                    await feed.ready()
            yield


def said_of(whose: Whose) -> None:
    """Say on standard error what cannot be known of settings alone."""
    if whose.bus is None:
        warn(
            "of a settings file alone, what a handler demands of its caller and reads of a body is "
            "not known, nor who knows of revocations: --bus MODULE:BUS knows"
        )
