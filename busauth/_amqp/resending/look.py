"""A look at what waits in queues beside a consumer's, which leaves everything as it is."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving, left
from busauth._amqp.connecting.rights import LOOK, permitted
from busauth._amqp.resending.letters import Letter, taken
from busauth._amqp.resending.wanted import Census, Wanted
from busauth._arguments import CountOrNone, checked


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found.

    Attributes:
        letters: those that were asked for, in the order of their refusals.
        chosen: how many were asked for; more than `letters` where a limit was reached.
        total: how many there are.
        missed: a sentence for each value that was asked for and no letter has.
    """

    letters: tuple[Letter, ...]
    chosen: int
    total: int
    missed: tuple[str, ...] = ()


@checked
async def look(
    url: str | URL,
    queues: str | Iterable[str],
    wanted: Wanted | None = None,
    *,
    bodies: bool = False,
    limit: CountOrNone | None = None,
) -> Found:
    """Return letters, and leave them all where they are, in their order.

    Each queue is held whole for as long as it takes to cross the wire: some 20,000 letters a
    second. Meanwhile nobody else gets them; what is written there goes behind them.

    Args:
        url: the broker.
        queues: which to look at, such as ``orders.dead``; one after the other.
        wanted: which letters; None for all.
        bodies: whether bodies are kept, and not only their sizes.
        limit: how many letters to return, the oldest; None for all.

    Raises:
        ConnectionError: the broker is out of reach.
        Deferred: the broker has taken the letters back before all had come.
        ConfigurationError: there is no such queue, the URL could never connect, or a right is
            missing.
    """
    census, letters = Census(wanted or Wanted()), list[Letter]()
    for queue in (queues,) if isinstance(queues, str) else queues:
        # a connection for each: that it is closed gives a queue back, before the next one is held
        async with leaving(await connected(url)) as connection:
            async for message in await taken(connection, queue):
                letter = Letter.of(message, queue, with_body=bodies)
                if census.asks(letter):
                    letters.append(letter)
    letters.sort(key=lambda letter: letter.at or "")
    return Found(tuple(letters[:limit]), census.chosen, census.total, census.missed())


async def existing(url: str | URL, queues: Iterable[str]) -> list[str]:
    """Return which queues are there.

    Raises:
        ConnectionError: the broker is out of reach.
        ConfigurationError: the URL could never connect, or a right is missing.
    """
    found = list[str]()
    async with leaving(await connected(url)) as connection:
        for queue in queues:
            channel = await answered(below(connection), connection.channel())
            try:
                with permitted(LOOK):
                    await answered(below(connection), channel.declare_queue(queue, passive=True))
            except ChannelNotFoundEntity:  # which has closed the channel
                continue
            found.append(queue)
            await left(channel)
    return found
