"""Redeliveries, duplicates and copies: the same cases for both memories, one on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from busauth.errors import ConfigurationError, Deferred, Forbidden
from busauth.late.replay import InProcessReplay, ReplayKey, ReplayMemory, Standing, admitted
from busauth.late.replay.redis import RedisReplay
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


@pytest.fixture(params=["process", "redis"])
def memory(request: pytest.FixtureRequest) -> ReplayMemory:
    if request.param == "process":
        return InProcessReplay(keep_for=KEEP, capacity=CAPACITY)
    client = request.getfixturevalue("client")
    return RedisReplay(client, keep_for=KEEP, capacity=CAPACITY)


def key(message_id: str = "m-1", **changes: Any) -> ReplayKey:
    usual: dict[str, Any] = {"group": "orders", "publisher": "shop", "message_id": message_id}
    return ReplayKey(**usual | changes)


async def begin(
    memory: ReplayMemory, each: ReplayKey | None = None, *, again: bool = False, at: float = NOW
) -> Standing:
    return await memory.begin(each or key(), redelivered=again, now=at)


@pytest.mark.parametrize("redelivered", [False, True])
async def test_an_unknown_message_is_new(memory: ReplayMemory, redelivered: bool) -> None:
    """What nobody has begun is handled, also when the broker delivered it before."""
    assert await begin(memory, again=redelivered) is Standing.NEW


async def test_a_redelivery_of_what_is_in_flight_is_handled(memory: ReplayMemory) -> None:
    """Its worker crashed, or gave it back; it may come back more than once."""
    await begin(memory)
    assert await begin(memory, again=True) is Standing.AGAIN
    assert await begin(memory, again=True) is Standing.AGAIN


async def test_a_redelivery_of_what_is_done_is_a_duplicate(memory: ReplayMemory) -> None:
    """Its acknowledgement got lost; the handler need not run again."""
    await begin(memory)
    await memory.done(key(), NOW)
    assert await begin(memory, again=True) is Standing.DUPLICATE
    assert await begin(memory, again=True) is Standing.DUPLICATE


@pytest.mark.parametrize("done", [False, True])
async def test_a_copy_is_a_copy(memory: ReplayMemory, done: bool) -> None:
    """What was published twice is told from what the broker delivers twice."""
    await begin(memory)
    if done:
        await memory.done(key(), NOW)
    assert await begin(memory) is Standing.COPY
    assert await begin(memory, again=True) is (Standing.DUPLICATE if done else Standing.AGAIN)


async def test_a_copy_is_refused(memory: ReplayMemory) -> None:
    """The refusal has its code; everything else is told to the caller."""
    assert await admitted(memory, key(), redelivered=False, now=NOW) is Standing.NEW
    with pytest.raises(Forbidden) as caught:
        await admitted(memory, key(), redelivered=False, now=NOW)
    assert caught.value.code == "replay.copy"
    await memory.done(key(), NOW)
    assert await admitted(memory, key(), redelivered=True, now=NOW) is Standing.DUPLICATE


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
async def test_another_message_is_another_message(
    memory: ReplayMemory, changes: dict[str, Any]
) -> None:
    """Group, publisher, id, attempt and redrive tell messages apart, each by itself."""
    await begin(memory)
    assert await begin(memory, key(**changes)) is Standing.NEW


async def test_what_was_not_handled_can_be_taken_back(memory: ReplayMemory) -> None:
    """A message that waits elsewhere comes again as new; what is done stays done."""
    await begin(memory)
    await memory.forget(key())
    assert await begin(memory) is Standing.NEW
    await memory.done(key(), NOW)
    await memory.forget(key())
    assert await begin(memory) is Standing.COPY
    await memory.forget(key("unknown"))


@pytest.mark.parametrize("done", [False, True])
async def test_entries_die_at_their_instant(memory: ReplayMemory, done: bool) -> None:
    """A moment before `keep_for` an entry counts, and from then on it does not."""
    await begin(memory)
    if done:
        await memory.done(key(), NOW)
    assert await begin(memory, at=NOW + KEEP - 0.001) is Standing.COPY
    assert await begin(memory, at=NOW + KEEP) is Standing.NEW


async def test_each_touch_keeps_an_entry(memory: ReplayMemory) -> None:
    """A redelivery and the end of the work count from then on."""
    await begin(memory)
    await begin(memory, again=True, at=NOW + 50)
    assert await begin(memory, at=NOW + 100) is Standing.COPY
    await memory.done(key(), NOW + 100)
    assert await begin(memory, at=NOW + 150) is Standing.COPY


async def test_each_entry_dies_by_itself(memory: ReplayMemory) -> None:
    """One that was touched later keeps no other alive, in flight or done."""
    for at, name in ((0, "first"), (1, "second")):
        await begin(memory, key(name), at=NOW + at)
    await begin(memory, key("first"), again=True, at=NOW + 50)
    assert await begin(memory, key("second"), at=NOW + KEEP + 1) is Standing.NEW
    for at, name in ((62, "first"), (63, "second"), (64, "first")):
        await memory.done(key(name), NOW + at)
    assert await begin(memory, key("second"), at=NOW + KEEP + 63) is Standing.NEW
    assert await begin(memory, key("first"), at=NOW + KEEP + 63) is Standing.COPY


async def test_a_copy_keeps_nothing_alive(memory: ReplayMemory) -> None:
    """Whoever publishes copies cannot make the memory keep them."""
    await begin(memory)
    await memory.done(key(), NOW)
    await begin(memory, at=NOW + 50)
    await begin(memory, again=True, at=NOW + 50)
    assert await begin(memory, at=NOW + KEEP) is Standing.NEW


async def test_a_full_memory_forgets_what_was_done_first(memory: ReplayMemory) -> None:
    """The oldest done entry makes room, and its copy counts as new: that much is lost."""
    for each in ("first", "second", "third"):
        await begin(memory, key(each))
    for at, each in enumerate(("second", "first", "third")):
        await memory.done(key(each), NOW + at)
    assert await begin(memory, key("fourth"), at=NOW + 3) is Standing.NEW
    assert await begin(memory, key("first"), at=NOW + 3) is Standing.COPY
    assert await begin(memory, key("third"), at=NOW + 3) is Standing.COPY
    assert await begin(memory, key("second"), at=NOW + 3) is Standing.NEW


async def test_what_is_in_flight_is_never_forgotten_for_room(memory: ReplayMemory) -> None:
    """A memory full of messages in flight lets the next one wait."""
    for each in ("first", "second", "third"):
        await begin(memory, key(each))
    with pytest.raises(Deferred, match="full"):
        await begin(memory, key("fourth"))
    for each in ("first", "second", "third"):
        assert await begin(memory, key(each)) is Standing.COPY
    assert await begin(memory, key("first"), again=True) is Standing.AGAIN
    await memory.done(key("second"), NOW)
    assert await begin(memory, key("fourth")) is Standing.NEW


async def test_what_was_forgotten_can_still_be_done(memory: ReplayMemory) -> None:
    """A handler that outlasted its entry is remembered as done, where there is room."""
    await memory.done(key(), NOW)
    assert await begin(memory, again=True) is Standing.DUPLICATE
    for each in ("second", "third", "fourth"):
        await begin(memory, key(each))
    with pytest.raises(Deferred, match="full"):
        await memory.done(key("fifth"), NOW)


async def test_being_done_twice_changes_nothing(memory: ReplayMemory) -> None:
    """Settling is idempotent, in a full memory, too."""
    for each in ("first", "second", "third"):
        await begin(memory, key(each))
    await memory.done(key("first"), NOW)
    await memory.done(key("first"), NOW)
    assert await begin(memory, key("second")) is Standing.COPY


async def test_of_many_at_once_one_is_new(memory: ReplayMemory) -> None:
    """Copies that arrive together are told apart all the same."""
    standings = await asyncio.gather(*(begin(memory) for _ in range(20)))
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


async def test_a_memory_in_process_is_bounded() -> None:
    """It never holds more than its capacity, however many come."""
    memory = InProcessReplay(keep_for=KEEP, capacity=CAPACITY)
    for number in range(20):
        await begin(memory, key(str(number)))
        await memory.done(key(str(number)), NOW)
        assert len(memory) <= CAPACITY
    await begin(memory, at=NOW + KEEP)
    assert len(memory) == 1


async def test_a_new_process_knows_nothing() -> None:
    """What a memory in process knew is lost with it."""
    await begin(InProcessReplay(keep_for=KEEP))
    assert await begin(InProcessReplay(keep_for=KEEP)) is Standing.NEW


async def test_workers_share_a_memory_in_redis(redis: RedisServer, client: Redis) -> None:
    """What one worker began, another knows."""
    other = redis.client()
    await begin(RedisReplay(client, keep_for=KEEP))
    assert await begin(RedisReplay(other, keep_for=KEEP)) is Standing.COPY
    assert await begin(RedisReplay(other, keep_for=KEEP, prefix="another")) is Standing.NEW
    await other.aclose()


async def test_a_client_that_decodes_is_fine(redis: RedisServer) -> None:
    """Whichever way a client was made, answers mean the same."""
    client = Redis(port=redis.port, decode_responses=True)
    memory = RedisReplay(client, keep_for=KEEP)
    assert await begin(memory) is Standing.NEW
    assert await begin(memory) is Standing.COPY
    await client.aclose()


async def test_redis_holds_digests_that_die_by_themselves(client: Redis) -> None:
    """No sender chooses how much is kept, and a group that fell silent leaves nothing."""
    memory = RedisReplay(client, keep_for=KEEP)
    await begin(memory, key("m" * 10_000, group="g" * 10_000))
    await memory.done(key("m" * 10_000, group="g" * 10_000), NOW)
    await begin(memory, key("another", group="g" * 10_000))
    names = await client.keys("*")
    assert len(names) == 2
    for name in names:
        assert len(name) < 100
        assert 0 < await client.pttl(name) <= KEEP * 1000
        assert [len(entry) for entry in await client.zrange(name, 0, -1)] == [32]


async def test_scripts_survive_a_redis_that_lost_them(client: Redis) -> None:
    """A restarted Redis knows no scripts; they are sent again."""
    memory = RedisReplay(client, keep_for=KEEP)
    await begin(memory)
    await client.script_flush()
    assert await begin(memory) is Standing.COPY


async def test_a_redis_out_of_reach_is_nobodys_fault(redis: RedisServer, client: Redis) -> None:
    """Messages wait while the memory is gone: nothing is refused, and nothing accepted."""
    memory = RedisReplay(client, keep_for=KEEP)
    await begin(memory)
    await redis.stop()
    for step in (begin(memory), memory.done(key(), NOW), memory.forget(key())):
        with pytest.raises(Deferred, match="out of reach"):
            await step


async def test_a_redis_that_cannot_write_is_nobodys_fault(client: Redis) -> None:
    """A Redis that became a replica takes no writes: it cannot tell, so the message waits."""
    memory = RedisReplay(client, keep_for=KEEP)
    await begin(memory)
    await client.replicaof("127.0.0.1", str(free_port()))
    for step in (begin(memory), memory.done(key(), NOW), memory.forget(key())):
        with pytest.raises(Deferred, match="ReadOnlyError"):
            await step
