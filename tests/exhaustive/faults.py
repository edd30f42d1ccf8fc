"""What happens at a point of a message's way, and what has become of the message after it.

The rule, once for all outcomes (consumer.py has it as a table): a message is in exactly one place,
and in two only where a copy was on its way or there, or its handler had returned, when the fault
came: it is delivered again, as nobody had acknowledged it. Who is cut off notices a little later,
and may have gone on until then: there it counts what was when the message was delivered again. A
copy whose original was confirmed and not acknowledged yet is in two places by then: with a handler
that has it in hand, it may come to three.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field

from busauth import EventKind
from tests.exhaustive.scenarios import TARGET, WAIT, Scenario, honest
from tests.exhaustive.suspensions import Point, Suspensions, install
from tests.exhaustive.virtual import VirtualLoop, run
from tests.exhaustive.world import World

BEFORE, BEHIND, LATER = b'{"id": 0}', b'{"id": 2}', b'{"id": 3}'
"""Honest messages: in front of the other and behind it, and one that comes after the fault."""

CONSUMING, PUBLISHING = "(consume)", "(publish)"


@dataclass(frozen=True)
class Fault:
    """Something that happens at a point.

    Attributes:
        name: for people, and for the ids of cases.
        connections: clients whose connections are cut; None for none, ``()`` for all.
        error: what the await raises.
        cancels, kills: whether the task is cancelled, and the process killed.
        stops: whether the service is stopped, as an operator does, and begun anew.
    """

    name: str
    connections: tuple[str, ...] | None = None
    error: Callable[[], Exception] | None = None
    cancels: bool = False
    kills: bool = False
    stops: bool = False

    def hits(self, point: Point) -> bool:
        """Whether it can happen there: nobody cancels a task that they do not know.

        One that has not come to us yet is the client library's to lose.
        """
        if self.error is not None:
            return (point.is_ours or not point.depth) and point.can_fail
        return not (self.cancels and (point.depth or point.stack == ("consumer",)))


FAULTS = (
    Fault("cancelled", cancels=True),
    Fault("killed", kills=True),
    Fault("stopped", stops=True),
    Fault("cut", connections=()),
    Fault("cut_consuming", connections=(CONSUMING,)),
    Fault("cut_publishing", connections=(PUBLISHING,)),
    Fault("runtime_error", error=lambda: RuntimeError("a bug")),
    Fault("os_error", error=lambda: OSError("no route")),
    Fault("timeout_error", error=TimeoutError),
)


@dataclass
class Stock:
    """Where a message is: its handler counts as a place, and so does a policy that discards."""

    places: Counter[str] = field(default_factory=Counter)

    @classmethod
    def taken(cls, world: World, scenario: Scenario, content: bytes) -> "Stock":
        places = world.places(content)
        places["handled"] = world.finished[content]
        if scenario.settles and content == TARGET:
            places["handled"] = world.acked[content]
        places["discarded"] = sum(
            event.kind == EventKind.DISCARDED and event.message_id == content.hex()
            for event in world.events
        )
        return cls(+places)

    @property
    def is_beside(self) -> bool:
        """Whether it is anywhere but in its queue, or twice there."""
        return bool(set(self.places) - {"main"}) or self.places["main"] > 1

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {count}" for name, count in sorted(self.places.items()))
        return shown or "nowhere"


@dataclass
class Account:
    """What was seen of one case.

    Attributes:
        points: all of the message's way.
        at: the point at which something happened, None where it was not reached.
        doubled: whether the message may be in two places since then.
        then: its stock at that moment.
        stocks: its stock in the end, and those of the two honest ones.
        runs: how often its handler began.
        rested: whether everything came to rest.
        bare: queues for people in which it has a token that is not encrypted.
    """

    points: list[Point]
    at: Point | None = None
    doubled: bool = False
    then: Stock = field(default_factory=Stock)
    stocks: tuple[Stock, Stock, Stock] = (Stock(), Stock(), Stock())
    runs: int = 0
    rested: bool = True
    bare: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """In how many places the message may be in the end."""
        return max(sum(self.then.places.values()), 1) + 1 if self.doubled else 1


def wrongs(scenario: Scenario, fault: Fault | None, account: Account) -> list[str]:
    """Return what is not as it should be: the oracle."""
    target, behind, later = account.stocks
    found = [] if account.rested else ["it never comes to rest"]
    if account.at is not None and not account.then.places:
        found.append("it was nowhere when the fault came")
    total, most = sum(target.places.values()), account.most
    if not 1 <= total <= most:
        found.append(f"it is in {total} places, not in 1{f' to {most}' if most > 1 else ''}")
    left = set(target.places) - _endings(scenario, fault)
    if left:
        found.append(f"it ended as {', '.join(sorted(left))}, not as {scenario.ends}")
    if account.bare:
        found.append(f"its token lies open in {', '.join(account.bare)}")
    if account.runs and not scenario.may_run:
        found.append("its handler ran")
    if behind.places.keys() != {"handled"} or behind.places["handled"] > 2:
        found.append(f"the honest one behind it: {behind}")
    if later.places != {"handled": 1}:
        found.append(f"the honest one that came later: {later}")
    return found


def _endings(scenario: Scenario, fault: Fault | None) -> set[str]:
    """Where it may end: an error in between may refuse it, and nothing but its handler handles."""
    ends = {scenario.ends}
    if fault is None:
        return ends
    if fault.error is not None:
        ends |= {"dead", "rejected"}
    if scenario.act is not None:  # what was not sent again stays where it waits
        ends |= {"parked", "dead"}
    return ends


@dataclass
class Case:
    """One scenario with one fault at one point; without a fault, the way itself."""

    scenario: Scenario
    fault: Fault | None = None
    number: int | None = None
    world: World = field(init=False)
    account: Account = field(init=False)
    watch: Suspensions = field(init=False)
    stopping: "asyncio.Task[None]" = field(init=False)

    def __str__(self) -> str:
        fault = "nothing" if self.fault is None else self.fault.name
        return f"{self.scenario.name}-{fault}-{self.number}"

    def seen(self) -> Account:
        """Carry it out."""
        state = random.getstate()
        random.seed(0)
        try:
            return run(self._run)
        finally:
            random.setstate(state)

    async def _run(self, loop: VirtualLoop) -> Account:
        scenario = self.scenario
        self.world = world = World(loop, scenario.setting, scenario.handler)
        watch = Suspensions(TARGET, self.number, self._happens)
        install(loop, [watch])
        self.account = account = Account(watch.points)
        self.watch = watch
        await world.open()
        try:
            await self._carried_out()
        finally:
            await self._end()
        return account

    async def _carried_out(self) -> None:
        scenario, world, account, watch = self.scenario, self.world, self.account, self.watch
        made = scenario.made(world)
        await asyncio.sleep(WAIT)
        watch.is_watching = scenario.act is None
        await world.start()
        self._put(BEFORE)
        assert world.operator.publish(made, TARGET)
        self._put(BEHIND)
        account.rested = await world.rest()
        if scenario.act is not None:
            watch.is_watching = True
            await self._acted(watch)
        watch.check()
        await self._recover()
        self._put(LATER)
        account.rested = await world.rest() and account.rested
        account.stocks = (self._stock(TARGET), self._stock(BEHIND), self._stock(LATER))
        account.runs = world.runs[TARGET]
        account.bare = () if scenario.is_brokers else world.bare(TARGET)

    async def _acted(self, watch: Suspensions) -> None:
        """Let somebody send the message again, who may be hit, too."""
        assert self.scenario.act is not None
        acting = asyncio.create_task(watch.named(self.scenario.act(self.world)))  # type: ignore[arg-type]
        await asyncio.wait([acting], timeout=100)
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        self.account.rested = await self.world.rest() and self.account.rested

    async def _recover(self) -> None:
        """Begin a new process where the old one is gone."""
        fault, world = self.fault, self.world
        if fault is None or self.account.at is None:
            return
        if fault.kills:
            await world.bury()
            await world.start()
        elif fault.stops:
            await self.stopping
            await world.start()
        self.account.rested = await world.rest() and self.account.rested

    async def _end(self) -> None:
        self.watch.is_watching = False
        self.world.is_dead = self.world.loop.is_cut_off = True
        self.world.loop.cut()
        self.world.operator.close()
        await self.world.bury()
        await self.world.broker.stop()

    def _put(self, content: bytes) -> None:
        assert self.world.operator.put(content, honest(self.world, content))

    def _stock(self, content: bytes) -> Stock:
        return Stock.taken(self.world, self.scenario, content)

    def _comes_again(self, content: bytes) -> None:
        if content == TARGET:  # what is handed out now is not counted at this instant
            self.account.doubled |= bool(self._stock(TARGET).places)
            self.world.delivered = lambda _content: None

    def _happens(self, point: Point) -> BaseException | None:
        """Let the fault happen; the message's stock at this instant decides what is allowed."""
        fault, world, account = self.fault, self.world, self.account
        assert fault is not None
        account.at, account.then = point, self._stock(TARGET)
        unsure = point.is_publishing or (self.scenario.settles and point.is_settling)
        account.doubled = unsure or account.then.is_beside
        if fault.kills:
            world.kill()
        if fault.connections is not None:
            world.loop.cut(*fault.connections)
            if PUBLISHING not in fault.connections:
                world.delivered = self._comes_again
        if fault.stops:
            stopping = world.stop()
            self.stopping = asyncio.get_running_loop().create_task(stopping, context=Context())
        if fault.cancels:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return None if fault.error is None else fault.error()
