"""What changes while something is awaited: whoever is waited for, it is looked at once more.

The replay memory and an expiry policy are awaited after keys were asked. Each of them changes the
world here while it is asked, and the handler must not run on what was so before.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from busauth import Bus, BusOptions, Caller, Grace, Guard, StaticKeys, Verifier
from busauth.errors import Deferred, NotGenuine
from busauth.expiry import Accept, LateToken
from busauth.messages import InProcessReplay, ReplayKey, Standing
from busauth.testing import Issuer, Kit, ManualClock
from busauth.tokens import AnswerOptions, Key, Session, Sessions
from tests.parties import DAY, Party, Scene, security
from tests.security.stage import attack
from tests.support import LADDERS

WEB = Party("web")
Change = Callable[[], None]


class Keys:
    """An issuer's keys, which can be distrusted at once."""

    def __init__(self, jwks: Any) -> None:
        self._known = StaticKeys(jwks)
        self.epoch = 0
        self.are_trusted = True

    def candidates(self, key_id: str | None, algorithm: str) -> Any:
        return self._known.candidates(key_id, algorithm) if self.are_trusted else list[Key]()

    async def refresh(self) -> bool:
        return True

    def distrust(self) -> None:
        self.are_trusted, self.epoch = False, self.epoch + 1


class Revoking:
    """Knows nobody, until it knows everybody."""

    is_everybody = False

    def revoked(self, caller: Caller, now: float) -> bool:
        return self.is_everybody


class Meanwhile(InProcessReplay):
    """A memory that something happens during."""

    change: Change = staticmethod(lambda: None)

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        standing = await super().begin(key, holder=holder, redelivered=redelivered)
        self.change()
        return standing


class World:
    """A consumer whose keys, revocations and clock can change."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.handled = scene, list[str]()
        issuer = scene.issuer
        self.keys = Keys(issuer.jwks())
        self.revoking = Revoking()
        self.memory = Meanwhile(keep_for=2 * DAY)
        self.leap = 0.0

    def now(self) -> float:
        return self.scene.clock.now() + self.leap

    def monotonic(self) -> float:
        return self.scene.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.scene.clock.sleep(seconds)

    def expire(self) -> None:
        self.leap = 600.0

    def outlive(self) -> None:
        self.leap = 2 * DAY

    def revoke(self) -> None:
        self.revoking.is_everybody = True

    async def judges(self, **policy: Any) -> list[str | None]:
        """Have one message judged while the change happens; return what it is refused with."""
        scene, queue = self.scene, self.scene.broker.name("orders")
        issuer = scene.issuer
        verifier = Verifier(self.keys, issuer=issuer.url, audience=issuer.audience, leeway=0)
        guard = Guard(
            verifier,
            clock=self,
            auditor=scene.trail,
            revocations=self.revoking,
            messages=security(WEB.publisher(), replay=self.memory),
            **policy,
        )
        bus = Bus(scene.broker.url, guard=guard, service="t", options=BusOptions(retry=LADDERS[1]))

        @bus.consumer(queue)
        async def place(caller: Caller) -> None:
            self.handled.append(caller.subject)

        await bus.declare()
        async with scene.publishing(WEB) as publishing:
            await publishing.publish(queue, b"{}", token=issuer.token("ann"))
        async with bus:
            await scene.trail.until("refused")
        return scene.codes()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param("distrust", "token.signature", marks=attack("meanwhile-distrusted")),
        pytest.param("revoke", "token.revoked", marks=attack("meanwhile-revoked")),
        pytest.param("expire", "token.expired", marks=attack("meanwhile-expired")),
        pytest.param("outlive", "proof.stale", marks=attack("meanwhile-stale")),
    ],
)
async def test_what_changes_while_the_memory_is_asked(change: str, code: str, scene: Scene) -> None:
    """Keys, revocations, the token's time and the proof's are looked at after the last await."""
    world = World(scene)
    world.memory.change = {
        "distrust": world.keys.distrust,
        "revoke": world.revoke,
        "expire": world.expire,
        "outlive": world.outlive,
    }[change]
    assert await world.judges() == [code]
    assert world.handled == []


@pytest.mark.parametrize("change", ["distrust", "revoke", "expire"])
async def test_what_changes_while_a_policy_is_asked(change: str, scene: Scene) -> None:
    """What a policy accepts for a while is not accepted after that; nor what nobody proves."""
    world = World(scene)
    happens = {
        "distrust": (world.keys.distrust, "token.signature"),
        "revoke": (world.revoke, "token.revoked"),
        "expire": (world.outlive, "proof.stale"),
    }
    happen, code = happens[change]

    async def accepting(late: LateToken) -> Accept:
        happen()
        return Accept(until=late.now + 60)

    world.memory.change = world.expire
    assert await world.judges(on_expired=accepting) == [code]
    assert world.handled == []


async def test_a_grace_that_ends_while_its_policy_is_asked(scene: Scene) -> None:
    """A late token that was accepted before is judged anew once its time is over."""
    world = World(scene)
    world.expire()

    class Slow(Grace):
        async def decide(self, late: LateToken) -> Any:
            verdict = await super().decide(late)
            world.leap = 1300.0
            return verdict

    window = timedelta(seconds=600)
    assert await world.judges(on_expired=Slow(window=window)) == ["token.expired"]
    assert world.handled == []


class Store:
    """One session, which has ended; it is asked for each time."""

    asked = 0

    def __init__(self, ended_at: float) -> None:
        self._session = Session(claims={"sub": "ann"}, ends_at=ended_at)

    async def find(self, session_id: str) -> Session | None:
        self.asked += 1
        return self._session


@pytest.mark.parametrize("fresh_for", [0, 1])
async def test_a_word_that_is_old_by_the_time_that_a_policy_answers(
    fresh_for: float, busauth_kit: Kit
) -> None:
    """It is asked for once more, and what says the same leaves the decision as it was."""
    clock, handled, asked = busauth_kit.clock, list[str](), list[float]()
    store = Store(clock.now() - 60)
    sessions = Sessions(
        store,
        issuer="sessions",
        audience="shop",
        leeway=0,
        options=AnswerOptions(fresh_for=fresh_for),
        clock=clock,
    )

    async def slow(late: LateToken) -> Accept:
        asked.append(late.now)
        await clock.advance(seconds=5)
        return Accept(until=late.now + 60)

    own = Guard(sessions, on_expired=slow)
    bus = busauth_kit.bus(own.replica(sessions, clock=clock, auditor=busauth_kit._decided))

    @bus.consumer("orders")
    async def place(caller: Caller) -> None:
        handled.append(caller.subject)

    async with bus:
        await bus.publish("orders", b"{}", token="a-session-of-anns-0123456789")
        await bus.idle()
    assert handled == ["ann"]
    assert len(asked) == 1


async def test_what_changes_while_a_policy_is_asked_at_the_edge() -> None:
    """A key that is distrusted meanwhile proves nothing, and what a policy accepts has an end."""
    issuer, clock = Issuer(clock=ManualClock()), ManualClock()
    token = issuer.token("ann")
    await clock.advance(minutes=20)
    keys = Keys(issuer.jwks())
    verifier = Verifier(keys, issuer=issuer.url, audience=issuer.audience, leeway=0)
    guard = Guard(verifier, clock=clock)

    async def accepting(late: LateToken) -> Accept:
        return Accept(until=late.now + 10)

    async def slow(late: LateToken) -> Accept:
        await clock.advance(seconds=100)
        return Accept(until=late.now + 10)

    async def distrusting(late: LateToken) -> Accept:
        keys.distrust()
        return Accept(until=late.now + 10)

    caller = await guard.authenticate(f"Bearer {token}", on_expired=accepting)
    assert caller.subject == "ann"
    with pytest.raises(Deferred, match="keeps changing"):
        await guard.authenticate(f"Bearer {token}", on_expired=slow)
    with pytest.raises(NotGenuine, match=r"token\.signature"):
        await guard.authenticate(f"Bearer {token}", on_expired=distrusting)
