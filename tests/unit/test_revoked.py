"""What is remembered of revocations, for how long, and how far it can be relied on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth._revocation import FeedHealth, table
from busauth.caller import Caller, as_caller, first_token, read_only
from busauth.errors import ConfigurationError, Deferred
from busauth.revocation import OnStale, SecurityEvent, Target
from tests.unit.revoking import LIFE, RETENTION, caller, event, store
from tests.unit.support import NOW


@pytest.mark.parametrize(
    ("named", "meant", "other"),
    [
        ({"token_id": "t-1"}, caller(), caller(token_id="t-2")),
        ({"token_id": "t-1"}, caller(), caller(token_id=None)),
        ({"subject": "alice"}, caller(), caller("bob")),
        ({"subject": "alice"}, caller(), caller(issuer="https://other.test")),
        ({"session": "s-1"}, caller(session="s-1"), caller(session="s-2")),
        ({"session": "s-1"}, caller(session="s-1"), caller()),
        ({"session": "1"}, caller(session="1"), caller(session=2)),
        ({"session": "1"}, caller(session=1), caller(session="01")),
        ({"session": "1.5"}, caller(session=1.5), caller(session=1)),
        ({"session": "true"}, caller(session=True), caller(session=1)),
        ({"subject": "alice", "session": "1"}, caller(session=1), caller("bob", session=1)),
        ({"session": "None"}, caller(session="None"), caller(session=None)),
        ({"session": "{}"}, caller(session="{}"), caller(session={})),
        ({"client": "shop-web"}, caller(), caller(client="shop-app")),
        ({"client": "shop-web"}, caller(), caller(client=None)),
        (
            {"subject": "alice", "client": "shop-web"},
            caller(),
            caller(client="shop-app"),
        ),
        (
            {"subject": "alice", "session": "s-1", "client": "shop-web"},
            caller(session="s-1"),
            caller(),
        ),
    ],
)
def test_whose_tokens(named: dict[str, Any], meant: Caller, other: Caller) -> None:
    """All that is named must be the token's, at the same issuer."""
    known = store()
    known.add(event(**named))
    assert known.revoked(meant, NOW)
    assert not known.revoked(other, NOW)


@pytest.mark.parametrize("session", ["1", 1])
def test_a_session_is_known_by_the_record_of_its_token(session: object) -> None:
    """What comes back without its first token is revoked with that one's session."""
    known = store()
    known.add(event(session="1"))
    first = first_token(caller(session=session), "sid")
    assert known.revoked(as_caller(first, "sid"), NOW)


def test_names_do_not_run_into_each_other() -> None:
    """Two names are not two others that read the same when they are joined."""
    known = store()
    known.add(event(subject="ab", session="c"))
    assert known.revoked(caller("ab", session="c"), NOW)
    assert not known.revoked(caller("a", session="bc"), NOW)
    assert not known.revoked(caller("1:a", session="b"), NOW)


@pytest.mark.parametrize("subject", ["alice", "a" * 128, "a" * 129, "ä" * 5000])
def test_a_name_that_was_asked_for_before(subject: str) -> None:
    """Asking again finds what is known by then, and nothing of what another issuer revoked."""
    known = store()
    known.add(event(subject="bob"))
    assert not known.revoked(caller(subject), NOW)
    known.add(event(subject=subject, issuer="https://other.test"))
    assert not known.revoked(caller(subject), NOW)
    known.add(event(subject=subject))
    assert known.revoked(caller(subject), NOW)
    assert known.revoked(caller(subject), NOW)
    assert known.revoked(caller("bob"), NOW)


def test_names_at_hand_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many names nor long ones stay; what is found is the same."""
    monkeypatch.setattr(table, "_REMEMBERED", 3)
    digests = table.Digests("2:issuer", bytes(32))
    for name in ("a", "b", "c", "d", "a", "x" * 129):
        assert digests.remembered(name) == digests.digest(name)
        assert len(digests.at_hand) <= 3
    assert digests.at_hand.keys() == {"d", "a"}


@pytest.mark.parametrize(
    ("issued_at", "revoked"),
    [(NOW - 1, True), (NOW, True), (NOW + 0.9, True), (NOW + 1, False), (None, True)],
)
def test_when_it_was_issued(issued_at: float | None, revoked: bool) -> None:
    """Tokens issued until the second in which it took effect, or without iat, are meant."""
    known = store()
    known.add(event(subject="alice", effective_at=NOW + 0.5))
    assert known.revoked(caller(issued_at=issued_at), NOW + 10) is revoked


def test_a_token_that_is_named_is_meant_whenever_it_was_issued() -> None:
    """Its id names one token, and no later one."""
    known = store()
    known.add(event(token_id="t-1", effective_at=NOW - 1000))
    assert known.revoked(caller(issued_at=NOW), NOW)


def test_the_latest_instant_counts() -> None:
    """An older event after a newer one, or the same one again, takes nothing back."""
    known = store()
    for effective_at in (NOW - 10, NOW, NOW - 20, NOW):
        known.add(event(subject="alice", effective_at=effective_at))
    assert known.count == 1
    assert known.revoked(caller(issued_at=NOW - 5), NOW)


def test_it_forgets_what_no_token_can_need() -> None:
    """Once no token from before it can be accepted, a revocation is gone."""
    known = store()
    known.add(event(subject="alice"))
    known.sweep(NOW + RETENTION)
    assert known.count == 1
    known.sweep(NOW + RETENTION * 1.1)
    assert known.count == 0
    known.add(event(subject="alice"))
    assert known.count == 0


def test_what_was_revoked_again_is_kept() -> None:
    """A later revocation of the same subject is not forgotten with the earlier one."""
    known = store()
    for effective_at in (NOW, NOW + RETENTION / 2, NOW + RETENTION):
        known.add(event(subject="alice", effective_at=effective_at))
    known.sweep(NOW + 1.6 * RETENTION)
    assert known.count == 1
    assert known.revoked(caller(issued_at=NOW + RETENTION), NOW + 1.6 * RETENTION)


@pytest.mark.parametrize(
    ("old", "revoked"),
    [
        (caller(issued_at=NOW - RETENTION - 1), True),
        (caller(issued_at=NOW - RETENTION), False),
        (caller(issued_at=None, expires_at=NOW + LIFE + 1), True),
        (caller(issued_at=None, expires_at=NOW + LIFE), False),
    ],
)
def test_a_token_that_is_older_than_the_memory_counts_as_revoked(
    old: Caller, revoked: bool
) -> None:
    """What may have been revoked and forgotten is not let pass."""
    assert store().revoked(old, NOW) is revoked


def test_it_is_bounded() -> None:
    """A full memory takes nothing new, says so, and still takes what it knows."""
    known = store(capacity=2)
    known.add(event(subject="a"))
    known.add(event(subject="b"))
    with pytest.raises(Deferred, match="no room"):
        known.add(event(subject="c"))
    known.add(event(subject="a", effective_at=NOW + 5))
    assert known.count == 2
    known.sweep(NOW + RETENTION * 1.2)
    known.add(event(subject="c", effective_at=NOW + RETENTION))


def test_an_event_for_several_issuers() -> None:
    """Each target of an event is remembered."""
    known = store()
    targets = tuple(Target(issuer=each, session="s-1") for each in ("https://a", "https://b"))
    known.add(
        SecurityEvent(
            transmitter="x",
            event_id="e",
            issued_at=NOW,
            targets=targets,
            effective_at=NOW,
            is_heartbeat=False,
        )
    )
    for each in ("https://a", "https://b"):
        assert known.revoked(caller(issuer=each, session="s-1"), NOW)
    assert not known.revoked(caller(session="s-1"), NOW)


def test_the_session_claim_can_be_chosen() -> None:
    """Issuers name sessions in a claim of their own."""
    known = store(session_claim="session_state")
    known.add(event(session="s-1"))
    assert known.revoked(caller(claims=read_only({"session_state": "s-1"})), NOW)
    assert not known.revoked(caller(session="s-1"), NOW)


@pytest.mark.parametrize(
    "settings",
    [
        {"retention": 0.0},
        {"retention": float("inf")},
        {"retention": float("nan")},
        {"token_life": 0.0},
        {"token_life": RETENTION + 1},
        {"capacity": 0},
        {"key": b"short"},
    ],
)
def test_bounds_that_cannot_work(settings: dict[str, Any]) -> None:
    """A memory that could keep nothing, or whose digests anybody could make, is refused."""
    with pytest.raises(ConfigurationError):
        store(**settings)


def test_what_it_keeps_can_be_taken_over() -> None:
    """Entries that were written are the same for who reads them with the same key."""
    key = bytes(32)
    known, again = store(key=key), store(key=key)
    known.add(event(subject="alice"))
    known.add(event(token_id="t-9"))
    for some in known.records():
        again.restore(known.issuers(), some)
    assert again.count == 2
    assert again.revoked(caller(), NOW)
    assert again.revoked(caller("bob", token_id="t-9"), NOW)
    assert not again.revoked(caller("bob"), NOW)


# --- how far it can be relied on ------------------------------------------------------------------


def fresh(policy: OnStale = OnStale.PAUSE) -> FeedHealth:
    return FeedHealth(30, policy, 0.0)


def test_it_has_to_catch_up() -> None:
    """Only a heartbeat that is newer than the moment of attaching ends the doubt."""
    freshness = fresh()
    assert freshness.doubt(NOW, 0) == "it was not reached yet"
    freshness.attached(NOW, 0)
    freshness.beat(NOW - 1, 0)
    freshness.beat(NOW, 0)
    assert freshness.doubt(NOW, 0) == "it was not read to its end yet"
    freshness.beat(NOW + 0.001, 1)
    assert freshness.doubt(NOW + 1, 1) is None


def test_it_becomes_stale() -> None:
    """After so long without a newer heartbeat, it cannot be relied on; the next one ends that."""
    freshness = fresh()
    freshness.attached(NOW, 0)
    freshness.beat(NOW + 1, 1)
    assert freshness.doubt(NOW + 31, 31) is None
    assert freshness.doubt(NOW + 32, 32) is not None
    freshness.beat(NOW + 33, 33)
    assert freshness.doubt(NOW + 33, 33) is None


def test_a_repeated_heartbeat_says_nothing() -> None:
    """Whoever sends old heartbeats again does not keep a feed fresh."""
    freshness = fresh()
    freshness.attached(NOW, 0)
    for monotonic in range(1, 60):
        freshness.beat(NOW + 1, monotonic)
    assert freshness.doubt(NOW + 59, 59) is not None


def test_an_old_heartbeat_takes_nothing_away() -> None:
    """Whoever sends old heartbeats again does not make a fresh feed stale."""
    freshness = fresh()
    freshness.attached(NOW, 0)
    freshness.beat(NOW + 50, 50)
    freshness.beat(NOW + 1, 51)
    assert (freshness.doubt(NOW + 51, 51), freshness.newest) == (None, NOW + 50)


@pytest.mark.parametrize("jump", [-3600.0, -40.0, 3600.0])
def test_a_clock_that_jumps(jump: float) -> None:
    """A clock set back keeps nothing fresh for longer, and one set ahead makes it stale at once."""
    freshness = fresh()
    freshness.attached(NOW, 0)
    freshness.beat(NOW + 1, 1)
    assert freshness.doubt(NOW + 10 + jump, 40) is not None
    assert (freshness.doubt(NOW + 10 + jump, 10) is None) is (jump < 0)


@given(wrong=st.floats(-1e8, 1e8), newer=st.sampled_from([-1.0, 0.0, 0.001]))
def test_a_clock_that_is_wrong_while_attaching(wrong: float, newer: float) -> None:
    """Nothing is waited for longer, and nothing is relied on earlier, than by a right clock."""
    freshness = fresh()
    freshness.attached(NOW + wrong, 0)
    freshness.beat(NOW + newer, 1)
    assert (freshness.doubt(NOW + 1, 1) is None) is (newer > 0)


def test_who_began_to_read_too_late_has_not_read_everything() -> None:
    """By a clock that was ahead, reading began after what may matter: it is begun anew."""
    freshness = fresh(OnStale.GO_ON)
    freshness.begins(NOW + 1000)
    freshness.attached(NOW, 0)
    freshness.beat(NOW + 1, 1)
    assert "beginning" in str(freshness.doubt(NOW + 1, 1))
    assert freshness.objection(NOW + 1, 1) is not None
    assert not freshness.covers(NOW + 1)
    freshness.begins(NOW - 1000)
    assert freshness.doubt(NOW + 1, 1) is None


def test_after_a_gap_it_catches_up_once_more() -> None:
    """A feed that was stale is read to its end before it counts; one that was not goes on."""
    freshness = fresh()
    freshness.attached(NOW, 0)
    freshness.beat(NOW + 1, 1)
    freshness.attached(NOW + 10, 10)
    assert freshness.doubt(NOW + 10, 10) is None
    freshness.attached(NOW + 100, 100)
    freshness.beat(NOW + 90, 100)
    assert freshness.doubt(NOW + 100, 100) == "it was not read to its end yet"
    freshness.beat(NOW + 101, 101)
    assert freshness.doubt(NOW + 101, 101) is None


def test_going_on() -> None:
    """Under go-on, a silent feed is done without; one that is being read is waited for."""
    freshness = fresh(OnStale.GO_ON)
    assert freshness.objection(NOW, 0) is not None
    assert freshness.objection(NOW + 31, 31) is None
    freshness.attached(NOW + 40, 40)
    freshness.read(60)
    assert freshness.objection(NOW + 80, 80) is not None
    freshness.beat(NOW + 81, 81)
    assert freshness.objection(NOW + 500, 500) is None
    assert freshness.doubt(NOW + 500, 500) is not None
    freshness.attached(NOW + 500, 500)
    assert freshness.objection(NOW + 500, 500) is None


def test_pausing() -> None:
    """Under pause, any doubt is an objection."""
    freshness = fresh()
    assert freshness.objection(NOW + 1000, 1000) == freshness.doubt(NOW + 1000, 1000)
