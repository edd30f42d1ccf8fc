"""What changes while something is awaited: whoever is waited for, it is looked at once more.

The replay memory and an expiry policy are awaited after keys were asked. Each of them changes the
world here while it is asked, and the handler must not run on what was so before.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from busauth import Bus, BusOptions, Caller, Grace, Guard, StaticKeys, Verifier
from busauth.expiry import Accept, LateToken
from busauth.messages import InProcessReplay, ReplayKey, Standing
from busauth.tokens import Key
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
