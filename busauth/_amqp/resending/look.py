"""A look at what waits in queues beside a consumer's, which leaves everything as it is."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving, left
from busauth._amqp.connecting.rights import LOOK, permitted
from busauth._amqp.connecting.sieve.tolerant import TolerantConnection
from busauth._amqp.resending.letters import Letter, Waiting, looked_at, taken, was_whole
from busauth._amqp.resending.wanted import Census, Wanted
from busauth._arguments import CountOrNone, checked
from busauth.errors import Deferred

# 30 s in all: longer than a pass of a redrive holds what a look takes a second for
_TRIES, _BETWEEN = 600, 0.05
"""How often, and how many seconds apart, it is asked whether somebody has a part of a queue."""

_LOOKS = 5
"""How often a queue is looked at anew, after somebody else has come at the same time."""


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
    asked = wanted or Wanted()
    census, letters = Census(asked), list[Letter]()
    for queue in (queues,) if isinstance(queues, str) else queues:
        for _ in range(_LOOKS):
            one = Census(asked)
            found = await _whole(url, queue, one, chosen, bodies=bodies)
            if found is not None:
                break
            await asyncio.sleep(random.random())  # noqa: S311 -- two that look would come again together
        else:
            raise _not_alone(queue)
        census.add(one)
        letters += found
    letters.sort(key=lambda letter: letter.at or "")
    return Found(tuple(letters[:limit]), census.chosen, census.total, census.missed())


async def _whole(
    url: str | URL,
    queue: str,
    census: Census,
    chosen: Callable[[Letter], bool] | None,
    *,
    bodies: bool,
) -> list[Letter] | None:
    """Return what is wanted of a queue, None where somebody else may have had a part of it."""
    letters = list[Letter]()
    async with held(url, queue) as (connection, waiting):
        async for letter in waiting.letters(bodies=bodies):
            if census.asks(letter) and (chosen is None or chosen(letter)):
                letters.append(letter)
        return letters if await was_whole(connection, waiting) else None


@asynccontextmanager
async def held(url: str | URL, queue: str) -> AsyncIterator[tuple[TolerantConnection, Waiting]]:
    """Hold all that is in a queue while inside; it waits until nobody else has a part of it.

    A connection for each: that it is closed gives a queue back, before the next one is held.

    Raises:
        ConnectionError, Deferred, ConfigurationError: as of `look`.
    """
    async with leaving(await connected(url)) as connection:
        await _free(connection, queue)
        yield connection, await taken(connection, queue)


def _not_alone(queue: str) -> Deferred:
    return Deferred(f"{queue} is in somebody else's hands, who consumes it: try again later")


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
    raise _not_alone(queue)


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
