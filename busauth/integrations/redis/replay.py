"""A replay memory that several workers share, in Redis: the only module that imports redis.

Each group has two sorted sets, of what is in flight and what is done, and a hash of who holds what
is in flight. An entry's score is the instant at which it dies, by Redis' own clock: no worker's
reading of its own can empty what all of them share. Each step is one script, and thereby atomic. An
entry is a SHA-256, so that no sender chooses how much room it takes.

A step that got no answer may have been taken, or may be taken yet: clients and networks repeat. So
the holder of an entry is told once more what it was told, and one that has taken its message back
can put nothing in flight any more.

It is as lasting as the Redis behind it. One that evicts keys by itself (`maxmemory-policy` other
than `noeviction`), or that lost its last writes in a failover, forgets, and a copy counts as new.
"""

import asyncio
from collections.abc import Awaitable
from hashlib import sha256
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from busauth._arguments import Count, Seconds, check
from busauth._messages.canonical import canonical
from busauth._messages.replay.memory import ReplayKey, Standing, full
from busauth.errors import Deferred

_GONE_MS = 600_000  # milliseconds
"""For how long a holder that has taken its message back is known, should its question come late."""

_ROOM = """
local flying, done, holders, gone = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entry, holder, keep, capacity = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function make_room()
  if redis.call('ZCARD', flying) + redis.call('ZCARD', done) < capacity then return true end
  return #redis.call('ZPOPMIN', done) > 0
end
local function keeping(name)
  redis.call('PEXPIRE', name, math.max(1, math.floor(keep * 1000)))
end
local function put(set)
  redis.call('ZADD', set, string.format('%.6f', now + keep), entry)
  keeping(set)
end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', flying, '-inf', now)) do
  redis.call('ZREM', flying, dead)
  redis.call('HDEL', holders, dead)
end
redis.call('ZREMRANGEBYSCORE', done, '-inf', now)
local held, told = string.match(redis.call('HGET', holders, entry) or '', '^(.*) (%a+)$')
"""
_BEGIN = (
    _ROOM
    + """
local redelivered = ARGV[5] == '1'
if redis.call('ZSCORE', done, entry) then return redelivered and 'duplicate' or 'copy' end
if redis.call('EXISTS', gone) == 1 then return 'copy' end
local known = redis.call('ZSCORE', flying, entry)
if known and held == holder then return told end
if known and not redelivered then return 'copy' end
if not known and not make_room() then return 'full' end
local standing = known and 'again' or 'new'
put(flying)
redis.call('HSET', holders, entry, holder .. ' ' .. standing)
keeping(holders)
return standing
"""
)
_DONE = (
    _ROOM
    + """
redis.call('HDEL', holders, entry)
local known = redis.call('ZREM', flying, entry) == 1 or redis.call('ZSCORE', done, entry)
if not known and not make_room() then return 'full' end
put(done)
return 'done'
"""
)
_WAS_SETTLED = (
    _ROOM
    + """
return redis.call('ZSCORE', done, entry) and 'done' or 'unknown'
"""
)
_FORGET = (
    _ROOM
    + f"""
redis.call('SET', gone, '', 'PX', {_GONE_MS})
if held == holder then
  redis.call('ZREM', flying, entry)
  redis.call('HDEL', holders, entry)
end
return 'gone'
"""
)


class RedisReplay:
    """A replay memory in Redis 5 or later; needs the ``redis`` extra.

    Args:
        client: a client of yours, which you close.
        keep_for: seconds; at least `Proofs.remember_for`.
        capacity: entries of one group at most, in flight and done together.
        prefix: what its keys begin with.
        timeout: seconds that Redis may take for one step, whatever the client would wait.

    Attributes:
        keep_for: as given.

    Raises:
        ConfigurationError: `keep_for`, `capacity` or `timeout` is not above 0.
    """

    def __init__(
        self,
        client: Redis,
        *,
        keep_for: Seconds,
        capacity: Count = 1_000_000,
        prefix: str = "busauth:replay",
        timeout: Seconds = 3.0,
    ) -> None:
        check("RedisReplay(keep_for=...)", keep_for, Seconds)
        check("RedisReplay(capacity=...)", capacity, Count)
        check("RedisReplay(timeout=...)", timeout, Seconds)
        self._client = client
        self.keep_for = keep_for
        self._capacity = capacity
        self._prefix = prefix
        self._timeout = timeout
        self._begin = client.register_script(_BEGIN)
        self._done = client.register_script(_DONE)
        self._was_settled = client.register_script(_WAS_SETTLED)
        self._forget = client.register_script(_FORGET)

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        """Put a message in flight and tell what it is."""
        return Standing(await self._run(self._begin, key, holder, "1" if redelivered else "0"))

    async def done(self, key: ReplayKey) -> None:
        """Mark a message as settled."""
        await self._run(self._done, key, "")

    async def was_settled(self, key: ReplayKey) -> bool:
        """Return whether a message was settled."""
        return await self._run(self._was_settled, key, "") == "done"

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        """Take a message that is in flight back."""
        await self._run(self._forget, key, holder)

    async def probe(self) -> None:
        """Return when Redis answers.

        Raises:
            Deferred: it does not.
        """
        await self._answered(self._client.ping())

    async def _run(self, script: Any, key: ReplayKey, holder: str, *more: str) -> str:
        # In braces: in a cluster, keys that one script touches must be in one slot.
        group = sha256(key.group.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        parts = ("flying", "done", "holders", f"gone:{holder}")
        keys = [f"{self._prefix}:{{{group}}}:{part}" for part in parts]
        named = canonical([key.publisher, key.message_id, key.attempt, key.redrive])
        args = [sha256(named).digest(), holder, repr(float(self.keep_for)), self._capacity, *more]
        answer = await self._answered(script(keys=keys, args=args))
        told = answer.decode() if isinstance(answer, bytes) else str(answer)
        if told == "full":
            raise full(self._capacity)
        return told

    async def _answered(self, asked: Awaitable[Any]) -> Any:
        """Return an answer; a client of its own accord may wait, and ask again, for a minute."""
        try:
            async with asyncio.timeout(self._timeout):
                return await asked
        except (RedisError, OSError) as error:
            why = f"the replay memory is out of reach: {type(error).__name__}"
            raise Deferred(why, probe=self.probe) from error
