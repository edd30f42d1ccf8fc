"""The main outcomes on RabbitMQ, cancelled and cut off at every await of their ways."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic

from busauth import EventKind
from busauth._amqp.topology import arguments_of
from tests.exhaustive.faults import (
    BEFORE,
    BEHIND,
    FAULTS,
    LATER,
    Account,
    Fault,
    Stock,
    wrongs,
)
from tests.exhaustive.scenarios import SCENARIOS, TARGET, Scenario, honest
from tests.exhaustive.suspensions import Point, Suspensions, install
from tests.exhaustive.world import World
from tests.proxy import proxied

_MAIN = (
    *("handled", "handled_proven", "refused_signature", "refused_scope", "rejected", "retried"),
    *("late_discard", "late_park", "late_grace", "late_deferred"),
)
_CHOSEN = [scenario for scenario in SCENARIOS if scenario.name in _MAIN]
_HAPPENING = [fault for fault in FAULTS if fault.name in ("cancelled", "cut")]
_LIFETIME, _WAIT = 1.0, 2.1
_MOST = 40.0
_AT_ONCE = 24
_QUIET, _RECONNECTED = 0.8, 1.6
"""Seconds without a word; a connection is restored after one."""


class _Live(World):
    """A world around a broker that runs by itself."""

    through: str

    @property
    def url(self) -> str:
        return self.through


@dataclass
class _Case:
    scenario: Scenario
    fault: Fault | None
    number: int | None
    url: str
    world: _Live = field(init=False)
    account: Account = field(init=False)
    cut: Any = None

    def __str__(self) -> str:
        what = self.fault.name if self.fault else "nothing"
        return f"{self.scenario.name}-{what}-{self.number}"

    async def seen(self, watches: list[Suspensions]) -> Account:
        """Carry it out, next to others."""
        loop: Any = asyncio.get_running_loop()
        world = self.world = _Live(
            loop, self.scenario.setting, self.scenario.handler, queue=f"x{uuid4().hex[:10]}"
        )
        world.lifetime = _LIFETIME
        watch = Suspensions(TARGET, self.number, self._happens, queue=world.queue)
        watches.append(watch)
        self.account = Account(watch.points)
        async with await aio_pika.connect(self.url) as operator, proxied(self.url) as (proxy, url):
            self.cut, world.through = proxy.cut, url
            await _declare(operator, world)
            try:
                await self._carried_out(operator, watch)
            finally:
                await _delete(operator, world)
        return self.account

    async def _carried_out(self, operator: AbstractConnection, watch: Suspensions) -> None:
        world, account = self.world, self.account
        made = self.scenario.publish(world, TARGET)
        await asyncio.sleep(_WAIT if self.scenario.name.startswith("late") else 0)
        await world.start()
        for content, properties in (
            (BEFORE, honest(world, BEFORE)),
            (TARGET, made),
            (BEHIND, honest(world, BEHIND)),
        ):
            await _put(operator, world, content, properties)
        account.rested = await self._rest()
        if self.fault is not None and self.fault.cancels and account.at is not None:
            await world.stop()
            await world.start()
            account.rested &= await self._rest()
        watch.is_watching = False  # what comes later is promised to see no fault
        await _put(operator, world, LATER, honest(world, LATER))
        account.rested &= await self._rest()
        watch.check()
        await world.stop()
        found = await _taken(operator, world)
        target, behind, later = (
            self._stock(content, found[content]) for content in (TARGET, BEHIND, LATER)
        )
        account.stocks, account.runs = (target, behind, later), world.runs[TARGET]

    async def _rest(self) -> bool:
        """Wait until nothing was told for a while, and the service has its connections."""
        loop, world = asyncio.get_running_loop(), self.world
        began = since = loop.time()
        seen = len(world.events)
        while loop.time() - since < (_QUIET if self.account.at is None else _RECONNECTED):
            if loop.time() - began > _MOST:
                return False
            await asyncio.sleep(0.1)
            if len(world.events) != seen:
                seen, since = len(world.events), loop.time()
        return True

    def _stock(self, content: bytes, places: Counter[str]) -> Stock:
        world = self.world
        found = Counter(places)
        found["handled"] = world.finished[content]
        found["discarded"] = sum(
            event.kind == EventKind.DISCARDED and event.message_id == content.hex()
            for event in world.events
        )
        return Stock(+found)

    def _happens(self, point: Point) -> None:
        """Let the fault happen; on a live broker nobody can look into its queues meanwhile.

        What runs again is a copy, and after a cut its original may be there still: the broker may
        not have read that it was settled.
        """
        assert self.fault is not None
        account, world = self.account, self.world
        account.at = point
        there = 1 if self.fault.cancels else max(1, world.runs[TARGET])
        account.then = Stock(Counter({"main": there, "handled": world.finished[TARGET]}))
        started = any(each.is_publishing for each in account.points)
        account.doubled = started or bool(world.finished[TARGET]) or not self.fault.cancels
        if self.fault.cancels:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        else:
            self.cut()


async def _declare(operator: AbstractConnection, world: World) -> None:
    async with operator.channel() as channel:
        for name, arguments in arguments_of(world.queue, world.setting.bus, parks=True).items():
            await channel.declare_queue(name, durable=True, arguments=arguments)


async def _delete(operator: AbstractConnection, world: World) -> None:
    async with operator.channel() as channel:
        for name in arguments_of(world.queue, world.setting.bus, parks=True):
            await channel.queue_delete(name)


async def _put(
    operator: AbstractConnection, world: World, content: bytes, properties: Basic.Properties
) -> None:
    async with operator.channel() as channel:
        underlay = await channel.get_underlay_channel()
        await underlay.basic_publish(content, routing_key=world.queue, properties=properties)


async def _taken(operator: AbstractConnection, world: World) -> dict[bytes, Counter[str]]:
    """Take everything that is left, once nobody consumes."""
    found: dict[bytes, Counter[str]] = {each: Counter() for each in (TARGET, BEHIND, LATER)}
    async with operator.channel() as channel:
        for name in arguments_of(world.queue, world.setting.bus, parks=True):
            queue = await channel.get_queue(name)
            while (message := await queue.get(fail=False)) is not None:
                await message.ack()
                if message.body in found:
                    found[message.body][world.kind(name)] += 1
    return found


def _carried_out(cases: list[_Case]) -> list[Account]:
    """Carry out all at once: they wait most of the time."""

    async def main() -> list[Account]:
        watches: list[Suspensions] = []
        install(asyncio.get_running_loop(), watches)
        return await asyncio.gather(*(case.seen(watches) for case in cases))

    with asyncio.Runner() as runner:
        return runner.run(main())


@pytest.fixture(scope="module")
def ways(rabbitmq_url: str) -> dict[str, Account]:
    """The way of each scenario when nothing happens."""
    accounts = _carried_out([_Case(each, None, None, rabbitmq_url) for each in _CHOSEN])
    return {each.name: account for each, account in zip(_CHOSEN, accounts, strict=True)}


def _cases(way: Account, scenario: Scenario, url: str) -> list[_Case]:
    """Return a case for each point of a way at which a fault can happen."""
    return [
        _Case(scenario, fault, number, url)
        for fault in _HAPPENING
        for number, point in enumerate(way.points)
        if fault.hits(point)
    ]


def _wrong(cases: list[_Case]) -> list[str]:
    return [
        f"{case}, at {account.at}: {wrong}"
        for case, account in zip(cases, _carried_out(cases), strict=True)
        for wrong in wrongs(case.scenario, case.fault, account)
    ]


@pytest.mark.alone  # a quiet second says that all is done only where the machine is not overloaded
def test_each_await(ways: dict[str, Account], rabbitmq_url: str) -> None:
    """Wherever a way can wait, in one that does, the message is where it may be."""
    found: dict[tuple[Fault, tuple[str, ...]], _Case] = {}
    for scenario in _CHOSEN:
        way = ways[scenario.name]
        assert wrongs(scenario, None, way) == []
        for case in _cases(way, scenario, rabbitmq_url):
            assert case.fault is not None
            assert case.number is not None
            found.setdefault((case.fault, way.points[case.number].stack), case)
    cases = list(found.values())
    for first in range(0, len(cases), _AT_ONCE):
        assert _wrong(cases[first : first + _AT_ONCE]) == []


@pytest.mark.alone
@pytest.mark.thorough
@pytest.mark.parametrize("scenario", _CHOSEN, ids=lambda scenario: scenario.name)
def test_every_await(scenario: Scenario, ways: dict[str, Account], rabbitmq_url: str) -> None:
    """At every point of its way, the message is where it may be, and the consumer goes on."""
    assert _wrong(_cases(ways[scenario.name], scenario, rabbitmq_url)) == []
