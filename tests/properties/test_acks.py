"""Whatever happens on a channel, acknowledgements cover what a guard has settled, and no more."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from busauth._amqp.settling.acks import Acks
from tests.unit.test_acks import Channel, delivery, noting, quiet

GUARDED, FOREIGN = "guarded", "foreign"
operations = st.lists(
    st.tuples(st.sampled_from(["receive", "foreign", "ack", "give back", "turn"]), st.integers(0)),
    max_size=60,
)


@dataclass
class Broker:
    """The broker's side of one channel: which tags wait to be settled, and whose they are."""

    waiting: dict[int, str] = field(default_factory=dict)
    acked: set[int] = field(default_factory=set)
    last: int = 0

    def deliver(self, whose: str) -> int:
        self.last += 1
        self.waiting[self.last] = whose
        return self.last

    def acknowledge(self, tag: int, *, multiple: bool) -> None:
        assert tag in self.waiting, f"406, unknown delivery tag {tag}"
        for each in [n for n in self.waiting if n == tag or (multiple and n < tag)]:
            assert self.waiting.pop(each) == GUARDED
            self.acked.add(each)


@dataclass
class Play:
    """A channel, its two sides, and what is expected of them."""

    channel: Channel = field(default_factory=lambda: Channel(room=10_000))
    acks: Acks = field(default_factory=Acks)
    broker: Broker = field(default_factory=Broker)
    held: list[int] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    told: list[tuple[int, bool]] = field(default_factory=list)

    async def step(self, what: str, choice: int) -> None:
        if what == "receive":
            self.held.append(self.broker.deliver(GUARDED))
        elif what == "foreign":
            self.broker.deliver(FOREIGN)
        elif what == "turn":
            await self.turn()
        elif self.held:
            await self.settle(what, self.held.pop(choice % len(self.held)))

    async def settle(self, what: str, tag: int) -> None:
        if what == "ack":
            self.done.add(tag)
            self.acks.add(delivery(self.channel, tag), noting(self.told, tag))
            return
        await self.turn()  # what was given back is told at once, before any later frame
        del self.broker.waiting[tag]
        self.acks.settled(delivery(self.channel, tag))

    async def turn(self) -> None:
        await quiet()
        for tag, multiple in (ack for frame in self.channel.read() for ack in frame):
            self.broker.acknowledge(tag, multiple=multiple)
        assert self.broker.acked == self.done
        assert sorted(self.told) == [(tag, True) for tag in sorted(self.done)]


async def play(steps: list[tuple[str, int]]) -> None:
    game = Play()
    for what, choice in steps:
        await game.step(what, choice)
    await game.turn()
    left = {tag for tag, whose in game.broker.waiting.items() if whose == GUARDED}
    assert left == set(game.held)


@given(steps=operations)
def test_exactly_what_is_settled_is_acknowledged(steps: list[tuple[str, int]]) -> None:
    """Each settled message once, nobody else's, and none that is still in hand."""
    asyncio.run(play(steps))
