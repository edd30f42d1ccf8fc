"""A look at what waits in queues beside a consumer's, which leaves everything as it is."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving, left
from busauth._amqp.connecting.rights import LOOK, permitted
from busauth._amqp.resending.letters import Letter, looked_at, taken
from busauth._amqp.resending.wanted import Census, Wanted
from busauth._arguments import CountOrNone, checked
from busauth.errors import Deferred

# 30 s in all: longer than a pass of a redrive holds what a look takes a second for
_TRIES, _BETWEEN = 600, 0.05
"""How often, and how many seconds apart, it is asked whether somebody has a part of a queue."""


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
    chosen: Callable[[Letter], bool] | None = None,
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
        chosen: asked of each that `wanted` has; those that it does not choose are counted alone.

    Raises:
        ConnectionError: the broker is out of reach.
        Deferred: the broker has taken the letters back before all had come, or somebody else
            consumes that queue.
        ConfigurationError: there is no such queue, the URL could never connect, or a right is
            missing.
    """
    census, letters = Census(wanted or Wanted()), list[Letter]()
    for queue in (queues,) if isinstance(queues, str) else queues:
        # a connection for each: that it is closed gives a queue back, before the next one is held
        async with leaving(await connected(url)) as connection:
            await _free(connection, queue)
            waiting = await taken(connection, queue)
            async for letter in waiting.letters(bodies=bodies):
                if census.asks(letter) and (chosen is None or chosen(letter)):
                    letters.append(letter)
    letters.sort(key=lambda letter: letter.at or "")
    return Found(tuple(letters[:limit]), census.chosen, census.total, census.missed())


async def _free(connection: AbstractConnection, queue: str) -> None:
    """Wait until nobody has a part of a queue: a redrive gives it back every few seconds.

    Raises:
        Deferred: somebody does not.
        ConfigurationError: there is no such queue, or a right is missing.
    """
    for _ in range(_TRIES):
        channel = await answered(below(connection), connection.channel())
        declared = await answered(below(connection), looked_at(channel, queue))
        if not declared.declaration_result.consumer_count:
            return
        await left(channel)
        await asyncio.sleep(_BETWEEN)
    raise Deferred(f"{queue} is in somebody else's hands, who consumes it: try again later")


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
