"""The scenes of agents: twenty hours of work, and what ends it.

Hours pass as the scenes say so. Between two steps the agent is not there, so that its work waits.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette

from busauth import Bus, Caller, StaticKeys
from busauth.messages import MessageSecurity, Proofs, ProofSigner, TrustedPublisher
from busauth.tokens import shared_secret
from workers.agents.atlas import VOUCHERS
from workers.agents.desk import desk
from workers.agents.hold import hold
from workers.agents.jobs import HOLDS_DUE, HOURS, REPORTS_DUE, SEARCHES_DUE
from workers.agents.report import report
from workers.agents.search import search
from workers.agents.tools import flights, mailbox
from workers.demo.chains.town import Town, founded, open_for
from workers.demo.play import Chain, Scene
from workers.demo.timeline import Timeline
from workers.hop import LEGEND, Hop

QUEUES = (SEARCHES_DUE, HOLDS_DUE, REPORTS_DUE)
STEPS = ("search", "hold", "report")
MAY = "flights:book flights:hold flights:search mail:send"
"""What Uma may do, in her own name."""

SOON = 1.0
"""Seconds, of the real ones, within which what was withdrawn has to have ended."""


@dataclass
class Withdrawn:
    """Knows whom the user has told to stop: asked before each decision, and each exchange.

    In earnest this is a feed that every service reads, `busauth.revocation.RevocationFeed`.
    """

    agents: set[tuple[str, str]] = field(default_factory=set)

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether one of those who act for the caller may do so no more."""
        return any((caller.subject, actor.subject) in self.agents for actor in caller.actors)


@dataclass(frozen=True, slots=True)
class Agents(Town):
    """The town, the user's door, the tools, the steps, and what was withdrawn."""

    door: Starlette
    tools: Mapping[str, Starlette]
    steps: Mapping[str, Callable[[], Bus]]
    withdrawn: Withdrawn

    async def job(self, user: str = "uma", *airlines: str) -> None:
        """Hand a job to the agent."""
        token = self.token(user, "desk", scope=MAY)
        body = {"destination": "Lisbon", "airlines": airlines or ("LX",)}
        await self.ask(self.door, "/jobs", token=token, body=body, name="desk")

    async def later(self, hours: float, step: str, *until: str) -> None:
        """Let hours pass, and have a step done: until it was handled, or these facts were seen."""
        passed = f"{hours:g} hours pass; " if hours else ""
        self.timeline.note(f"{passed}atlas comes to its {step}")
        await self.clock.advance(hours=hours)
        async with self.steps[step]():
            await self.record.until(*until or (f"{step}: handled",))

    def withdraw(self, user: str) -> float:
        """Have a user tell atlas to stop; return when that was, in real time."""
        self.timeline.note(f"{user} withdraws what atlas was given")
        self.withdrawn.agents.add((user, "atlas"))
        return time.monotonic()

    def note_stop(self, withdrawn_at: float) -> None:
        """Note whether what was withdrawn has ended soon."""
        soon = time.monotonic() - withdrawn_at < SOON
        self.record.add(f"stopped {'within' if soon else 'after more than'} {SOON:g} s")


@asynccontextmanager
async def set_up(amqp_url: str, timeline: Timeline, prefix: str) -> AsyncIterator[Agents]:
    """Start the desk, and get the tools and the steps ready."""
    withdrawn = Withdrawn()
    async with founded(
        amqp_url,
        timeline,
        prefix,
        services=("desk", "atlas"),
        queues=QUEUES,
        revocations=withdrawn,
        messages=_signed(),
    ) as town:
        town.idp.issuer.receivers[VOUCHERS] = "atlas"
        place = town.place
        tools = {"flights": flights(place), "mailbox": mailbox(place)}
        steps: dict[str, Callable[[], Bus]] = {
            "search": lambda: search(place, tools["flights"]),
            "hold": lambda: hold(place, tools["flights"]),
            "report": lambda: report(place, tools["mailbox"]),
        }
        door = desk(place, tools["flights"])
        for step in steps.values():
            await step().declare()
        async with open_for(town, door):
            yield Agents(
                place, town.idp, town.clock, town.broker, town.seen, door, tools, steps, withdrawn
            )


def _signed() -> dict[str, MessageSecurity]:
    """Return who signs what is published, and whose signatures count: desk's and atlas's own."""
    keys = {name: secrets.token_bytes(32) for name in ("desk", "atlas")}
    trusted = [
        TrustedPublisher(name, StaticKeys(shared_secret(key)), algorithms=["HS256"], relays=True)
        for name, key in keys.items()
    ]
    proofs = Proofs(trusted, max_age=2 * HOURS * 3600)
    signer = {name: ProofSigner(name, key, algorithm="HS256") for name, key in keys.items()}
    step = MessageSecurity(signer=signer["atlas"], proofs=proofs)
    return {"desk": MessageSecurity(signer=signer["desk"]), **dict.fromkeys(STEPS, step)}


async def twenty_hours(stage: Agents) -> None:
    """Uma asks for a flight; atlas looks after 8 hours, holds after 16, and tells her after 20."""
    await stage.job()
    await stage.later(8, "search")
    await stage.later(8, "hold")
    await stage.later(4, "report")


async def by_oneself(stage: Agents) -> None:
    """Uma books the seat herself; a token with which atlas would do it for her is refused."""
    token, seat = stage.token("uma", "desk", scope=MAY), {"flight": "LX 1820"}
    await stage.ask(stage.door, "/bookings", token=token, body=seat, name="desk")
    token = stage.token("uma", "flights", scope="flights:book", act={"sub": "atlas"})
    stage.timeline.note("atlas has come by a token with which it may book for her")
    await stage.ask(stage.tools["flights"], "/bookings", token=token, body=seat, name="flights")


async def a_voucher_elsewhere(stage: Agents) -> None:
    """Whoever reaches the broker takes the voucher, shows it to a tool, puts it on another body."""
    await stage.job()
    voucher = await stage.broker.token_in(SEARCHES_DUE)
    await stage.ask(stage.tools["flights"], "/bookings", token=voucher, body={}, name="flights")
    await stage.broker.intrude(REPORTS_DUE, b"{}", voucher)
    await stage.later(0, "report", "report: refused proof.missing")
    await stage.later(0, "search")
    await stage.later(0, "hold")
    await stage.later(0, "report")


async def withdrawn_while_it_waits(stage: Agents) -> None:
    """Vic withdraws after the search: what waits is refused as soon as atlas comes to it."""
    await stage.job("vic")
    await stage.later(8, "search")
    withdrawn_at = stage.withdraw("vic")
    asked = stage.asked()
    await stage.later(0, "hold", "holds.due.dead: token.revoked")
    stage.note_stop(withdrawn_at)
    stage.record.add(f"issuer: asked {stage.asked() - asked} times")


async def withdrawn_at_work(stage: Agents) -> None:
    """Wim withdraws while atlas asks the first of three airlines: it asks no second."""
    at: list[float] = []

    def watch(hop: Hop) -> None:
        if hop.service == "flights":
            at.append(stage.withdraw("wim"))

    await stage.job("wim", "LX", "TP", "BA")
    stage.seen.watchers.append(watch)
    await stage.later(8, "search", "searches.due.dead: handler.rejected for token.revoked")
    stage.seen.watchers.remove(watch)
    stage.note_stop(at[0])


async def too_late(stage: Agents) -> None:
    """Atlas holds a seat only after 25 hours: its voucher is of 17, and the job may take 24."""
    await stage.job()
    await stage.later(8, "search")
    await stage.later(17, "hold", "holds.due.dead: voucher.expired")


async def nothing_left(stage: Agents) -> None:
    """Look whether anything was forgotten."""
    await stage.nothing_waits()


def _searched(user: str, answers: int = 1) -> tuple[str, ...]:
    alone, acts = f"{user} for", f"{user} by atlas; for"
    return (
        "desk: 202",
        f"desk: {alone} desk; may {MAY}; 300 s",
        f"search: {acts} atlas; may flights:hold flights:search mail:send; 300 s",
        *[f"flights: {acts} flights; may flights:search; 300 s"] * answers,
    )


ACTS = "uma by atlas; for"
WORKED = (
    *_searched("uma"),
    "search: handled",
    f"hold: {ACTS} atlas; may flights:hold mail:send; 300 s",
    f"flights: {ACTS} flights; may flights:hold; 300 s",
    "hold: handled",
    f"report: {ACTS} atlas; may mail:send; 300 s",
    f"mailbox: {ACTS} mailbox; may mail:send; 300 s",
    "report: handled",
)

SCENES = (
    Scene("Twenty hours", twenty_hours, WORKED),
    Scene(
        "Booked by oneself",
        by_oneself,
        (
            f"desk: uma for desk; may {MAY}; 300 s",
            "flights: uma for flights; may flights:book; 300 s",
            "desk: 201",
            "flights: 403 caller.actor",
        ),
    ),
    Scene(
        "A voucher, elsewhere",
        a_voucher_elsewhere,
        (
            "flights: 401 token.type",
            "report: refused proof.missing",
            "reports.due.dead: proof.missing",
            *WORKED,
        ),
    ),
    Scene(
        "Withdrawn while it waits",
        withdrawn_while_it_waits,
        (
            *_searched("vic"),
            "search: handled",
            "hold: refused token.revoked",
            "holds.due.dead: token.revoked",
            "stopped within 1 s",
            "issuer: asked 0 times",
        ),
    ),
    Scene(
        "Withdrawn at work",
        withdrawn_at_work,
        (
            *_searched("wim"),
            "search: refused handler.rejected",
            "searches.due.dead: handler.rejected for token.revoked",
            "stopped within 1 s",
        ),
    ),
    Scene(
        "Past its time",
        too_late,
        (
            *_searched("uma"),
            "search: handled",
            "hold: refused voucher.expired",
            "holds.due.dead: voucher.expired",
        ),
    ),
    Scene("Afterwards", nothing_left, tuple(f"{queue}: 0 waiting" for queue in QUEUES)),
)

AGENTS = Chain(
    f"Starting the agent's world: desk, atlas, flights, mailbox.\n{LEGEND}", set_up, SCENES
)
