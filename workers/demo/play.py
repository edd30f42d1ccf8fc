"""How a chain is played, scene by scene: until what one expects was seen, or its time is over."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import httpx
from aio_pika.exceptions import AMQPError

from workers.demo.playbill import Row
from workers.demo.record import Record, Trouble
from workers.demo.timeline import Timeline

SECONDS = 20.0
"""How long a scene may take before it is given up."""


class Playing(Protocol):
    """What every stage has."""

    @property
    def record(self) -> Record: ...

    @property
    def timeline(self) -> Timeline: ...


S = TypeVar("S", bound=Playing)


@dataclass(frozen=True, slots=True)
class Scene(Generic[S]):
    """A scene, and the facts that it should lead to."""

    title: str
    play: Callable[[S], Awaitable[None]]
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain(Generic[S]):
    """Services that hand a caller's authority on, and the scenes that are played on them.

    Attributes:
        greeting: what is said before the first of them starts.
        set_up: starts them all, given a broker's address, the timeline, and what the names of its
            queues begin with; and leaves nothing behind.
        scenes: in their order.
    """

    greeting: str
    set_up: Callable[[str, Timeline, str], AbstractAsyncContextManager[S]]
    scenes: tuple[Scene[S], ...]

    async def play(self, amqp_url: str, timeline: Timeline, prefix: str) -> list[Row]:
        """Play every scene, and return what came of each."""
        timeline.console.print(self.greeting)
        async with self.set_up(amqp_url, timeline, prefix) as stage:
            timeline.columns()
            return [await perform(stage, *numbered) for numbered in enumerate(self.scenes, 1)]


async def perform(stage: S, number: int, scene: Scene[S]) -> Row:
    """Play one scene; what keeps it from its end is part of the outcome."""
    stage.timeline.scene(number, scene.title, scene.play.__doc__ or "")
    stage.record.begin()
    trouble = ""
    try:
        stage.record.check()
        async with asyncio.timeout(SECONDS):
            await scene.play(stage)
            await stage.record.until(*scene.expected)
    except TimeoutError:
        trouble = f"given up after {SECONDS:g} s"
    except (Trouble, httpx.HTTPError, AMQPError, OSError) as error:
        trouble = str(error) or type(error).__name__
    return Row(scene.title, scene.expected, stage.record.seen(scene.expected), trouble)
