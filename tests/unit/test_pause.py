"""How a pause stops consumers and brings them back, turn by turn, on a channel that only notes."""

import asyncio
from typing import Any, cast

from busauth import Deferred, Event
from busauth._amqp.consuming.pause import Pause
from busauth._amqp.delivery import Delivery
from busauth.testing import ManualClock

DOWN = Deferred("keys are out of reach")


class Channel:
    """As much of aiormq's channel as a pause needs."""

    def __init__(self, *tags: str) -> None:
        self.is_closed = False
        self.consumers: dict[str, Any] = dict.fromkeys(tags, print)
        self.cancelled: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def basic_cancel(self, tag: str, **_: Any) -> None:
        self.cancelled.append(tag)
        await self.answers.wait()
        del self.consumers[tag]

    async def basic_consume(
        self, queue: str, callback: Any, *, consumer_tag: str, **_: Any
    ) -> None:
        del queue
        self.consumers[consumer_tag] = callback

    @property
    def closing(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()


class Message:
    """A delivery to a consumer on a channel."""

    def __init__(self, channel: Channel, tag: str) -> None:
        self.channel, self.consumer_tag = channel, tag
        self.is_lost = False


async def held_off(pause: Pause, channel: Channel, tag: str, back: list[str]) -> None:
    async def put_back(*_: object) -> None:
        back.append(tag)

    message = cast("Delivery", Message(channel, tag))
    await pause.hold_off(message, DOWN, put_back)


def pausing(clock: ManualClock) -> Pause:
    def ignore(event: Event) -> None:
        del event

    return Pause("orders", first=1, longest=1, clock=clock, auditor=ignore)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_consumer_that_is_stopped_while_the_pause_ends_comes_back(
    clock: ManualClock,
) -> None:
    """What is being cancelled in the last turn of a pause is consumed again with the others."""
    pause, channel, back = pausing(clock), Channel("one", "two"), list[str]()
    channel.answers.clear()
    first = asyncio.create_task(held_off(pause, channel, "one", back))
    await turns()
    await clock.advance(2)  # the pause is over, but for the answer
    channel.answers.set()
    await turns(1)
    channel.answers.clear()
    second = asyncio.create_task(held_off(pause, channel, "two", back))
    await turns(1)
    channel.answers.set()
    await asyncio.gather(first, second)
    await clock.advance(2)
    await turns()
    assert pause.reason is None
    assert sorted(channel.consumers) == ["one", "two"]
    assert sorted(back) == ["one", "two"]


async def test_a_consumer_that_somebody_brought_back_is_stopped_again(
    clock: ManualClock,
) -> None:
    """While a pause lasts, each consumer that delivers is cancelled, however often it returns."""
    pause, channel, back = pausing(clock), Channel("one"), list[str]()
    for times in range(1, 4):
        channel.consumers["one"] = print
        await held_off(pause, channel, "one", back)
        assert channel.cancelled == ["one"] * times
        assert not channel.consumers
    await clock.advance(2)
    await turns()
    assert list(channel.consumers) == ["one"]


async def test_a_consumer_that_has_an_owner_is_left_to_it(clock: ManualClock) -> None:
    """Who consumes again by itself is told that it was stopped, and when it may go on."""
    pause, channel, back = pausing(clock), Channel("one"), list[str]()
    stopped: list[bool] = []
    pause.owned_by(lambda: stopped.append(True))
    await held_off(pause, channel, "one", back)
    waiting = asyncio.create_task(pause.over())
    await turns()
    assert (stopped, waiting.done()) == ([True], False)
    await clock.advance(2)
    await asyncio.wait_for(waiting, 1)
    assert not channel.consumers
