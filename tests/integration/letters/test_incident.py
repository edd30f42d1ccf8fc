"""The hour after an incident: thousands of letters, whose they are, why, and how they go again."""

import asyncio
import json
import random
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

from busauth import Bus, BusOptions, Caller, Grace, Guard, RetryOptions, StaticKeys, Verifier
from busauth._amqp.judging.judge import FRAME
from busauth._amqp.planning.planner import Planner, plan
from busauth._amqp.resending.authorities import Errand, KeptToken
from busauth._amqp.resending.runs import Run, runs_of
from busauth.integrations.desk import statements
from busauth.letters import Desk, Letters, Operators, StatementSigner, TrustedDesk, history, look
from busauth.testing import Issuer
from tests.desk import LATE, ORDERS, WEB
from tests.desk import Desk as Files
from tests.integration.test_served_edges import served
from tests.parties import Party, Scene, security
from tests.support import guard_for
from tests.unit.encrypting import private_jwk

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.processes, pytest.mark.reference]

SIZES = [(60, (1, 1, 1)), pytest.param(200, (4, 4, 2), marks=pytest.mark.thorough)]
"""Callers, of whom each has 25 letters, and how often each run is killed."""

APP = Party("app")
LETTERS = Letters(keep_token=private_jwk("p256"))
SIGNER = StatementSigner("ops-desk", ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")
OPERATORS = Operators(
    desks=[TrustedDesk(name="ops-desk", keys=StaticKeys(SIGNER.verification_jwk()))]
)
_COMMAND = "from busauth.cli import main; main()"


@pytest.fixture
def url(rabbitmq_url: str) -> str:
    return rabbitmq_url


@dataclass
class Incident:
    """A service with a mistake in its handler and one in its settings, and its operator's desk.

    Attributes:
        scene, files: its world, and the files of who works on it.
        callers: how many have letters.
        is_cured: whether both mistakes are.
        handled: how often each message was handled, by its id.
        acting: who acted for whom, where somebody did.
    """

    scene: Scene
    files: Files
    callers: int
    is_cured: bool = False
    handled: Counter[str] = field(default_factory=Counter)
    acting: set[str] = field(default_factory=set)

    @property
    def queue(self) -> str:
        return self.files.queue

    @property
    def failed(self) -> int:
        """How many messages fail; as many expire."""
        return 10 * self.callers

    @property
    def misdirected(self) -> int:
        """How many were for somebody else."""
        return 5 * self.callers

    def bus(self, **said: Any) -> Bus:
        issuer, scene = self.scene.issuer, self.scene
        audience = (issuer.audience, "depot") if self.is_cured else issuer.audience
        verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience=audience)
        trusted = WEB.publisher(), APP.publisher(), ORDERS.publisher(relays=True)
        guard = Guard(
            verifier,
            clock=scene.clock,
            auditor=scene.trail,
            messages=security(*trusted, signer=ORDERS.signer),
            letters=LETTERS,
        )
        options = BusOptions(retry=RetryOptions(limit=0), prefetch=500)
        bus = Bus(scene.broker.url, guard=guard, service="orders", options=options)

        @bus.consumer(self.queue, on_redrive=OPERATORS, **said)
        async def place(message: aio_pika.abc.AbstractIncomingMessage, caller: Caller) -> None:
            if not self.is_cured:
                raise LookupError("no such warehouse")
            self.handled[str(message.message_id)] += 1
            self.acting |= {actor.subject for actor in caller.actors}

        return bus

    async def publish(self, kind: str, many: int, **claims: Any) -> None:
        """Publish messages of all callers, half of them by either publisher."""
        tokens = [
            self.scene.issuer.token(f"caller-{each}", **claims) for each in range(self.callers)
        ]
        at_once = self.callers // 2
        for party in (WEB, APP):
            async with self.scene.publishing(party) as publishing:
                for begun in range(0, many // 2, at_once):
                    await asyncio.gather(
                        *(
                            publishing.publish(
                                self.queue,
                                aio_pika.Message(b"{}", message_id=f"{kind}-{party.name}-{each}"),
                                token=tokens[each % self.callers],
                            )
                            for each in range(begun, begun + at_once)
                        )
                    )

    async def happens(self) -> None:
        """Have the handler fail, messages for somebody else come, and tokens expire."""
        await self.bus().declare()
        await self.publish("failed", self.failed)
        await self.publish("misdirected", self.misdirected, aud="depot")
        await self.refuses(self.failed + self.misdirected)
        await self.publish("expired", self.failed)
        await self.scene.clock.advance(LATE)
        await self.refuses(self.failed + self.misdirected + self.failed)

    async def refuses(self, so_far: int) -> None:
        async with self.bus(), asyncio.timeout(90):
            await self.scene.trail.until("refused", count=so_far, seconds=90)

    async def command(self, *words: str, kills: int = 0, stdin: bytes = b"") -> dict[str, Any]:
        """Run `busauth letters` in a process of its own; kill and resume it so often before."""
        # it has a clock of its own, and signs by it
        await self.scene.clock.advance(max(0.0, time.time() - self.scene.clock.now()))
        resume: tuple[str, ...] = ()
        for _ in range(kills):
            await self._killed(*words, *resume)
            run = await self.last_run()
            assert not run.is_over, "it has ended before it was killed: too few letters"
            resume = ("--resume", run.first.run)
        process = await self._start(*words, *resume, stdin=PIPE)
        out, err = await process.communicate(stdin)
        assert process.returncode == 0, err.decode()
        found: dict[str, Any] = json.loads(out)
        return found

    async def _killed(self, *words: str) -> None:
        process = await self._start(*words, stdin=DEVNULL)
        assert process.stderr is not None
        told = b""
        while b"\nrun " not in b"\n" + told:
            line = await process.stderr.readline()
            assert line, told.decode()
            told += line
        await asyncio.sleep(random.uniform(0, 0.3))
        process.kill()
        await process.communicate()

    async def _start(self, *words: str, stdin: int) -> asyncio.subprocess.Process:
        name, *given = words
        place = ("--settings", self.files.settings, "--json")
        command = (sys.executable, "-c", _COMMAND, "letters", name, self.queue, *place, *given)
        return await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE, stderr=PIPE)

    async def last_run(self) -> Run:
        runs = runs_of(await history(self.scene.broker.url, self.queue))
        return [run for run in runs.values() if run.what == "redrive"][-1]


def trust(files: Files, party: Party) -> None:
    """Have the settings name one publisher more."""
    settings, folder = Path(files.settings), files.folder
    (folder / f"{party.name}.jwk").write_text(json.dumps(party.jwk))
    known = f'{{ name = "web", key_file = "{folder}/web.jwk" }},'
    more = known.replace("web", party.name)
    settings.write_text(settings.read_text().replace(known, f"{known}\n{more}"))


@pytest.fixture
async def incident(scene: Scene, tmp_path: Path, callers: int) -> AsyncIterator[Incident]:
    files = Files(scene, tmp_path, scene.broker.name("orders"))
    files.write()
    trust(files, APP)
    yield Incident(scene, files, callers)
    await scene.broker.clean()


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("callers", "kills"), SIZES)
async def test_the_hour_after(
    incident: Incident, tmp_path: Path, kills: tuple[int, int, int]
) -> None:
    """All is grouped and planned; half goes by three authorities, under kills; none is lost."""
    scene, queue, url = incident.scene, incident.queue, incident.scene.broker.url
    failed, misdirected = incident.failed, incident.misdirected
    await incident.happens()

    groups = await incident.command("groups")
    counted = {each["code"]: each["count"] for each in groups["groups"]}
    assert counted == {
        "handler.failed": failed,
        "token.expired": failed,
        "token.audience": misdirected,
    }
    assert {each["callers"] for each in groups["groups"]} == {incident.callers}

    incident.is_cured = True
    cured = incident.bus(on_expired=Grace(hours=1))
    errand = Errand(guard=cured.guard, queue=queue)
    sources = (f"{queue}.dead", f"{queue}.rejected")
    planner = await Planner.of_authority(errand, KeptToken(), cured.foresee, frame_max=FRAME)
    planned = await plan(url, sources, planner)
    assert planned.counts == {"accepted-late": 2 * failed + misdirected}

    ops = Issuer("https://ops.example", audience="desk", clock=scene.clock)
    hour = scene.clock.now() + 3600
    (tmp_path / "olga").write_text(ops.token("olga", scope="letters:redrive", exp=hour))
    (tmp_path / "seven").write_text(scene.issuer.token("caller-7", exp=hour))
    desk = Desk(guard_for(ops, scene.trail, clock=scene.clock), SIGNER)
    in_flight = 0
    async with served(Starlette(routes=[statements(desk)])) as place, cured:
        operator = ("--operator-token", str(tmp_path / "olga"), "--desk", f"http://{place}")
        of_web = ("redrive", "--publisher", "web", "--rate", str(failed // 4))
        of_expired = (*of_web, "--code", "token.expired")
        of_failed = (*of_web, "--code", "handler.failed", "--authority", "operator", *operator)
        # not of web: copies that were refused at a kill are beside its letters
        of_app = ("redrive", "--publisher", "app", "--subject", "caller-7")
        sevens = (*of_app, "--authority", "fresh", "--token-file")
        of_seven = failed // incident.callers
        for words, killed, sent in (
            (of_expired, kills[0], failed // 2),
            (of_failed, kills[1], failed // 2),
            ((*of_web, "--rejected"), kills[2], misdirected // 2),
            ((*sevens, str(tmp_path / "seven")), 0, of_seven),
        ):
            await incident.command(*words, kills=killed)
            run = await incident.last_run()
            assert (run.is_over, len(run.sent), run.in_flight) == (True, sent, {})
            in_flight += sum(len(step.letters) for step in run.steps if step.kind == "sending")
            in_flight -= sent
        gone = failed + misdirected // 2 + of_seven
        await scene.trail.until("handled", count=gone, seconds=60)
        await scene.broker.settles_at(queue, 0)

    assert set(incident.handled.values()) == {1}
    assert len(incident.handled) == gone
    assert incident.acting == {"olga"}
    twice = [
        each for each in scene.trail.events if each.code in ("replay.copy", "replay.duplicate")
    ]
    assert len(twice) <= in_flight <= sum(kills) * 100
    left = [await look(url, each) for each in sources]
    stayed = {letter.message_id for found in left for letter in found.letters}
    assert len(stayed | incident.handled.keys()) == 2 * failed + misdirected

    receipt = await incident.command("erase", "--subject", "caller-9", "--yes")
    after = [await look(url, each) for each in sources]
    whose = Counter(letter.subject for found in after for letter in found.letters)
    assert (whose["caller-9"], whose["caller-10"] > 0) == (0, True)
    assert sum(receipt["queues"].values()) == sum(
        letter.subject == "caller-9" for found in left for letter in found.letters
    )
