"""A replay memory that several workers share, in Redis: the only module that imports redis.

Each group has two sorted sets, of what is in flight and what is done; an entry's score is the
instant at which it dies, by the workers' clocks. Each step is one script, and thereby atomic. An
entry is a SHA-256, so that no sender chooses how much room it takes.

It is as lasting as the Redis behind it. One that evicts keys by itself (`maxmemory-policy` other
than `noeviction`), or that lost its last writes in a failover, forgets, and a copy counts as new.
"""

from hashlib import sha256
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from busauth.errors import Deferred
from busauth.late.canonical import canonical
from busauth.late.replay.memory import ReplayKey, Standing, check_bounds, full

_ROOM = """
local function make_room(flying, done, capacity)
  if redis.call('ZCARD', flying) + redis.call('ZCARD', done) < capacity then return true end
  return #redis.call('ZPOPMIN', done) > 0
end
local function drop_dead(flying, done, now)
  redis.call('ZREMRANGEBYSCORE', flying, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', done, '-inf', now)
end
local function put(set, dies, entry, keep_ms)
  redis.call('ZADD', set, dies, entry)
  redis.call('PEXPIRE', set, keep_ms)
end
local flying, done = KEYS[1], KEYS[2]
local entry, now, dies, keep_ms, capacity = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
drop_dead(flying, done, now)
"""
_BEGIN = (
    _ROOM
    + """
local redelivered = ARGV[6] == '1'
if redis.call('ZSCORE', done, entry) then return redelivered and 'duplicate' or 'copy' end
local known = redis.call('ZSCORE', flying, entry)
if known and not redelivered then return 'copy' end
if not known and not make_room(flying, done, capacity) then return 'full' end
put(flying, dies, entry, keep_ms)
return known and 'again' or 'new'
"""
)
_DONE = (
    _ROOM
    + """
local held = redis.call('ZREM', flying, entry) == 1 or redis.call('ZSCORE', done, entry)
if not held and not make_room(flying, done, capacity) then return 'full' end
put(done, dies, entry, keep_ms)
return 'done'
"""
)


class RedisReplay:
    """A replay memory in Redis; needs the ``redis`` extra.

    Args:
        client: a client of yours, which you close.
        keep_for: seconds; at least `Proofs.remember_for`.
        capacity: entries of one group at most, in flight and done together.
        prefix: what its keys begin with.

    Attributes:
        keep_for: as given.

    Raises:
        ConfigurationError: `keep_for` or `capacity` is not above 0.
    """

    def __init__(
        self,
        client: Redis,
        *,
        keep_for: float,
        capacity: int = 1_000_000,
        prefix: str = "busauth:replay",
    ) -> None:
        check_bounds(keep_for, capacity)
        self._client = client
        self.keep_for = keep_for
        self._capacity = capacity
        self._prefix = prefix
        self._begin = client.register_script(_BEGIN)
        self._done = client.register_script(_DONE)

    async def begin(self, key: ReplayKey, *, redelivered: bool, now: float) -> Standing:
        """Put a message in flight and tell what it is."""
        answer = await self._run(self._begin, key, now, "1" if redelivered else "0")
        if answer == "full":
            raise full(self._capacity)
        return Standing(answer)

    async def done(self, key: ReplayKey, now: float) -> None:
        """Mark a message as settled."""
        if await self._run(self._done, key, now) == "full":
            raise full(self._capacity)

    async def forget(self, key: ReplayKey) -> None:
        """Take a message that is in flight back."""
        try:
            await self._client.zrem(self._names(key)[0], _entry(key))
        except (RedisError, OSError) as error:
            raise _out_of_reach(error) from error

    async def _run(self, script: Any, key: ReplayKey, now: float, *more: str) -> str:
        keep_ms = max(1, int(self.keep_for * 1000))
        dies = now + self.keep_for
        args = [_entry(key), repr(now), repr(dies), keep_ms, self._capacity, *more]
        try:
            answer = await script(keys=self._names(key), args=args)
        except (RedisError, OSError) as error:
            raise _out_of_reach(error) from error
        return answer.decode() if isinstance(answer, bytes) else str(answer)

    def _names(self, key: ReplayKey) -> list[str]:
        """Both of a group's sets are in one slot of a cluster."""
        group = sha256(key.group.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return [f"{self._prefix}:{{{group}}}:{state}" for state in ("flying", "done")]


def _entry(key: ReplayKey) -> bytes:
    parts = [key.publisher, key.message_id, key.attempt, key.redrive]
    return sha256(canonical(parts)).digest()


def _out_of_reach(error: Exception) -> Deferred:
    return Deferred(f"the replay memory is out of reach: {type(error).__name__}")
