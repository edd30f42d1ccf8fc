"""Sessions in a real Redis."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from busauth import Grace
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth._tokens.verifier import fingerprint
from busauth.errors import ConfigurationError, Deferred
from busauth.integrations.redis.sessions import RedisSessions
from busauth.testing import ManualClock
from busauth.tokens import Session, Sessions
from tests.unit.introspecting import outcome
from tests.unit.redis_server import RedisServer, redis_server
from tests.unit.support import AUDIENCE, proven_by

ID = "an-id-that-nobody-guesses"
CLAIMS = {"sub": "alice", "scope": "a b"}
KEEP = 3600.0
GRACE = Rules(policies=PolicyChain(Grace(hours=1), hard_max_age=86_400))


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as redis:
        yield redis


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    client = redis.client()
    yield client
    await client.aclose()


@pytest.fixture
def store(client: Redis) -> RedisSessions:
    return RedisSessions(client, keep_for=KEEP)


@pytest.fixture
def now() -> float:
    """Redis forgets by its own clock, which is the machine's."""
    return float(int(time.time()))


def judging(store: RedisSessions, now: float) -> Sessions:
    return Sessions(store, issuer="shop-sessions", audience=AUDIENCE, clock=ManualClock(now))


async def test_what_was_started_is_found(store: RedisSessions, now: float) -> None:
    """Claims and end come back as they were; what was never started does not."""
    await store.start(ID, CLAIMS, ends_at=now + 60.5)
    assert await store.find(ID) == Session(claims=CLAIMS, ends_at=now + 60.5)
    assert await store.find("another") is None
    assert await outcome(judging(store, now), ID) == "alice"


async def test_an_ended_session_is_late(store: RedisSessions, now: float) -> None:
    """Who logged out while the message waited is judged by the expiry policies."""
    await store.start(ID, CLAIMS, ends_at=now + 60)
    assert await store.end(ID, now - 10)
    verified = await proven_by(judging(store, now), ID)
    assert verified.lateness(now) == 10
    assert (await decide(verified, GRACE, now)).late is not None


async def test_an_end_stays_the_end(store: RedisSessions, now: float) -> None:
    """A second logout moves nothing, and neither does one after the natural end."""
    await store.start(ID, CLAIMS, ends_at=now + 60)
    await store.end(ID, now + 10)
    for later in (now + 20, now + 600):
        assert await store.end(ID, later)
        found = await store.find(ID)
        assert found is not None
        assert found.ends_at == now + 10
    assert not await store.end("another", now)


async def test_a_session_lasts_longer_only_while_it_lasts(store: RedisSessions, now: float) -> None:
    """One that is over or revoked is not brought back; extending never shortens."""
    await store.start(ID, CLAIMS, ends_at=now + 60)
    for ends_at, expected in ((now + 120, now + 120), (now + 90, now + 120)):
        assert await store.extend(ID, ends_at, now=now)
        found = await store.find(ID)
        assert found is not None
        assert found.ends_at == expected
    assert not await store.extend(ID, now + 900, now=now + 120)
    await store.revoke(ID)
    assert not await store.extend(ID, now + 900, now=now)
    assert not await store.extend("another", now + 900, now=now)


async def test_a_revoked_session_counts_no_more(store: RedisSessions, now: float) -> None:
    """It stays revoked, and cannot be started anew."""
    await store.start(ID, CLAIMS, ends_at=now + 60)
    assert await store.revoke(ID)
    assert await outcome(judging(store, now), ID) == "token.revoked"
    with pytest.raises(ValueError, match="this id"):
        await store.start(ID, CLAIMS, ends_at=now + 60)
    assert not await store.revoke("another")


async def test_nothing_is_kept_that_opens_a_session(
    store: RedisSessions, client: Redis, now: float
) -> None:
    """Redis holds the SHA-256 of an id, and forgets the session some time after its end."""
    await store.start(ID, CLAIMS, ends_at=now + 60)
    (key,) = await client.keys("*")
    assert key == f"busauth:session:{fingerprint(ID)}".encode()
    stored: Any = client.hgetall(key)
    assert ID.encode() not in b"".join(part for pair in (await stored).items() for part in pair)
    assert KEEP < await client.pttl(key) / 1000 <= KEEP + 61
    await store.end(ID, now)
    assert KEEP - 60 < await client.pttl(key) / 1000 <= KEEP + 1
    await store.end(ID, now - 2 * KEEP)
    assert await store.find(ID) is None


async def test_a_client_that_decodes_is_fine(redis: RedisServer, now: float) -> None:
    """Whichever way a client was made, answers mean the same."""
    client = Redis(port=redis.port, decode_responses=True)
    store = RedisSessions(client)
    await store.start(ID, {**CLAIMS, "name": "Zoë"}, ends_at=now + 60)
    found = await store.find(ID)
    assert found is not None
    assert found.claims["name"] == "Zoë"
    await client.aclose()


@pytest.mark.parametrize(
    "fields",
    [
        {"claims": "no JSON", "ends_at": "9999999999"},
        {"claims": "[]", "ends_at": "9999999999"},
        {"claims": '{"sub": "alice", "sub": "bob"}', "ends_at": "9999999999"},
        {"claims": '{"sub": "alice"}', "ends_at": "soon"},
        {"claims": '{"sub": "alice"}', "ends_at": "inf"},
        {"claims": '{"sub": "alice"}', "ends_at": "nan"},
        {"claims": '{"sub": "alice"}'},
        {"ends_at": "9999999999"},
    ],
)
async def test_what_is_damaged_is_nobodys_session(
    store: RedisSessions, client: Redis, now: float, fields: dict[Any, Any]
) -> None:
    """A record that cannot be read is refused, and stops no queue."""
    await client.hset(f"busauth:session:{fingerprint(ID)}", mapping={**fields})
    assert (await outcome(judging(store, now), ID)).startswith("token.claim_")


async def test_another_kind_of_record_is_a_fault(
    store: RedisSessions, client: Redis, now: float
) -> None:
    """Where a key is no hash, somebody else's data is in the way: that is the operator's."""
    await client.set(f"busauth:session:{fingerprint(ID)}", "x")
    assert await outcome(judging(store, now), ID) == "deferred"


async def test_a_redis_out_of_reach_is_nobodys_fault(
    redis: RedisServer, store: RedisSessions, now: float
) -> None:
    """Messages wait while Redis is gone: nothing is refused, and nothing accepted."""
    await store.start(ID, CLAIMS, ends_at=now + 60)
    await redis.stop()
    assert await outcome(judging(store, now), ID) == "deferred"
    for step in (
        store.find(ID),
        store.start("x", CLAIMS, ends_at=now),
        store.end(ID, now),
        store.extend(ID, now, now=now),
        store.revoke(ID),
    ):
        with pytest.raises(Deferred, match="out of reach"):
            await step


async def test_what_cannot_be_kept_is_an_error(store: RedisSessions, now: float) -> None:
    """Instants are finite, claims are JSON and not too large."""
    for ends_at in (float("inf"), float("nan"), -1.0):
        with pytest.raises(ValueError, match="instant"):
            await store.start(ID, CLAIMS, ends_at=ends_at)
    for claims in ({"x": "x" * 70_000}, {"x": float("nan")}):
        with pytest.raises(ValueError, match=r"bytes|JSON"):
            await store.start(ID, claims, ends_at=now)
    assert await store.find(ID) is None


async def test_seconds_that_mean_nothing_are_an_error(client: Redis) -> None:
    """`keep_for` is a finite number that is not negative."""
    for keep_for in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigurationError):
            RedisSessions(client, keep_for=keep_for)
