"""Arbitrary messages, to a strict consumer and to one in shadow: who runs as whom?"""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, Caller, ConsumerOptions
from busauth.settings import Shadow
from tests.exhaustive.hostile import drawn, number_of
from tests.exhaustive.scenarios import proven
from tests.exhaustive.throwing import _end, _remembering
from tests.exhaustive.virtual import VirtualLoop, run
from tests.exhaustive.world import CLOCK, GUARD, QUEUE, SCOPE, Setting, World
from tests.parties import DAY

Runs = dict[int, set[Any]]


class Watched(World):
    """Notes as whom each message was handled."""

    def __init__(self, loop: VirtualLoop, setting: Setting) -> None:
        super().__init__(loop, setting, _handle)
        self.callers: Runs = defaultdict(set)

    def made(self) -> Bus:
        bus = Bus(self.url, guard=self._guarding(), service="test", options=self.setting.bus)

        @bus.consumer(self.queue, scopes={SCOPE})
        async def place(message: AbstractIncomingMessage, caller: Caller | None) -> None:
            who = caller and (caller.issuer, caller.subject, caller.scopes, caller.roles)
            self.callers[number_of(message.body) or 0].add(who)
            await self.handled(message)

        return bus


async def _handle(_world: World, message: AbstractIncomingMessage) -> None:
    if (number_of(message.body) or 0) % 5 == 1:
        raise LookupError


def _in_shadow(messages: Any) -> dict[str, Any]:
    until = datetime.fromtimestamp(CLOCK.now() + DAY, UTC)
    said = {QUEUE: ConsumerOptions(shadow=Shadow(until=until))}
    return {"messages": messages, "options": GUARD.model_copy(update={"consumers": said})}


async def _thrown(loop: VirtualLoop, setting: Setting, seeds: range, *, demands: bool) -> Runs:
    world = Watched(loop, setting)
    loop.set_task_factory(_remembering)
    await world.open()
    chosen = [drawn(each, world, proven=demands, readable=True) for each in seeds]
    await world.start()
    for each in chosen:
        for _ in range(each.times):
            world.operator.publish(each.header, each.body)
    assert await world.rest(most=400.0)
    waits = [name for name, queue in world.queues().items() for _ in queue.held()]
    assert not [name for name in waits if name == QUEUE or ".retry" in name]
    await _end(world)
    return world.callers


@pytest.mark.parametrize("demands", [False, True])
def test_nobody_becomes_somebody_in_shadow(demands: bool) -> None:
    """A handler's caller is None, or the one that strict would have given; nothing is stuck."""
    seeds = range(250)

    def runs(settings: Any) -> Runs:
        setting = Setting(guard=settings)
        return run(lambda loop: _thrown(loop, setting, seeds, demands=demands))

    strict = runs(lambda _world: {"messages": proven() if demands else None})
    shadowed = runs(lambda _world: _in_shadow(proven() if demands else None))
    assert len(shadowed) > len(strict) > 20
    for number, callers in shadowed.items():
        assert callers - {None} <= strict.get(number, set()), number
    assert all(callers <= shadowed[number] for number, callers in strict.items())
