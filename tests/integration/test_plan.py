"""What is planned for letters is what then happens to them, letter by letter, on both brokers."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from pydantic import BaseModel

from busauth import (
    Bus,
    BusOptions,
    Caller,
    DeadLetter,
    Event,
    EventKind,
    Grace,
    Guard,
    StaticKeys,
    Verifier,
)
from busauth._amqp.judging.judge import FRAME
from busauth._amqp.planning.planned import Plan, Planned
from busauth._amqp.planning.planner import Planner, plan
from busauth._amqp.resending.authorities import Errand, KeptToken
from busauth.letters import Redrive, Released
from busauth.tokens import Decryption, TokenEncryption, shared_encryption_key
from tests.parties import Party, Scene, security
from tests.support import LADDERS

WEB = Party("web", headers=("tenant",))
KEY = shared_encryption_key(secrets.token_bytes(32), key_id="redrive")
KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
ALLOWED = "orders:write"


class Order(BaseModel):
    """A body, of which the service has come to ask more."""

    id: int


@dataclass
class Revoked:
    """Whose tokens count no more."""

    subjects: set[str] = field(default_factory=set)

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller.subject in self.subjects


@dataclass
class Shop:
    """A service before and after an incident: the letters of the first are the second's."""

    scene: Scene
    queue: str
    revoked: Revoked = field(default_factory=Revoked)
    audience: str | tuple[str, ...] = ""

    def bus(self, **said: Any) -> Bus:
        """Return the service as it is now: today's keys, with what is said of the consumer."""
        issuer, scene = self.scene.issuer, self.scene
        verifier = Verifier(
            StaticKeys(issuer.jwks()),
            issuer=issuer.url,
            audience=self.audience or issuer.audience,
            leeway=0,
        )
        guard = Guard(
            verifier,
            clock=scene.clock,
            auditor=scene.trail,
            revocations=self.revoked,
            messages=security(WEB.publisher()),
        )
        options = BusOptions(retry=LADDERS[1])
        bus = Bus(scene.broker.url, guard=guard, service="shop", options=options)

        @bus.consumer(self.queue, **said)
        async def place(order: Order, caller: Caller) -> None:
            if order.id == 13:
                raise ValueError("out of stock")

        return bus

    async def publish(self, message_id: str, body: bytes = b'{"id": 1}', **claims: Any) -> None:
        token = self.scene.issuer.token(
            claims.pop("subject", message_id), **{"scope": ALLOWED, **claims}
        )
        async with self.scene.publishing(WEB) as publishing:
            message = aio_pika.Message(body, headers={"tenant": "a"}, message_id=message_id)
            await publishing.publish(self.queue, message, token=token)

    async def refuses(self, bus: Bus, count: int) -> None:
        """Let the service refuse all that is there."""
        seen = len(self.scene.codes())
        async with bus:
            await self.scene.trail.until("refused", count=seen + count)

    async def planned(self, bus: Bus) -> Plan:
        errand = Errand(guard=bus.guard, queue=self.queue)
        authority = KeptToken(Decryption([KEY]))
        planner = await Planner.of_authority(errand, authority, bus.foresee, frame_max=FRAME)
        sources = (f"{self.queue}.dead", f"{self.queue}.rejected")
        return await plan(self.scene.broker.url, sources, planner)

    async def redriven(self, bus: Bus) -> list[Released]:
        """Send all of them again, for real."""
        return [
            await Redrive(
                self.scene.broker.url,
                guard=bus.guard,
                queue=self.queue,
                keys=Decryption([KEY]),
                rejected=rejected,
            ).letters()
            for rejected in (False, True)
        ]


async def what_happened(shop: Shop, bus: Bus, sent: set[str]) -> dict[str, tuple[str, ...]]:
    """Consume all that was sent again; return how each ended, by its message's id."""
    trail = shop.scene.trail
    begun = len(trail.events)
    async with bus, asyncio.timeout(20):
        while len(ends := _ends(trail.events[begun:])) < len(sent):
            await asyncio.sleep(0.02)
    return ends


def _ends(events: list[Event]) -> dict[str, tuple[str, ...]]:
    late = {each.message_id for each in events if each.kind is EventKind.ACCEPTED_LATE}
    ends = dict[str, tuple[str, ...]]()
    for each in events:
        if not each.kind.is_outcome or each.message_id is None:
            continue
        if each.duration is None:
            ends.setdefault(each.message_id, (each.kind.value, each.code or ""))
        else:  # its handler ran
            end = "accepted-late" if each.message_id in late else "accepted"
            ends.setdefault(each.message_id, (end,))
    return ends


def told(planned: Planned) -> tuple[str, ...]:
    """Return the same of what was planned."""
    if planned.outcome in ("accepted", "accepted-late"):
        return (planned.outcome,)
    return planned.outcome, planned.code or ""


async def test_a_plan_is_what_then_happens(scene: Scene) -> None:
    """Each letter ends as it was planned, or stays with its code; looking has moved nothing."""
    shop = Shop(scene, scene.broker.name("orders"))
    await shop.bus().declare()
    old = scene.issuer.signing
    await shop.publish("under an old key")
    scene.issuer.rotate()
    for message_id in ("fine", "revoked"):
        await shop.publish(message_id)
    await shop.publish("forbidden", scope="orders:read")
    await shop.publish("misread", b'{"id": "x"}')
    await shop.publish("failing", b'{"id": 13}')
    await shop.publish("misdirected", aud="depot")
    await scene.clock.advance(400)
    await shop.publish("later")
    await scene.clock.advance(310)
    await shop.refuses(shop.bus(on_expired=KEEPING), 8)

    scene.issuer.retire(old)
    shop.audience = (scene.issuer.audience, "depot")
    shop.revoked.subjects.add("revoked")
    now = shop.bus(scopes={ALLOWED}, on_expired=[Grace(seconds=600), KEEPING])
    events = len(scene.trail.events)
    planned = await shop.planned(now)
    assert len(scene.trail.events) == events
    assert (await shop.planned(now)).counts == planned.counts
    outcomes = {str(each.letter.message_id): told(each) for each in planned.letters}
    sent = await shop.redriven(now)
    happened = await what_happened(shop, now, {each for some in sent for each in some.sent})
    stayed = {each: ("stays", code) for some in sent for each, code in some.refused.items()}
    assert {**happened, **stayed} == outcomes
    assert outcomes == {
        "fine": ("accepted-late",),
        "revoked": ("stays", "token.revoked"),
        "forbidden": ("refused", "caller.scope"),
        "misread": ("refused", "body.invalid"),
        "failing": ("accepted-late",),
        "misdirected": ("accepted-late",),
        "later": ("accepted-late",),
        "under an old key": ("refused", "token.key_unknown"),
    }
