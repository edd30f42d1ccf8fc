"""Throws arbitrary messages at a consumer in some state, and asks of each what became of it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import getstate, seed, setstate
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from busauth import BusOptions, Deferred, Event, EventKind, Park, StaticKeys, Verifier
from busauth._redaction import TOKEN_SHAPE
from busauth.audit import log_event
from busauth.tokens import Key, KeyMissing
from tests.exhaustive.hostile import SHORTLY, Hostile, drawn, honest_one, number_of
from tests.exhaustive.scenarios import keeping, proven
from tests.exhaustive.virtual import VirtualLoop, run
from tests.exhaustive.world import GUARD, RETRY, Setting, World, issuer
from tests.parties import security

_LINES_EACH, _LINES_MORE = 2, 300
_LONGEST_LINE = 20_000
_SHOWN, _TRIED = 8, 100
_MANY = 1000
_WIDE = BusOptions(retry=RETRY, drain=5.0, rejected_limit=1_000_000)


class FarKeys:
    """Keys that are out of reach while their world says so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys = StaticKeys(issuer().jwks())
        self.epoch = 0

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        if self._world.notes.get("down"):
            raise KeyMissing
        return self._keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        await asyncio.sleep(0)
        if self._world.notes.get("down"):
            raise Deferred("keys are out of reach", probe=self.refresh)
        return True


def _settings(world: World, **more: Any) -> dict[str, Any]:
    def told(event: Event) -> None:
        world._told(event)
        log_event(event)

    one = issuer()
    keys = Verifier(FarKeys(world), issuer=one.url, audience=one.audience, leeway=0)
    return {"verifiers": (keys,), "options": GUARD, "auditor": told, **more}


SETTINGS = {
    "bare": Setting(guard=_settings, bus=_WIDE),
    "proven": Setting(guard=lambda world: _settings(world, messages=proven()), bus=_WIDE),
    "keeping": Setting(
        guard=lambda world: _settings(world, messages=security(), on_expired=keeping()), bus=_WIDE
    ),
    "parking": Setting(
        guard=lambda world: _settings(world, messages=proven(), on_expired=Park()), bus=_WIDE
    ),
}
"""How consumers are set up."""

_PROVEN = {"proven", "parking"}


# --- states -------------------------------------------------------------------------------------


async def _running(world: World, throw: Callable[[], None]) -> None:
    await world.start()
    throw()


async def _paused(world: World, throw: Callable[[], None]) -> None:
    """Keys are out of reach while the messages come, and for a while after."""
    await world.start()
    world.notes["down"] = 1
    throw()
    await asyncio.sleep(3.0)
    world.notes["down"] = 0


async def _draining(world: World, throw: Callable[[], None]) -> None:
    """The service is stopped while the messages come, and started again."""
    await world.start()
    throw()
    await asyncio.sleep(0)
    await world.stop()
    await world.start()


async def _reconnected(world: World, throw: Callable[[], None]) -> None:
    """The connections are cut while the messages come."""
    await world.start()
    throw()
    await asyncio.sleep(0.001)
    world.loop.cut()


async def _waiting(world: World, throw: Callable[[], None]) -> None:
    """The messages wait for a service that starts."""
    throw()
    await asyncio.sleep(1.0)
    await world.start()


State = Callable[[World, Callable[[], None]], Awaitable[None]]
STATES: dict[str, State] = {
    "running": _running,
    "paused": _paused,
    "draining": _draining,
    "reconnected": _reconnected,
    "waiting": _waiting,
}
_DOUBLING = {"draining", "reconnected"}


# --- one throw ----------------------------------------------------------------------------------


class _Lines(logging.Handler):
    """What is logged, counted, and looked at for tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.longest, self.raw = 0, 0, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        line = logging.Formatter().format(record)
        self.count += 1
        self.longest = max(self.longest, len(line))
        if TOKEN_SHAPE.search(line):
            self.raw.append(line[:200])


@contextmanager
def _listening() -> Iterator[_Lines]:
    lines, loggers = _Lines(), [logging.getLogger(name) for name in ("busauth", "aio_pika")]
    loggers.append(logging.getLogger("aiormq"))
    before = [(each.level, each.propagate) for each in loggers]
    broker = logging.getLogger("busauth.broker")
    before_broker, broker.propagate = broker.propagate, False
    for each in loggers:
        each.addHandler(lines)
        each.setLevel(logging.INFO)
        each.propagate = False
    try:
        yield lines
    finally:
        broker.propagate = before_broker
        for each, (level, propagate) in zip(loggers, before, strict=True):
            each.removeHandler(lines)
            each.setLevel(level)
            each.propagate = propagate


async def _handle(world: World, message: AbstractIncomingMessage) -> None:
    """Fail for good now and then, and more often once."""
    await asyncio.sleep(0)
    number = number_of(message.body) or 0
    if _fails(number) or (not number % 3 and not world.note(f"failed {number}")):
        raise LookupError(number)


def _fails(number: int) -> bool:
    return number % 7 == 1


@dataclass
class Throw:
    """Some messages, thrown at once.

    Attributes:
        state, setting: what the consumer is like.
        seeds: of the messages.
        readable: whether the client library can read all of them.
        wrong: what is wrong, by seed; -1 for what is wrong with all of it.
    """

    state: str
    setting: str
    seeds: Sequence[int]
    readable: bool
    wrong: dict[int, str] = field(default_factory=dict)
    sent: list[Hostile] = field(default_factory=list)

    def carried_out(self) -> "Throw":
        """Throw, and look."""
        before = getstate()
        seed(0)
        try:
            with _listening() as lines:
                run(self._run)
            self._check_lines(lines)
        except Exception as error:
            self.wrong[-1] = f"{type(error).__name__}: {error}"
        finally:
            setstate(before)
        return self

    async def _run(self, loop: VirtualLoop) -> None:
        world = World(loop, SETTINGS[self.setting], _handle)
        loop.set_task_factory(_remembering)
        await world.open()
        is_proven = self.setting in _PROVEN
        chosen = [drawn(n, world, proven=is_proven, readable=self.readable) for n in self.seeds]
        await asyncio.sleep(2 * SHORTLY)
        await STATES[self.state](world, lambda: self._throw(world, chosen))
        if not await world.rest(most=400.0):
            self.wrong[-1] = "it never comes to rest"
        self._throw(world, [honest_one(_LAST, world)])
        await world.rest()
        self._look(world)
        await _end(world)

    def _throw(self, world: World, chosen: list[Hostile]) -> None:
        for each in chosen:
            for _ in range(each.times):
                if world.operator.publish(each.header, each.body):
                    self.sent.append(each)

    def _look(self, world: World) -> None:
        """The oracle: each is somewhere, once, and handled only by right."""
        places: dict[int | None, Counter[str]] = {}
        for name, queue in world.queues().items():
            for entry in queue.held():
                if name.startswith("orders"):
                    known = number_of(entry.message.body)
                    places.setdefault(known, Counter())[name] += 1
        for each, times in Counter(self.sent).items():
            found = places.pop(each.seed, Counter())
            wrong = self._judged(each, times, found, world)
            if wrong:
                shown = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
                handled = world.finished[each.body]
                self.wrong[each.seed] = f"{wrong}: handled {handled}, {shown or 'in no queue'}"
        if places:
            self.wrong[-1] = f"messages that nobody sent: {list(places)[:5]}"

    def _judged(self, each: Hostile, times: int, found: Counter[str], world: World) -> str | None:
        """Return the first rule that is broken."""
        handled, gone = world.finished[each.body], world.gone[each.body]
        total, is_doubled = handled + sum(found.values()), self.state in _DOUBLING
        is_doubled |= not self.readable
        known = sum(
            event.kind == EventKind.DUPLICATE and event.message_id == each.body.hex()
            for event in world.events
        )
        waits = [name for name in found if name == "orders" or name.startswith("orders.retry")]
        rules = {
            "its handler ran without authority": not each.may_run and world.runs[each.body],
            "it is honest": each.must_run and not _fails(each.seed) and (found or not handled),
            "it is stuck": waits,
            "a copy was handled": self.setting in _PROVEN and handled > 1 and not is_doubled,
            "it is lost": total + known < times and not (gone and each.expires),
            "it is in too many places": total > times * (2 if is_doubled else 1),
        }
        return next((rule for rule, is_broken in rules.items() if is_broken), None)

    def _check_lines(self, lines: _Lines) -> None:
        most = _LINES_EACH * len(self.sent) + _LINES_MORE
        if lines.raw:
            self.wrong[-1] = f"a token was logged: {lines.raw[0]}"
        elif lines.count > most:
            self.wrong[-1] = f"{lines.count} log lines for {len(self.sent)} messages"
        elif lines.longest > _LONGEST_LINE:
            self.wrong[-1] = f"a log line of {lines.longest} characters"


_LAST = 10**9 + 2
"""The number of an honest message that comes after all others."""


def _remembering(loop: Any, coro: Any, **named: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **named)
    if len(loop.tasks) > _MANY:
        loop.tasks[:] = [each for each in loop.tasks if not each.done()]
    loop.tasks.append(task)
    return task


async def _end(world: World) -> None:
    world.kill()
    world.operator.close()
    await world.bury()
    await world.broker.stop()


def told(throw: Throw) -> str:
    """Tell what is wrong: first the messages that are enough for it by themselves."""
    of_all = [f"all of it: {what}" for number, what in throw.wrong.items() if number < 0]
    wrong = [number for number in throw.wrong if number >= 0]
    alone = [number for number in wrong[:_TRIED] if _is_wrong_alone(throw, number)]
    others = [number for number in wrong if number not in alone]
    return "\n".join(
        [
            *of_all,
            *(f"{_named(throw, number)} (alone, too)" for number in alone[:_SHOWN]),
            *(f"{_named(throw, number)} (not by itself)" for number in others[:_SHOWN]),
            f"{len(alone)} alone, {len(others)} not",
        ]
    )


def _is_wrong_alone(throw: Throw, number: int) -> bool:
    one = Throw(throw.state, throw.setting, [number], throw.readable)
    return bool(one.carried_out().wrong)


def _named(throw: Throw, number: int) -> str:
    return f"{throw.state}-{throw.setting}-{number}: {throw.wrong[number]}"
