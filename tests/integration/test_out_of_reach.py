"""What a user brings to a guard may be out of reach, and messages wait; or it is mistaken."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from busauth import Bus, Caller, Deferred, Guard, GuardOptions, StaticKeys, Verifier, Verifiers
from busauth.audit import Event
from busauth.expiry import Accept, LateToken, Verdict
from busauth.messages import InProcessReplay, ReplayKey, Standing, TrustedPublisher
from busauth.testing import Issuer
from busauth.tokens import Key, KeyMissing, Session, Sessions, Verified, answered, found
from tests.parties import DAY, Party, security
from tests.support import Broker, Trail

SESSION = "s.0123456789abcdef"


class DriverError(Exception):
    """An error of a library's that is no `OSError`."""


QUICK = GuardOptions(pause_first=0.05, pause_longest=0.2, transient=(DriverError,))


@dataclass
class Line:
    """What everything here is reached by; it fails as it is told."""

    fault: Exception | None

    def use(self) -> None:
        if self.fault is not None:
            raise self.fault


@dataclass
class Brought:
    """Every object that a user can bring, each of them at the end of a line."""

    line: Line
    keys: StaticKeys

    epoch = 0

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        self.line.use()
        return self.keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        self.line.use()
        return True

    def revoked(self, caller: Caller, now: float) -> bool:
        self.line.use()
        return False

    async def find(self, session_id: str) -> Session:
        self.line.use()
        return Session(claims={"sub": "ann"}, ends_at=time.time() + 60)

    async def policy(self, late: LateToken) -> Verdict | None:
        self.line.use()
        return Accept()


class Fetched(Brought):
    """Keys that are never at hand before they were asked for."""

    known = False

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        if not self.known:
            raise KeyMissing
        return self.keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        self.known = await super().refresh()
        return True


class Own:
    """An authenticator of the user's."""

    def __init__(self, brought: Brought, issuer: Issuer) -> None:
        self._line = brought.line
        self._verifiers = Verifiers(
            Verifier(brought.keys, issuer=issuer.url, audience=issuer.audience)
        )

    def takes(self, token: str) -> bool:
        return True

    def recall(self, token: str) -> Verified:
        return answered((self, token), lambda: self._asked(token))

    async def _asked(self, token: str) -> Verified:
        self._line.use()
        return await found(lambda: self._verifiers.recall(token))

    def check_shape(self, token: str) -> float | None:
        return self._verifiers.check_shape(token)


class Memory(InProcessReplay):
    """A replay memory of the user's."""

    def __init__(self, line: Line) -> None:
        super().__init__(keep_for=2 * DAY)
        self._line = line

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        self._line.use()
        return await super().begin(key, holder=holder, redelivered=redelivered)


WEB = Party("web")


def guarded(part: str, line: Line, issuer: Issuer, trail: Trail) -> Guard:
    """Return a guard of which one part is at the end of a line."""
    known = StaticKeys(issuer.jwks())
    brought = Fetched(line, known) if part == "fetch" else Brought(line, known)
    source = brought if part in ("keys", "fetch") else known
    verifier = Verifier(source, issuer=issuer.url, audience=issuer.audience, leeway=0)
    signed = {"publisher": Brought(line, StaticKeys(WEB.jwk))}.get(part, StaticKeys(WEB.jwk))
    proven = security(
        TrustedPublisher("web", signed), replay=Memory(line if part == "memory" else OPEN)
    )
    sessions = Sessions(brought, issuer="sessions", audience="shop", prefix="s.")
    trusted: dict[str, Any] = {"authenticator": Own(brought, issuer), "sessions": sessions}
    return Guard(
        trusted.get(part, verifier),
        revocations=brought if part == "revocations" else None,
        on_expired=brought.policy if part == "policy" else None,
        messages=proven if part in ("memory", "publisher") else None,
        options=QUICK,
        auditor=trail,
    )


OPEN = Line(None)
PARTS = (
    "keys", "fetch", "authenticator", "revocations", "policy", "memory", "publisher", "sessions"
)  # fmt: skip
FAULTS = [ConnectionResetError(), TimeoutError(), DriverError(), Deferred("down")]


@asynccontextmanager
async def consumed(
    part: str, line: Line, broker: Broker, issuer: Issuer, trail: Trail
) -> AsyncIterator[tuple[str, list[str]]]:
    """Publish a message that is late where a policy is asked, and consume it."""
    queue, seen = broker.name("orders"), list[str]()
    bus = Bus(broker.url, guard=guarded(part, line, issuer, trail), service="test")

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        seen.append(caller.subject)

    await bus.declare()
    now = time.time()
    token = issuer.token("ann", iat=now - 600, exp=now - 60 if part == "policy" else now + 600)
    if part in ("memory", "publisher"):
        signing = Guard(
            Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience=issuer.audience),
            messages=security(signer=WEB.signer),
        )
        async with Bus(broker.url, guard=signing, service="web") as web:
            await web.publish(queue, b"{}", token=token)
    else:
        await broker.publish(queue, token=SESSION if part == "sessions" else token)
    async with bus:
        yield queue, seen


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("part", PARTS)
async def test_what_is_out_of_reach_is_waited_for(
    part: str, fault: Exception, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Whatever a user brings, whichever way it says so: the message waits, and is handled."""
    line = Line(fault)
    async with consumed(part, line, broker, issuer, trail) as (queue, seen):
        await trail.until("deferred")
        line.fault = None
        await trail.until("handled")
    assert seen == ["ann"]
    assert "refused" not in trail.kinds()
    await broker.settles_at(f"{queue}.dead", 0)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "sessions"])
async def test_a_mistake_refuses(
    part: str, broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """What is neither a verdict nor out of reach accepts nothing, and its traceback is logged."""
    async with consumed(part, Line(KeyError("x")), broker, issuer, trail) as (_, seen):
        (event,) = await trail.until("refused")
    assert event.code == ("token.expired" if part == "policy" else "check.failed")
    assert "KeyError" in str(event.detail)
    assert [str(line.exc_info[1]) for line in caplog.records if line.exc_info] == ["'x'"]
    assert not seen


async def test_who_says_whose_a_session_is_is_never_mistaken(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """Nobody would know whose letter it is: whatever a store raises, the message waits."""
    line = Line(KeyError("x"))
    async with consumed("sessions", line, broker, issuer, trail) as (_, seen):
        await trail.until("deferred")
        line.fault = None
        await trail.until("handled")
    assert seen == ["ann"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("part", ["keys", "fetch", "authenticator", "revocations", "policy"])
async def test_the_edge_says_the_same(part: str, fault: Exception, issuer: Issuer) -> None:
    """Who authenticates a request with the guard answers 503 for what is out of reach."""
    line = Line(fault)
    guard = guarded(part, line, issuer, Trail())
    now = time.time()
    token = issuer.token("ann", iat=now - 600, exp=now - 60 if part == "policy" else now + 600)
    policy = Brought(line, StaticKeys(issuer.jwks())).policy if part == "policy" else None
    with pytest.raises(Deferred):
        await guard.authenticate(f"Bearer {token}", on_expired=policy)
    line.fault = None
    assert (await guard.authenticate(f"Bearer {token}", on_expired=policy)).subject == "ann"


class Refusing(InProcessReplay):
    """A memory that can note nothing."""

    async def done(self, key: ReplayKey) -> None:
        raise KeyError("x")


async def test_what_cannot_be_noted_is_told_and_settled(
    broker: Broker, issuer: Issuer, trail: Trail, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A message that was handled is acknowledged, whatever a memory makes of that."""
    monkeypatch.setattr(Memory, "done", Refusing.done)
    async with consumed("memory", OPEN, broker, issuer, trail) as (queue, seen):
        await trail.until("handled")
    assert seen == ["ann"]
    assert "would be handled again: KeyError" in caplog.text
    await broker.settles_at(queue, 0)


async def test_an_auditor_changes_nothing(
    broker: Broker, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is told may be out of reach: no decision waits for that."""
    queue, seen = broker.name("orders"), list[str]()

    def auditor(event: Event) -> None:
        trail(event)
        raise ConnectionResetError

    guard = Guard(
        Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience=issuer.audience),
        auditor=auditor,
    )
    bus = Bus(broker.url, guard=guard, service="test")

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        seen.append(caller.subject)

    async with bus:
        await broker.publish(queue, token=issuer.token("ann"))
        await trail.until("handled")
    assert seen == ["ann"]
    assert "deferred" not in trail.kinds()
