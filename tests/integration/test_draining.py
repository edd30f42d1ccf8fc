"""A service that stops: what runs may finish, and what has not begun goes back at once."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from busauth import Bus, BusOptions, Deferred, Guard, GuardOptions, Verifier
from busauth.expiry import LateToken
from busauth.messages import InProcessReplay, ReplayKey, Standing
from busauth.testing import Issuer
from busauth.tokens import Key, KeyMissing
from tests.parties import DAY, Party, security
from tests.support import LADDERS, Broker, Order, Trail, guard_for

LADDER = BusOptions(retry=LADDERS[1])


async def test_draining_begins_nothing(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """What waited for a slot is back in its queue while a handler still runs; it never began."""
    queue = broker.name("orders")
    guard = guard_for(issuer, trail, options=GuardOptions(concurrency=1))
    bus = Bus(url, guard=guard, service="orders", options=LADDER)
    began, finish, seen = asyncio.Event(), asyncio.Event(), list[int]()

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        seen.append(order.id)
        began.set()
        await finish.wait()

    async with bus:
        for number in range(5):
            await bus.publish(queue, Order(id=number), token=issuer.token())
        await began.wait()
        stopping = asyncio.create_task(bus.__aexit__(None, None, None))
        await broker.settles_at(queue, 4)
        assert not stopping.done()
        finish.set()
        await stopping
    assert seen == [0]
    assert trail.kinds().count("handled") == 1
    await broker.settles_at(queue, 4)


WEB = Party("web")


class Unanswered(InProcessReplay):
    """Keys, a policy and a memory that are asked, and do not answer yet."""

    epoch = 0

    def __init__(self) -> None:
        super().__init__(keep_for=2 * DAY)
        self.is_asked, self.answers = asyncio.Event(), False

    async def wait(self) -> None:
        self.is_asked.set()
        while not self.answers:
            await asyncio.Event().wait()

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        raise KeyMissing

    async def refresh(self) -> bool:
        await self.wait()
        return True

    async def policy(self, late: LateToken) -> None:
        await self.wait()

    async def deferring(self, late: LateToken) -> None:
        self.is_asked.set()
        raise Deferred("somebody is out of reach")

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        standing = await super().begin(key, holder=holder, redelivered=redelivered)
        await self.wait()
        return standing


def guarded(part: str, far: Unanswered, issuer: Issuer, trail: Trail) -> Guard:
    """Return a guard one part of which does not answer."""
    if part == "keys":
        return Guard(Verifier(far, issuer=issuer.url, audience=issuer.audience), auditor=trail)
    policy = far.policy if part == "policy" else far.deferring
    return guard_for(issuer, trail, on_expired=policy)


@pytest.mark.parametrize("part", ["keys", "policy", "pause"])
async def test_what_waits_for_somebody_goes_back_at_once(
    part: str, broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """However long handlers may take to finish, what is undecided is not waited for."""
    queue, far = broker.name("orders"), Unanswered()
    patient = BusOptions(retry=LADDERS[1], drain=3600.0)
    bus = Bus(url, guard=guarded(part, far, issuer, trail), service="orders", options=patient)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        raise AssertionError

    async with asyncio.timeout(15):
        async with bus:
            await broker.publish(queue, token=issuer.token(exp=int(time.time()) - 60))
            await far.is_asked.wait()
        await broker.settles_at(queue, 1)
    assert trail.kinds() == (["deferred"] if part == "pause" else [])


async def test_what_a_memory_was_asked_about_is_no_copy_later(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """It goes back while the memory has it in flight, and is handled where it comes again."""
    queue, far = broker.name("orders"), Unanswered()
    messages = security(WEB.publisher(), signer=WEB.signer, replay=far)
    guard = guard_for(issuer, trail, messages=messages)
    bus = Bus(url, guard=guard, service="orders", options=LADDER)

    @bus.consumer(queue)
    async def handle(order: Order) -> None:
        pass

    async with asyncio.timeout(15):
        async with bus:
            await bus.publish(queue, Order(id=1), token=issuer.token())
            await far.is_asked.wait()
        far.answers = True
        async with bus:
            await trail.until("handled")
    assert "refused" not in trail.kinds()


def test_the_deadline_leaves_room_inside_thirty_seconds() -> None:
    """An orchestrator that kills after 30 s, as is usual, does not cut a drain."""
    assert BusOptions().drain <= 25
