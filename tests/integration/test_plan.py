"""What is planned for letters is what then happens to them, letter by letter, on both brokers."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from pydantic import BaseModel

from busauth import Bus, BusOptions, Caller, DeadLetter, Guard, StaticKeys, Verifier
from busauth._amqp.judging.judge import FRAME
from busauth._amqp.planning.planned import Plan, Planned
from busauth._amqp.planning.planner import Planner, plan
from busauth._amqp.resending.authorities import Errand, KeptToken
from busauth.letters import Redrive, Released, Wanted
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

    async def planned(self, bus: Bus, wanted: Wanted | None = None) -> Plan:
        errand = Errand(guard=bus.guard, queue=self.queue)
        authority = KeptToken(Decryption([KEY]))
        planner = await Planner.of_authority(errand, authority, bus.foresee, frame_max=FRAME)
        sources = (f"{self.queue}.dead", f"{self.queue}.rejected")
        return await plan(self.scene.broker.url, sources, planner, wanted)

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


async def what_happened(shop: Shop, bus: Bus, sent: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Consume all that was sent again; return how each ended, by its message id."""
    scene, ids = shop.scene, set(sent)
    begun = len(scene.trail.events)
    async with bus:
        for message_id in ids:
            while not _end_of(shop, message_id, begun):
                await scene.trail.until_any(begun)  # type: ignore[attr-defined]
    return {each: _end_of(shop, each, begun) for each in ids}


def _end_of(shop: Shop, message_id: str, begun: int) -> tuple[str, ...]:
    events = [each for each in shop.scene.trail.events[begun:] if each.message_id == message_id]
    ends = [each for each in events if each.kind.is_outcome]
    if not ends:
        return ()
    late = any(each.kind == "accepted-late" for each in events)
    if ends[0].kind in ("handled", "retried") or ends[0].code == "handler.failed":
        return ("accepted-late",) if late else ("accepted",)
    return ends[0].kind.value, ends[0].code or ""


def told(planned: Planned) -> tuple[str, ...]:
    """Return the same of what was planned."""
    if planned.outcome in ("accepted", "accepted-late"):
        return (planned.outcome,)
    return planned.outcome, planned.code or ""
