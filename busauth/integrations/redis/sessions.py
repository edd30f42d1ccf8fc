"""Sessions in Redis: the only module of this room that imports redis.

A session is a hash under the SHA-256 of its id: `claims` as JSON, `ends_at`, and `revoked` once it
was. It outlives its end by `keep_for`, so that who waited in a queue is known to have been there;
after that Redis forgets it by itself. Each change is one script, and thereby atomic. An end can
move backwards at any time, and forwards only while the session lasts.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from busauth._arguments import SecondsOrNone, check
from busauth._tokens.asking.sessions import Session
from busauth._tokens.compact import json_object
from busauth._tokens.verifier import fingerprint
from busauth.errors import Deferred, NotGenuine

_MAX_BYTES = 64 * 1024  # of claims: each worker reads them again every second or so
_START = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'ends_at', ARGV[1], 'claims', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
"""
_END = """
local known = redis.call('HGET', KEYS[1], 'ends_at')
if not known then return 0 end
if tonumber(ARGV[1]) < tonumber(known) then
  redis.call('HSET', KEYS[1], 'ends_at', ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
end
return 1
"""
_EXTEND = """
local known = redis.call('HGET', KEYS[1], 'ends_at')
if not known or redis.call('HEXISTS', KEYS[1], 'revoked') == 1 then return 0 end
if tonumber(known) <= tonumber(ARGV[3]) then return 0 end
if tonumber(ARGV[1]) > tonumber(known) then
  redis.call('HSET', KEYS[1], 'ends_at', ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
end
return 1
"""
_REVOKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'revoked', '1')
return 1
"""


class RedisSessions:
    """A session store in Redis; needs the ``redis`` extra.

    Args:
        client: a client of yours, which you close.
        keep_for: seconds that a session is known after its end; at least as long as a policy
            accepts it.
        prefix: what its keys begin with.

    Raises:
        ConfigurationError: `keep_for` is no number of seconds.
    """

    def __init__(
        self,
        client: Redis,
        *,
        keep_for: SecondsOrNone = 24 * 3600.0,
        prefix: str = "busauth:session",
    ) -> None:
        check("RedisSessions(keep_for=...)", keep_for, SecondsOrNone)
        self._client = client
        self._keep_for = keep_for
        self._prefix = prefix
        self._start = client.register_script(_START)
        self._end = client.register_script(_END)
        self._extend = client.register_script(_EXTEND)
        self._revoke = client.register_script(_REVOKE)

    async def find(self, session_id: str) -> Session | None:
        """Return a session, be it over; see `SessionStore`."""
        try:
            answer: Any = self._client.hgetall(self._key(session_id))
            stored = {_text(name): _text(value) for name, value in (await answer).items()}
        except (RedisError, OSError) as error:
            raise _out_of_reach(error) from error
        return _session(stored) if stored else None

    async def start(self, session_id: str, claims: Mapping[str, Any], *, ends_at: float) -> None:
        """Begin a session.

        Args:
            session_id: hard to guess: ``secrets.token_urlsafe(32)``.
            claims: see `Session`.
            ends_at: when it ends, seconds since the epoch.

        Raises:
            ValueError: there is one with this id, or the claims are no JSON, or over 64 KiB.
            Deferred: Redis is out of reach.
        """
        text = json.dumps(dict(claims), allow_nan=False)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"claims of {len(text)} bytes: expected at most {_MAX_BYTES}")
        if not await self._run(self._start, session_id, *self._ending(ends_at), text):
            raise ValueError("there is a session with this id")

    async def end(self, session_id: str, at: float) -> bool:
        """End a session, as a logout does; return whether it is known. A past end stays.

        Raises:
            Deferred: Redis is out of reach.
        """
        return await self._run(self._end, session_id, *self._ending(at))

    async def extend(self, session_id: str, ends_at: float, *, now: float) -> bool:
        """Let a session last longer; return False for one that is over or revoked.

        Raises:
            Deferred: Redis is out of reach.
        """
        return await self._run(self._extend, session_id, *self._ending(ends_at), repr(now))

    async def revoke(self, session_id: str) -> bool:
        """Take a session back, for every policy; return whether it is known.

        Raises:
            Deferred: Redis is out of reach.
        """
        return await self._run(self._revoke, session_id)

    def _key(self, session_id: str) -> str:
        return f"{self._prefix}:{fingerprint(session_id)}"

    def _ending(self, ends_at: float) -> tuple[str, int]:
        if not 0 <= ends_at < math.inf:
            raise ValueError(f"ends_at={ends_at!r}: expected an instant")
        return repr(ends_at), math.ceil((ends_at + self._keep_for) * 1000)

    async def _run(self, script: Any, session_id: str, *arguments: object) -> bool:
        try:
            return bool(await script(keys=[self._key(session_id)], args=arguments))
        except (RedisError, OSError) as error:
            raise _out_of_reach(error) from error


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _session(stored: Mapping[str, str]) -> Session | None:
    """Read what is there; what is no session is told as one without claims."""
    try:
        claims = json_object(stored["claims"].encode(), "session")
        ends_at = float(stored["ends_at"])
    except (KeyError, ValueError, NotGenuine):  # without a `sub` it is nobody's, and refused
        return Session(claims={}, ends_at=0.0)
    return Session(claims=claims, ends_at=ends_at, revoked="revoked" in stored)


def _out_of_reach(error: Exception) -> Deferred:
    return Deferred(f"Redis is out of reach: {type(error).__name__}")
