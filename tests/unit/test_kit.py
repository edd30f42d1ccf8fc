"""Clocks, the issuer of one's own, and the audit."""

import asyncio
import logging
import time

import httpx
import pytest

from busauth.audit import Event, EventKind, log_event, told_safely
from busauth.clock import SystemClock
from busauth.testing import Issuer, IssuerServer, ManualClock
from tests.unit.support import NOW


async def test_a_manual_clock_stands_still() -> None:
    """Time passes when it is told to, and then exactly so much."""
    clock = ManualClock(NOW)
    assert (clock.now(), clock.monotonic()) == (NOW, 0)
    await clock.advance(12.5)
    assert (clock.now(), clock.monotonic()) == (NOW + 12.5, 12.5)
    await clock.advance(0)
    assert clock.now() == NOW + 12.5


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
async def test_a_manual_clock_moves_forward_only(seconds: float) -> None:
    """There is no way back."""
    clock = ManualClock()
    with pytest.raises(ValueError, match="forward only"):
        await clock.advance(seconds)
    assert clock.monotonic() == 0


async def test_sleepers_wake_in_order_at_their_own_instants() -> None:
    """Each wakes at its time, ties in the order of going to sleep."""
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [
        asyncio.ensure_future(sleeper(name, seconds))
        for name, seconds in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2), ("never", 10))
    ]
    await asyncio.sleep(0)
    await clock.advance(5)
    assert woken == [("a", 1), ("b1", 2), ("b2", 2), ("c", 3)]
    assert clock.monotonic() == 5
    tasks[-1].cancel()
    await clock.advance(10)
    assert len(woken) == 4
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_sleeps_again_on_the_way_wakes_again() -> None:
    """One long step passes every instant in between."""
    clock = ManualClock()
    ticks: list[float] = []

    async def ticking() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    task = asyncio.ensure_future(ticking())
    await asyncio.sleep(0)
    await clock.advance(3.5)
    assert ticks == [1, 2, 3]
    task.cancel()


async def test_timers_fire_at_their_own_instants_in_order() -> None:
    """A callback sees its instant as now; one that was cancelled is not called."""
    clock = ManualClock(NOW)
    fired: list[tuple[str, float]] = []
    for name, when in (("b", 2.0), ("a", 1.5), ("c", 2.0), ("past", -1.0)):
        clock.call_at(when, lambda name=name: fired.append((name, clock.now())))  # type: ignore[misc]
    clock.call_at(1.0, lambda: fired.append(("never", 0))).cancel()
    assert fired == []
    await clock.advance(seconds=3)
    assert fired == [("past", NOW), ("a", NOW + 1.5), ("b", NOW + 2), ("c", NOW + 2)]


async def test_a_timer_may_set_another_on_the_way() -> None:
    """What a timer leads to happens in the same step of the clock, if it is due within."""
    clock = ManualClock()
    fired: list[float] = []

    def again() -> None:
        fired.append(clock.monotonic())
        clock.call_at(clock.monotonic() + 20, again)

    clock.call_at(20, again)
    await clock.advance(minutes=1)
    assert fired == [20, 40, 60]


async def test_time_is_told_in_any_unit() -> None:
    """Units add up; infinity is no time to move to."""
    clock = ManualClock()
    await clock.advance(1, minutes=1, hours=1, days=1)
    assert clock.monotonic() == 1 + 60 + 3600 + 86400
    with pytest.raises(ValueError, match="forward only"):
        await clock.advance(hours=float("inf"))


@pytest.mark.parametrize("seconds", [0, -5])
async def test_sleeping_for_nothing_returns(seconds: float) -> None:
    """Nothing to wait for is not waited for, though others get their turn."""
    await ManualClock().sleep(seconds)


async def test_the_system_clock_is_the_machines() -> None:
    """`now` is the wall clock, `monotonic` never goes back."""
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before


def test_an_issuer_mints_what_it_is_told() -> None:
    """Claims are replaced, or taken away with None."""
    issuer = Issuer(algorithm="EdDSA", clock=ManualClock(NOW), lifetime=60)
    claims = issuer.claims("bob", aud=None, scope="a")
    assert "aud" not in claims
    assert (claims["sub"], claims["scope"]) == ("bob", "a")
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 60)


def test_rotating_keeps_the_old_key_unless_retired() -> None:
    """After a rotation both keys are published; after retiring only the new one."""
    issuer = Issuer(algorithm="ES256")
    first = issuer.signing
    second = issuer.rotate()
    assert [key["kid"] for key in issuer.jwks()["keys"]] == [first.key_id, second.key_id]
    third = issuer.rotate(retire=True)
    assert [key["kid"] for key in issuer.jwks()["keys"]] == [third.key_id]
    assert "d" not in issuer.jwks()["keys"][0]


def test_an_issuer_is_served_over_http() -> None:
    """Metadata, keys and health are answered; other paths, faults and replies as told."""
    with IssuerServer(Issuer(algorithm="ES256")) as server, httpx.Client(trust_env=False) as client:

        def get(path: str) -> httpx.Response:
            return client.get(f"{server.issuer.url}{path}")

        for place in ("openid-configuration", "oauth-authorization-server"):
            assert get(f"/.well-known/{place}").json() == server.issuer.metadata()
        assert get("/jwks.json").json() == server.issuer.jwks()
        assert get("/healthz").json() == {}
        assert get("/nope").status_code == 404
        server.replies["/nope"] = (418, b"tea")
        assert (get("/nope").status_code, get("/nope").text) == (418, "tea")
        server.down = True
        assert get("/jwks.json").status_code == 503
    assert server.requests[0] == "/.well-known/openid-configuration"
    assert len(server.requests) == 8


def test_an_issuer_may_be_known_by_another_url() -> None:
    """Behind a name of its own, the issuer says that name."""
    with IssuerServer(Issuer(algorithm="ES256"), url="http://issuer:8080") as server:
        assert server.issuer.metadata()["jwks_uri"] == "http://issuer:8080/jwks.json"


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        (EventKind.ACCEPTED, logging.DEBUG),
        (EventKind.ACCEPTED_LATE, logging.WARNING),
        (EventKind.REFUSED, logging.WARNING),
    ],
)
def test_events_are_logged_by_what_they_mean(
    kind: EventKind, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What somebody should look at is a warning, the rest is for debugging."""
    with caplog.at_level(logging.DEBUG, "busauth"):
        log_event(Event(kind=kind, queue="q", at=NOW, code="a.b", detail="why"))
    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage() == f"{kind} queue=q code=a.b why"


def test_an_auditor_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged, and goes no further."""
    seen: list[Event] = []

    def failing(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("the auditor's own")

    told_safely(failing)(Event(kind=EventKind.ACCEPTED, queue="q", at=NOW))
    assert len(seen) == 1
    assert "the auditor failed on a accepted event" in caplog.text
