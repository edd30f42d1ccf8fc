"""Redeliveries, duplicates and copies: the same cases for both memories, one on a real Redis."""

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from busauth._messages.proof import Proven
from busauth._messages.replay import Duplicate, GroupMemory, NoMemory
from busauth._messages.seal import Sealed
from busauth.errors import ConfigurationError, Deferred, Forbidden
from busauth.integrations.redis.replay import RedisReplay
from busauth.messages import InProcessReplay, ReplayKey, ReplayMemory, Standing
from busauth.testing import ManualClock
from tests.unit.redis_server import RedisServer, free_port, redis_server
from tests.unit.support import NOW

KEEP, CAPACITY = 60.0, 3


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as redis:
        yield redis


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    client = redis.client()
    yield client
    await client.aclose()


class Memory:
    """A memory whose time passes when a test says so, and attempts that have names."""

    moment = 0.001

    def __init__(self, memory: ReplayMemory) -> None:
        self.memory, self.at = memory, NOW
        self._attempts = count()

    async def until(self, at: float) -> None:
        """Let time pass."""
        if at != self.at:
            await self._pass(at - self.at)
        self.at = at

    async def begin(
        self,
        each: ReplayKey | None = None,
        *,
        again: bool = False,
        at: float | None = None,
        holder: str | None = None,
    ) -> Standing:
        await self.until(self.at if at is None else at)
        holder = holder or f"attempt-{next(self._attempts)}"
        return await self.memory.begin(each or key(), holder=holder, redelivered=again)

    async def done(self, each: ReplayKey | None = None, *, at: float | None = None) -> None:
        await self.until(self.at if at is None else at)
        await self.memory.done(each or key())

    async def forget(self, each: ReplayKey | None = None, *, holder: str) -> None:
        await self.memory.forget(each or key(), holder=holder)

    async def _pass(self, seconds: float) -> None:
        raise NotImplementedError


class ProcessMemory(Memory):
    memory: InProcessReplay

    def __init__(self) -> None:
        self.clock = ManualClock()
        super().__init__(InProcessReplay(keep_for=KEEP, capacity=CAPACITY, clock=self.clock))

    async def _pass(self, seconds: float) -> None:
        await self.clock.advance(seconds)


class RedisMemory(Memory):
    """Redis' own clock cannot be moved: entries come nearer to their end instead."""

    moment = 1.0

    def __init__(self, client: Redis) -> None:
        self.client = client
        super().__init__(RedisReplay(client, keep_for=KEEP, capacity=CAPACITY))

    async def _pass(self, seconds: float) -> None:
        for name in await self.client.keys("*:done") + await self.client.keys("*:flying"):
            entries: Any = await self.client.zrange(name, 0, -1)
            for entry in entries:
                await self.client.zincrby(name, -seconds, entry)


@pytest.fixture(params=["process", "redis"])
def memory(request: pytest.FixtureRequest) -> Memory:
    if request.param == "process":
        return ProcessMemory()
    return RedisMemory(request.getfixturevalue("client"))


def key(message_id: str = "m-1", **changes: Any) -> ReplayKey:
    usual: dict[str, Any] = {"group": "orders", "publisher": "shop", "message_id": message_id}
    return ReplayKey(**usual | changes)


@pytest.mark.parametrize("redelivered", [False, True])
async def test_an_unknown_message_is_new(memory: Memory, redelivered: bool) -> None:
    """What nobody has begun is handled, also when the broker delivered it before."""
    assert await memory.begin(again=redelivered) is Standing.NEW


async def test_a_redelivery_of_what_is_in_flight_is_handled(memory: Memory) -> None:
    """Its worker crashed, or gave it back; it may come back more than once."""
    await memory.begin()
    assert await memory.begin(again=True) is Standing.AGAIN
    assert await memory.begin(again=True) is Standing.AGAIN


async def test_what_is_done_can_be_asked_about(memory: Memory) -> None:
    """Asking puts nothing in flight, and what is in flight is not done."""
    assert not await memory.memory.was_settled(key())
    assert await memory.begin() is Standing.NEW
    assert not await memory.memory.was_settled(key())
    await memory.done()
    assert await memory.memory.was_settled(key())
    await memory.until(NOW + KEEP + memory.moment)
    assert not await memory.memory.was_settled(key())


async def test_a_redelivery_of_what_is_done_is_a_duplicate(memory: Memory) -> None:
    """Its acknowledgement got lost; the handler need not run again."""
    await memory.begin()
    await memory.done()
    assert await memory.begin(again=True) is Standing.DUPLICATE
    assert await memory.begin(again=True) is Standing.DUPLICATE


@pytest.mark.parametrize("done", [False, True])
async def test_a_copy_is_a_copy(memory: Memory, done: bool) -> None:
    """What was published twice is told from what the broker delivers twice."""
    await memory.begin()
    if done:
        await memory.done()
    assert await memory.begin() is Standing.COPY
    assert await memory.begin(again=True) is (Standing.DUPLICATE if done else Standing.AGAIN)


async def test_a_copy_is_refused(memory: Memory) -> None:
    """The refusal has its code; what is a duplicate is told from it, and all else is let pass."""
    group = GroupMemory(memory=memory.memory, group="orders")
    asked: Any = {"holder": "first", "redelivered": False}
    await group.admit(key(), **asked)
    with pytest.raises(Forbidden) as caught:
        await group.admit(key(), **asked | {"holder": "second"})
    assert caught.value.code == "replay.copy"
    await memory.done()
    asked = {"holder": "third", "redelivered": True}
    with pytest.raises(Duplicate):
        await group.admit(key(), **asked)


async def test_where_nothing_remembers_everything_passes() -> None:
    """No message has a key there, and nobody is asked whose one is."""
    nothing = NoMemory()
    proven = Proven("shop", NOW, "m-1", "", "orders", frozenset(), "shop", NOW)
    assert (nothing.remembers, nothing.key(proven, Sealed())) == (False, None)
    await nothing.done(key())
    await nothing.admit(key(), holder="first", redelivered=True)
    await nothing.forget(key(), holder="first")

    async def prove() -> Proven | None:
        raise AssertionError

    assert await nothing.settled_as(prove, Sealed()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"group": "stock"},
        {"publisher": "other"},
        {"message_id": "m-2"},
        {"attempt": 1},
        {"redrive": 1},
        {"publisher": "sho", "message_id": "pm-1"},
    ],
)
async def test_another_message_is_another_message(memory: Memory, changes: dict[str, Any]) -> None:
    """Group, publisher, id, attempt and redrive tell messages apart, each by itself."""
    await memory.begin()
    assert await memory.begin(key(**changes)) is Standing.NEW


async def test_what_was_not_handled_can_be_taken_back(memory: Memory) -> None:
    """A message that waits elsewhere comes again as new; what is done stays done."""
    await memory.begin(holder="first")
    await memory.forget(holder="first")
    assert await memory.begin(holder="second") is Standing.NEW
    await memory.done()
    await memory.forget(holder="second")
    assert await memory.begin() is Standing.COPY
    await memory.forget(key("unknown"), holder="second")


@pytest.mark.parametrize("redelivered", [False, True])
@pytest.mark.parametrize("known", [False, True])
async def test_a_question_that_is_repeated_is_answered_alike(
    memory: Memory, known: bool, redelivered: bool
) -> None:
    """An attempt whose answer got lost does not find itself, and is taken for no copy."""
    if known:
        await memory.begin(holder="before")
    first = await memory.begin(holder="me", again=redelivered)
    for again in (redelivered, not redelivered):
        repeated = await memory.begin(holder="me", again=again)
        assert (repeated is first) or first is Standing.COPY
    assert await memory.begin(holder="another") is Standing.COPY


async def test_a_later_holder_keeps_what_an_earlier_one_gives_back(memory: Memory) -> None:
    """A redelivery took over: what the first attempt takes back late is not its any more."""
    await memory.begin(holder="first")
    assert await memory.begin(holder="second", again=True) is Standing.AGAIN
    await memory.forget(holder="first")
    assert await memory.begin(holder="copy") is Standing.COPY
    await memory.forget(holder="second")
    assert await memory.begin(holder="third") is Standing.NEW


async def test_taking_back_twice_changes_nothing(memory: Memory) -> None:
    """A repeated step frees nothing that somebody else has begun since."""
    await memory.begin(holder="first")
    await memory.forget(holder="first")
    await memory.begin(holder="second")
    await memory.forget(holder="first")
    assert await memory.begin(holder="copy") is Standing.COPY


async def test_what_one_holder_has_done_is_done_for_all(memory: Memory) -> None:
    """A handler that outlived its connection has handled the message all the same."""
    await memory.begin(holder="first")
    await memory.begin(holder="second", again=True)
    await memory.done()
    await memory.forget(holder="second")
    assert await memory.begin(again=True) is Standing.DUPLICATE


@pytest.mark.parametrize("done", [False, True])
async def test_entries_die_at_their_instant(memory: Memory, done: bool) -> None:
    """A moment before `keep_for` an entry counts, and from then on it does not."""
    await memory.begin()
    if done:
        await memory.done()
    assert await memory.begin(at=NOW + KEEP - memory.moment) is Standing.COPY
    assert await memory.begin(at=NOW + KEEP) is Standing.NEW


async def test_each_touch_keeps_an_entry(memory: Memory) -> None:
    """A redelivery and the end of the work count from then on."""
    await memory.begin()
    await memory.begin(again=True, at=NOW + 50)
    assert await memory.begin(at=NOW + 100) is Standing.COPY
    await memory.done(at=NOW + 100)
    assert await memory.begin(at=NOW + 150) is Standing.COPY


async def test_each_entry_dies_by_itself(memory: Memory) -> None:
    """One that was touched later keeps no other alive, in flight or done."""
    for at, name in ((0, "first"), (1, "second")):
        await memory.begin(key(name), at=NOW + at)
    await memory.begin(key("first"), again=True, at=NOW + 50)
    assert await memory.begin(key("second"), at=NOW + KEEP + 1) is Standing.NEW
    for at, name in ((62, "first"), (63, "second"), (64, "first")):
        await memory.done(key(name), at=NOW + at)
    assert await memory.begin(key("second"), at=NOW + KEEP + 63) is Standing.NEW
    assert await memory.begin(key("first"), at=NOW + KEEP + 63) is Standing.COPY


async def test_a_copy_keeps_nothing_alive(memory: Memory) -> None:
    """Whoever publishes copies cannot make the memory keep them."""
    await memory.begin()
    await memory.done()
    await memory.begin(at=NOW + 50)
    await memory.begin(again=True, at=NOW + 50)
    assert await memory.begin(at=NOW + KEEP) is Standing.NEW


async def test_a_full_memory_forgets_what_was_done_first(memory: Memory) -> None:
    """The oldest done entry makes room, and its copy counts as new: that much is lost."""
    for each in ("first", "second", "third"):
        await memory.begin(key(each))
    for at, each in enumerate(("second", "first", "third")):
        await memory.done(key(each), at=NOW + at)
    assert await memory.begin(key("fourth"), at=NOW + 3) is Standing.NEW
    assert await memory.begin(key("first"), at=NOW + 3) is Standing.COPY
    assert await memory.begin(key("third"), at=NOW + 3) is Standing.COPY
    assert await memory.begin(key("second"), at=NOW + 3) is Standing.NEW


async def test_what_is_in_flight_is_never_forgotten_for_room(memory: Memory) -> None:
    """A memory full of messages in flight lets the next one wait."""
    for each in ("first", "second", "third"):
        await memory.begin(key(each))
    with pytest.raises(Deferred, match="full"):
        await memory.begin(key("fourth"))
    for each in ("first", "second", "third"):
        assert await memory.begin(key(each)) is Standing.COPY
    assert await memory.begin(key("first"), again=True) is Standing.AGAIN
    await memory.done(key("second"))
    assert await memory.begin(key("fourth")) is Standing.NEW


async def test_what_was_forgotten_can_still_be_done(memory: Memory) -> None:
    """A handler that outlasted its entry is remembered as done, where there is room."""
    await memory.done()
    assert await memory.begin(again=True) is Standing.DUPLICATE
    for each in ("second", "third", "fourth"):
        await memory.begin(key(each))
    with pytest.raises(Deferred, match="full"):
        await memory.done(key("fifth"))


async def test_being_done_twice_changes_nothing(memory: Memory) -> None:
    """Settling is idempotent, in a full memory, too."""
    for each in ("first", "second", "third"):
        await memory.begin(key(each))
    await memory.done(key("first"))
    await memory.done(key("first"))
    assert await memory.begin(key("second")) is Standing.COPY


async def test_of_many_at_once_one_is_new(memory: Memory) -> None:
    """Copies that arrive together are told apart all the same."""
    standings = await asyncio.gather(*(memory.begin() for _ in range(20)))
    assert standings.count(Standing.NEW) == 1
    assert standings.count(Standing.COPY) == 19


@pytest.mark.parametrize(("keep", "capacity"), [(0, 1), (-1, 1), (float("inf"), 1), (1, 0)])
async def test_a_memory_that_keeps_nothing_is_an_error(
    keep: float, capacity: int, client: Redis
) -> None:
    """Seconds and capacity are above 0."""
    with pytest.raises(ConfigurationError):
        InProcessReplay(keep_for=keep, capacity=capacity)
    with pytest.raises(ConfigurationError):
        RedisReplay(client, keep_for=keep, capacity=capacity)
    with pytest.raises(ConfigurationError, match="timeout"):
        RedisReplay(client, keep_for=1, timeout=keep if keep != 1 else 0)


async def test_a_memory_in_process_is_bounded() -> None:
    """It never holds more than its capacity, however many come."""
    memory = ProcessMemory()
    for number in range(20):
        await memory.begin(key(str(number)))
        await memory.done(key(str(number)))
        assert len(memory.memory) <= CAPACITY
    await memory.begin(at=NOW + KEEP)
    assert len(memory.memory) == 1


async def test_a_new_process_knows_nothing() -> None:
    """What a memory in process knew is lost with it."""
    assert await ProcessMemory().begin() is Standing.NEW
    assert await ProcessMemory().begin() is Standing.NEW


async def test_workers_share_a_memory_in_redis(redis: RedisServer, client: Redis) -> None:
    """What one worker began, another knows."""
    async with redis.client() as other:
        await RedisMemory(client).begin(holder="first")
        assert await RedisMemory(other).begin(holder="second") is Standing.COPY
        elsewhere = RedisReplay(other, keep_for=KEEP, prefix="another")
        assert await Memory(elsewhere).begin() is Standing.NEW


async def test_a_client_that_decodes_is_fine(redis: RedisServer) -> None:
    """Whichever way a client was made, answers mean the same."""
    async with Redis(port=redis.port, decode_responses=True) as client:
        memory = RedisMemory(client)
        assert await memory.begin(holder="me") is Standing.NEW
        assert await memory.begin(holder="me") is Standing.NEW
        assert await memory.begin() is Standing.COPY


async def test_redis_holds_digests_that_die_by_themselves(client: Redis) -> None:
    """No sender chooses how much is kept, and a group that fell silent leaves nothing."""
    memory = RedisMemory(client)
    await memory.begin(key("m" * 10_000, group="g" * 10_000))
    await memory.done(key("m" * 10_000, group="g" * 10_000))
    await memory.begin(key("another", group="g" * 10_000), holder="me")
    names: Any = await client.keys("*")
    assert len(names) == 3
    for name in names:
        assert len(name) < 100
        assert 0 < await client.pttl(name) <= KEEP * 1000
        holders = name.endswith(b"holders")
        entries = await client.hkeys(name) if holders else await client.zrange(name, 0, -1)
        assert [len(entry) for entry in entries] == [32]
    await memory.forget(key("another", group="g" * 10_000), holder="me")
    assert {await client.pttl(name) > 0 for name in await client.keys("*")} == {True}


async def test_redis_forgets_holders_with_their_entries(client: Redis) -> None:
    """What is kept of an attempt does not outlive it, however it ends."""
    memory = RedisMemory(client)
    for each in ("dies", "done", "forgotten"):
        await memory.begin(key(each), holder=each)
    await memory.done(key("done"))
    await memory.forget(key("forgotten"), holder="forgotten")
    await memory.begin(key("lives"), at=NOW + KEEP)
    (holders,) = await client.keys("*:holders")
    assert await client.hlen(holders) == 1


class RepeatingRedis(Redis):
    """A client that repeats what it got no answer to, as clients do by themselves."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        execute: Any = super().execute_command
        await execute(*args, **options)
        return await execute(*args, **options)


async def test_a_client_that_repeats_every_step_is_fine(redis: RedisServer) -> None:
    """Steps that were taken, and whose answers were lost, mean what they meant at first."""
    async with RepeatingRedis(port=redis.port) as client:
        memory = RedisMemory(client)
        assert await memory.begin(holder="first") is Standing.NEW
        assert await memory.begin(holder="second", again=True) is Standing.AGAIN
        await memory.forget(holder="second")
        assert await memory.begin(holder="third") is Standing.NEW
        await memory.done()
        assert await memory.begin() is Standing.COPY
        assert await memory.begin(again=True) is Standing.DUPLICATE


async def test_a_question_that_comes_late_puts_nothing_in_flight(client: Redis) -> None:
    """Whoever has taken a message back is not there any more, whatever a network delivers still."""
    memory = RedisMemory(client)
    await memory.forget(holder="me")
    assert await memory.begin(holder="me") is Standing.COPY
    assert await memory.begin(holder="another") is Standing.NEW


async def test_a_mute_redis_is_not_waited_for(redis: RedisServer) -> None:
    """A Redis that keeps the line and says nothing is out of reach, whatever its client thinks.

    Once it speaks again, answers are to what was asked.
    """
    async with Redis(port=redis.port) as client:
        mute = Memory(RedisReplay(client, keep_for=KEEP, timeout=0.1))
        await mute.begin(key("known"))
        redis.process.send_signal(signal.SIGSTOP)
        for step in (mute.begin(), mute.done(), mute.forget(holder="me")):
            with pytest.raises(Deferred, match="TimeoutError") as caught:
                await asyncio.wait_for(step, 5)
        assert caught.value.probe is not None
        with pytest.raises(Deferred):
            await caught.value.probe()
        redis.process.send_signal(signal.SIGCONT)
        patient = Memory(RedisReplay(client, keep_for=KEEP))
        assert await patient.begin(key("known"), holder="copy") is Standing.COPY
        assert await patient.begin(key("new"), holder="new") is Standing.NEW
        await caught.value.probe()


async def test_scripts_survive_a_redis_that_lost_them(client: Redis) -> None:
    """A restarted Redis knows no scripts; they are sent again."""
    memory = RedisMemory(client)
    await memory.begin()
    await client.script_flush()
    assert await memory.begin() is Standing.COPY


async def test_a_redis_out_of_reach_is_nobodys_fault(redis: RedisServer, client: Redis) -> None:
    """Messages wait while the memory is gone: nothing is refused, and nothing accepted."""
    memory = RedisMemory(client)
    await memory.begin()
    await redis.stop()
    for step in (memory.begin(), memory.done(), memory.forget(holder="me")):
        with pytest.raises(Deferred, match="out of reach"):
            await step


async def test_a_redis_that_cannot_write_is_nobodys_fault(client: Redis) -> None:
    """A Redis that became a replica takes no writes: it cannot tell, so the message waits."""
    memory = RedisMemory(client)
    await memory.begin()
    await client.replicaof("127.0.0.1", str(free_port()))
    for step in (memory.begin(), memory.done(), memory.forget(holder="me")):
        with pytest.raises(Deferred, match="ReadOnlyError"):
            await step
