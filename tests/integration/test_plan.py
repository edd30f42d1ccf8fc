"""What is planned for letters is what then happens to them, letter by letter, on both brokers."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from busauth import (
    Bus,
    BusOptions,
    Caller,
    Event,
    EventKind,
    Grace,
    Guard,
    Park,
    Reject,
    StaticKeys,
    Verifier,
)
from busauth._amqp.judging.judge import FRAME
from busauth._amqp.planning.planned import Plan, Planned
from busauth._amqp.planning.planner import Planner, plan
from busauth._amqp.resending.authorities import Authority, Errand
from busauth.cli import app
from busauth.letters import FreshToken, KeptToken, Letters, Redrive, Released, history
from busauth.messages import ForeseenEnd, Received
from busauth.testing import ManualClock
from tests.parties import Party, Scene, security
from tests.security.test_operators import Office
from tests.support import LADDERS
from tests.unit.encrypting import private_jwk

WEB = Party("web", headers=("tenant",))
ORDERS = Party("orders")
LETTERS_KEY = private_jwk("p256", "letters-1")
LETTERS = Letters(keep_token=LETTERS_KEY)
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
    out_of_stock: int = 13

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
            messages=security(WEB.publisher(), ORDERS.publisher(relays=True), signer=ORDERS.signer),
            letters=LETTERS,
        )
        options = BusOptions(retry=LADDERS[1])
        bus = Bus(scene.broker.url, guard=guard, service="shop", options=options)

        @bus.consumer(self.queue, **said)
        async def place(order: Order, caller: Caller) -> None:
            if order.id == self.out_of_stock:
                raise Reject("out of stock")

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

    async def planned(self, bus: Bus, authority: Authority, *places: str) -> Plan:
        errand = Errand(guard=bus.guard, queue=self.queue)
        planner = await Planner.of_authority(errand, authority, bus.foresee, frame_max=FRAME)
        sources = [f"{self.queue}.{place}" for place in places or ("dead", "rejected")]
        return await plan(self.scene.broker.url, sources, planner)

    async def redriven(self, bus: Bus, authority: Authority) -> list[Released]:
        """Send all of them again, for real."""
        return [
            await Redrive(
                self.scene.broker.url,
                guard=bus.guard,
                queue=self.queue,
                authority=authority,
                rejected=rejected,
            ).letters()
            for rejected in (False, True)
        ]

    async def holds(self, bus: Bus, authority: Authority) -> dict[str, tuple[str, ...]]:
        """Plan, see that it was a look, send all of them again, and compare."""
        events = len(self.scene.trail.events)
        planned = await self.planned(bus, authority)
        assert len(self.scene.trail.events) == events
        assert (await self.planned(bus, authority)).counts == planned.counts
        outcomes = {str(each.letter.message_id): told(each) for each in planned.letters}
        sent = await self.redriven(bus, authority)
        happened = await what_happened(self, bus, {each for some in sent for each in some.sent})
        stayed = {each: ("stays", code) for some in sent for each, code in some.refused.items()}
        others = {each: end for each, end in outcomes.items() if end == ("stays", "")}
        assert {**others, **happened, **stayed} == outcomes
        assert len(others) == sum(some.others for some in sent)
        return outcomes


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
    await shop.publish("too late")
    await scene.clock.advance(400)
    for message_id in ("expired", "revoked"):
        await shop.publish(message_id)
    await scene.clock.advance(710)
    await shop.publish("forbidden", scope="orders:read")
    await shop.publish("misread", b'{"id": "x"}')
    await shop.publish("rejected", b'{"id": 13}')
    await shop.publish("misdirected", aud="depot")
    await shop.refuses(shop.bus(scopes={ALLOWED}), 8)

    await scene.clock.advance(900)
    scene.issuer.retire(old)
    shop.audience = (scene.issuer.audience, "depot")
    shop.revoked.subjects.add("revoked")
    shop.out_of_stock = 0
    now = shop.bus(scopes={ALLOWED}, on_expired=Grace(seconds=1500))
    assert await shop.holds(now, KeptToken()) == {
        "too late": ("refused", "token.expired"),
        "under an old key": ("returned", "token.key_unknown"),
        "expired": ("accepted-late",),
        "revoked": ("stays", "token.revoked"),
        "forbidden": ("refused", "caller.scope"),
        "misread": ("refused", "body.invalid"),
        "rejected": ("accepted-late",),
        "misdirected": ("accepted-late",),
    }


async def test_a_plan_by_a_fresh_token_is_what_then_happens(scene: Scene) -> None:
    """Their caller's letters alone, by what the fresh token and the first one allow together."""
    shop = Shop(scene, scene.broker.name("orders"))
    await shop.bus().declare()
    await shop.publish("first", subject="ann")
    await shop.publish("misread", b"{}", subject="ann")
    await shop.publish("bob's", subject="bob")
    await scene.clock.advance(710)
    await shop.refuses(shop.bus(), 3)
    now = shop.bus(scopes={ALLOWED})
    fresh = FreshToken(scene.issuer.token("ann", scope=ALLOWED))
    assert await shop.holds(now, fresh) == {
        "first": ("accepted",),
        "misread": ("refused", "body.invalid"),
        "bob's": ("stays", ""),
    }


async def test_what_is_parked_is_planned_as_its_release(scene: Scene) -> None:
    """By its caller's fresh token; the first one's demands are held again, and so is the body."""
    shop = Shop(scene, scene.broker.name("orders"))
    parking = shop.bus(on_expired=Park())
    await parking.declare()
    await shop.publish("first", subject="ann")
    await shop.publish("misread", b"{}", subject="ann")
    await scene.clock.advance(710)
    async with parking:
        await scene.trail.until("parked", count=2)
    now, token = shop.bus(on_expired=Park()), scene.issuer.token("ann", scope=ALLOWED)
    planned = await shop.planned(now, FreshToken(token), "parked")
    outcomes = {str(each.letter.message_id): told(each) for each in planned.letters}
    released = await now.release(shop.queue, token)
    assert await what_happened(shop, now, {*released.sent}) == outcomes
    assert outcomes == {"first": ("accepted",), "misread": ("refused", "body.invalid")}


@pytest.mark.parametrize("url", ["embedded"], indirect=True)
@pytest.mark.parametrize("wrong", [None, "revoked", "edited"])
async def test_what_an_operator_sends_is_foreseen(scene: Scene, wrong: str | None) -> None:
    """A letter with a desk's statement ends as its consumer's own course ends it."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated, queue = await office.state(letter), office.stage.queue
    if wrong == "revoked":
        office.revoked.digests.add(str(letter.headers["busauth-token-sha256"]))
    message = replace(stated, body=b"another") if wrong == "edited" else stated
    foreseen = await office.stage.bus.foresee(
        queue,
        Received(
            body=message.body,
            exchange="",
            routing_key=queue,
            redelivered=False,
            headers=message.headers,
            **message.properties,
        ),
    )
    assert office.callers == []
    await office.stage.put(message)
    async with office.stage.bus:
        await scene.broker.settles_at(queue, 0)
    end = scene.trail.events[-1]
    if wrong is None:
        assert (end.kind, foreseen.policy) == ("handled", "Operators")
        assert foreseen.end is ForeseenEnd.ACCEPTED_LATE
    else:
        assert (foreseen.end.value, foreseen.code) == (end.kind.value, end.code)


_MODULE = """
import json
from pathlib import Path
from pydantic import BaseModel
from busauth import Bus, Caller, Grace, Guard, StaticKeys, Verifier
from busauth.letters import Letters
from busauth.messages import MessageSecurity
from tests.parties import SEAL

said = json.loads(Path("shop.json").read_text())
keys = StaticKeys(said["jwks"])
guard = Guard(
    Verifier(keys, issuer=said["issuer"], audience=said["audience"]),
    on_expired=Grace(hours=1),
    messages=MessageSecurity(seal=SEAL),
    letters=Letters(keep_token="letters.jwk"),
)
bus = Bus(said["url"], guard=guard, service="planned_shop")


class Order(BaseModel):
    id: int


@bus.consumer(said["queue"], proofs=None)
async def place(order: Order, caller: Caller) -> None:
    raise AssertionError("it was run")
"""


@pytest.fixture
def clock() -> ManualClock:
    """A clock that shows what the machine shows some time later."""
    return ManualClock(time.time() - 710)


def lay(scene: Scene, queue: str) -> None:
    """Write the module of the service as it is now, and what it reads, into this folder."""
    issuer = scene.issuer
    said = {"jwks": issuer.jwks(), "issuer": issuer.url, "audience": issuer.audience}
    Path("shop.json").write_text(json.dumps({**said, "url": scene.broker.url, "queue": queue}))
    Path("planned_shop.py").write_text(_MODULE)
    Path("letters.jwk").write_text(json.dumps(LETTERS_KEY))


async def run(*words: str) -> Result:
    runner = CliRunner(env={"BUSAUTH_AMQP_URL": None})
    return await asyncio.to_thread(runner.invoke, app, words)


async def test_the_command_plans_and_records(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts by outcome and cause, each letter as JSON, an exit code; and who planned what."""
    shop = Shop(scene, scene.broker.name("orders"))
    await shop.bus().declare()
    await shop.publish("fine")
    await shop.publish("misread", b'{"id": "x"}')
    await scene.clock.advance(710)
    await shop.refuses(shop.bus(), 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "planned_shop", raising=False)
    queue = shop.queue
    lay(scene, queue)
    given = ("--bus", "planned_shop:bus")
    planned = await run("letters", "plan", queue, *given, "--json")
    assert planned.exit_code == 3, planned.output
    document = json.loads(planned.stdout)
    assert document["counts"] == {"accepted-late": 1, "refused": 1}
    (misread,) = [each for each in document["letters"] if each["outcome"] == "refused"]
    assert (misread["code"], misread["message_id"]) == ("body.invalid", "misread")
    (record,) = await history(scene.broker.url, queue)
    assert (record.kind, record.authority, dict(record.counts)) == (
        *("planned", "kept"),
        document["counts"],
    )
    assert record.codes == {misread["letter"]: "body.invalid"}
    place = ("--url", scene.broker.url)
    shown = await run("letters", "history", queue, "--run", record.run, *place)
    row, steps = shown.stdout.splitlines()[1], shown.stdout.splitlines()[4:]
    assert row.split()[-3:] == ["2", "1", "0"], shown.output
    assert [step.split("  ")[-1] for step in steps] == [
        "planned: accepted-late 1, refused 1 (body.invalid 1)"
    ]
    table = await run("letters", "plan", queue, *given, "--no-record", "--message-id", "fine")
    assert (table.exit_code, "accepted-late" in table.stdout) == (0, True), table.output
    assert len(await history(scene.broker.url, queue)) == 1
    unknown = await run("letters", "plan", queue, *given, "--authority", "operator", "--no-record")
    assert (unknown.exit_code, "a desk signs" in unknown.stdout) == (4, True), unknown.output
    for which in ("misread", misread["letter"][:12]):
        explained = await run("explain", "--queue", queue, "--letter", which, *given)
        assert explained.exit_code == 3, explained.output
        assert "body.invalid" in explained.stdout
    gone = await run("explain", "--queue", queue, "--letter", "x", *given)
    assert (gone.exit_code, "--letter x: not in" in gone.stderr) == (1, True), gone.output
