"""Sessions: whose an id is, and what becomes of one that ended in the queue."""

import asyncio
import math
from typing import Any

import pytest

from busauth import DeadLetter, Grace
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth._tokens.verifier import fingerprint
from busauth.errors import ConfigurationError, Deferred, NotGenuine, Untimely
from busauth.testing import ManualClock
from busauth.tokens import AnswerOptions, NotAtHand, Session, Sessions
from tests.unit.introspecting import outcome
from tests.unit.support import AUDIENCE, NOW, proven_by, refused_code, token

ID = "an-id-that-nobody-guesses"
GRACE = Rules(policies=PolicyChain(Grace(hours=1), hard_max_age=86_400))
STRICT = Rules(policies=PolicyChain(DeadLetter(), hard_max_age=86_400))


def session(**changes: Any) -> Session:
    """Return alice's session; `...` takes a claim away."""
    ends_at, revoked = changes.pop("ends_at", NOW + 300), changes.pop("revoked", False)
    usual = {"sub": "alice", "scope": "a b", "roles": ["clerk"]} | changes
    claims = {name: value for name, value in usual.items() if value is not ...}
    return Session(claims=claims, ends_at=ends_at, revoked=revoked)


class Store:
    """One session, or anything else in its place; counts how often it is asked."""

    def __init__(self, found: Any = None) -> None:
        self.found = found
        self.asked: list[str] = []

    async def find(self, session_id: str) -> Any:
        self.asked.append(session_id)
        await asyncio.sleep(0)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found if session_id == ID else None


def sessions(store: Any, clock: ManualClock | None = None, **settings: Any) -> Sessions:
    usual: dict[str, Any] = {"issuer": "shop-sessions", "audience": AUDIENCE}
    return Sessions(store, clock=clock or ManualClock(NOW), **usual | settings)


async def test_a_session_is_a_caller_like_any_other() -> None:
    """Subject, scopes and roles come from its claims, its end is when the caller expires."""
    verified = await proven_by(sessions(Store(session(iat=NOW - 60))), ID)
    caller = await decide(verified, STRICT, NOW)
    assert (caller.issuer, caller.subject, caller.audience) == (
        "shop-sessions",
        "alice",
        (AUDIENCE,),
    )
    assert (caller.scopes, caller.roles) == (frozenset("ab"), frozenset({"clerk"}))
    assert (caller.expires_at, caller.issued_at) == (NOW + 300, NOW - 60)
    assert caller.token_sha256 == fingerprint(ID)
    assert ID not in repr(caller)
    assert ID not in repr(dict(caller.claims))


async def test_a_session_that_ended_in_the_queue_is_late_like_a_token() -> None:
    """Its end is known, so that the expiry policies decide."""
    verified = await proven_by(sessions(Store(session(ends_at=NOW - 60))), ID)
    late = (await decide(verified, GRACE, NOW)).late
    assert late is not None
    assert (late.expired_at, late.seconds) == (NOW - 60, 60)
    assert await refused_code(decide(verified, STRICT, NOW)) == "token.expired"
    assert await refused_code(decide(verified, GRACE, NOW + 3600)) == "token.expired"


async def test_a_revoked_session_is_refused_under_every_policy() -> None:
    """Whether or not it had ended; the message is kept, because it is known whose it is."""
    for ends_at in (NOW + 300, NOW - 60):
        store = Store(session(ends_at=ends_at, revoked=True))
        with pytest.raises(Untimely) as caught:
            await proven_by(sessions(store), ID)
        assert caught.value.code == "token.revoked"


@pytest.mark.parametrize("revoked", [None, 0, "", "no"])
async def test_only_a_plain_false_means_not_revoked(revoked: Any) -> None:
    """A store that says something odd is not taken for a yes."""
    assert await outcome(sessions(Store(session(revoked=revoked))), ID) == "token.revoked"


async def test_an_unknown_session_is_not_genuine() -> None:
    """Nobody is proven to have sent it, and the id is not shown."""
    with pytest.raises(NotGenuine) as caught:
        await proven_by(sessions(Store(session())), "another-id")
    assert caught.value.code == "session.unknown"
    assert "another-id" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (session(sub=...), "token.claim_missing"),
        (session(sub=5), "token.claim_invalid"),
        (session(iss="https://idp.test"), "token.issuer"),
        (session(iss=None), "token.issuer"),
        (session(aud="bank"), "token.audience"),
        (session(aud=[]), "token.audience"),
        (session(cnf={}), "token.sender_constrained"),
        (session(ends_at=math.inf), "token.claim_invalid"),
        (session(ends_at=math.nan), "token.claim_invalid"),
        (session(ends_at="9999999999"), "token.claim_invalid"),
        (session(ends_at=None), "token.claim_invalid"),
        (session(ends_at=True), "token.claim_invalid"),
        (session(ends_at=-1), "token.claim_invalid"),
        (session(nbf="x"), "token.claim_invalid"),
        ({"sub": "alice"}, "session.malformed"),
        ("alice", "session.malformed"),
        (True, "session.malformed"),
        (Session(claims=[], ends_at=NOW), "session.malformed"),  # type: ignore[arg-type]  # hostile
    ],
)
async def test_what_a_store_says_is_judged_like_claims(found: Any, code: str) -> None:
    """Issuer, audience, end and subject must be right, whoever filled the store."""
    assert await outcome(sessions(Store(found)), ID) == code


async def test_a_claimed_exp_means_nothing() -> None:
    """A session ends when its store says so."""
    verified = await proven_by(sessions(Store(session(exp=NOW + 9000))), ID)
    assert verified.caller.expires_at == NOW + 300


@pytest.mark.parametrize("error", [OSError("no"), Deferred("no"), KeyError(ID), TimeoutError()])
async def test_a_store_out_of_reach_is_nobodys_fault(error: Exception) -> None:
    """Any error of a store defers, says no id, and its probe ends when the store answers."""
    store = Store(error)
    with pytest.raises(Deferred) as caught:
        await proven_by(sessions(store), ID)
    assert ID not in str(caught.value)
    probe = caught.value.probe
    assert probe is not None
    with pytest.raises(Deferred):
        await probe()
    store.found = None
    await probe()
    assert store.asked.count(ID) == 1


async def test_a_store_that_hangs_is_out_of_reach() -> None:
    """Nobody waits longer than the timeout."""

    class Hanging:
        async def find(self, session_id: str) -> Session | None:
            await asyncio.Event().wait()
            return None

    assert await outcome(sessions(Hanging(), timeout=0.01), ID) == "deferred"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "token.empty"),
        ("x" * 8193, "token.too_large"),
        ("a b", "token.characters"),
        ("no-prefix", "session.unknown"),
        (f"s_{token()}", "session.unknown"),
        (token(), "session.unknown"),
    ],
)
async def test_what_is_no_session_id_is_not_looked_up(text: str, code: str) -> None:
    """Shape and prefix come first; a JWS is no session id."""
    store = Store(session())
    asking = sessions(store, prefix="s_")
    found = await outcome(asking, text)
    assert found == code
    assert store.asked == ([text] if asking.takes(text) else [])


async def test_an_answer_is_remembered_for_a_second_and_not_past_the_end() -> None:
    """A session that was extended counts as extended, one that was ended as ended."""
    clock, store = ManualClock(NOW), Store(session(ends_at=NOW + 0.5))
    asking = sessions(store, clock)
    first = await proven_by(asking, ID)
    assert asking.recall(ID) == first
    assert len(store.asked) == 1
    await clock.advance(0.5)
    assert not first.holds()
    store.found = session(ends_at=NOW + 300)
    assert (await proven_by(asking, ID)).caller.expires_at == NOW + 300
    store.found = session(ends_at=NOW + 1)
    await clock.advance(1)
    with pytest.raises(NotAtHand):
        asking.recall(ID)
    assert (await proven_by(asking, ID)).lateness(clock.now()) == 0.5


async def test_many_messages_of_one_session_ask_once() -> None:
    """Questions under way are shared, and unknown ids displace nobody."""
    store = Store(session())
    options = AnswerOptions(remembered=5, fresh_for=60.0, refused_for=60.0)
    asking = sessions(store, options=options)
    assert await asyncio.gather(*(outcome(asking, ID) for _ in range(20))) == ["alice"] * 20
    assert len(store.asked) == 1
    for number in range(20):
        assert await outcome(asking, f"id-{number}") == "session.unknown"
    assert asking.recall(ID)
    assert len(asking._answers._refused) == 5
    assert ID not in repr(asking._answers._counting)


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": ""},
        {"audience": ""},
        {"audience": ()},
        {"leeway": -1},
        {"leeway": math.nan},
        {"timeout": 0},
        {"timeout": math.inf},
    ],
)
def test_what_cannot_work_is_told_at_once(settings: dict[str, Any]) -> None:
    """Names are there, and seconds mean something."""
    with pytest.raises(ConfigurationError):
        sessions(Store(), **settings)
