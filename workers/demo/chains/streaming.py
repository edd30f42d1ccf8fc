"""The scenes of streaming: three devices, one transaction each, and nobody who asks about it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.applications import Starlette

from busauth import Bus
from busauth.delegation import SelfSigned, TransactionTokens
from busauth.testing import Issuer
from busauth.tokens import ClientSecretBasic, Session
from workers.demo.chains.town import Town, founded, open_for
from workers.demo.play import Chain, Scene
from workers.demo.timeline import Timeline
from workers.hop import LEGEND
from workers.place import Place
from workers.streaming.billing import billing
from workers.streaming.domain import DOMAIN
from workers.streaming.edge import edge
from workers.streaming.playback import playback
from workers.streaming.plays import PLAYS_BEGUN, PLAYS_BILLED, PLAYS_SEEN
from workers.streaming.recommendations import recommendations

QUEUES = (PLAYS_BEGUN, PLAYS_SEEN, PLAYS_BILLED)
VERA: Mapping[str, str] = {"scope": "play", "plan": "family"}


@dataclass(frozen=True, slots=True)
class Table:
    """The sessions of televisions, by their ids; in earnest a Redis, `RedisSessions`."""

    sessions: Mapping[str, Session]

    async def find(self, session_id: str) -> Session | None:
        """Return a session, None for one that never was."""
        return self.sessions.get(session_id)


@dataclass(frozen=True, slots=True)
class Streaming(Town):
    """The town, the door, and those behind it, who are not there all the time."""

    door: Starlette

    async def play(self, credential: str) -> None:
        """Press play, with whatever the device has."""
        await self.ask(self.door, "/plays", token=credential, body={"title": "Moon"})

    def inside(self) -> tuple[Bus, ...]:
        """Return those behind the door, anew."""
        return playback(self.place), recommendations(self.place), billing(self.place)


@asynccontextmanager
async def set_up(amqp_url: str, timeline: Timeline, prefix: str) -> AsyncIterator[Streaming]:
    """Start the door, and get everybody behind it ready."""
    async with founded(amqp_url, timeline, prefix, services=("edge",), queues=QUEUES) as town:
        place = town.place
        television = {"sub": "vera", "device": "television", **VERA}
        table = Table({"s_1": Session(claims=television, ends_at=town.clock.now() + 7200)})
        door = edge(place, table, _service(place, town.idp.issuer))
        stage = Streaming(place, town.idp, town.clock, town.broker, town.seen, door)
        for bus in stage.inside():
            await bus.declare()
        # So that the issuer's keys are at hand, and what it is asked from now on is about plays.
        await place.guard("edge").authenticate(f"Bearer {stage.token('nobody', 'edge')}")
        async with open_for(town, door):
            yield stage


def _service(place: Place, issuer: Issuer) -> TransactionTokens:
    """Return who gives transaction tokens; it knows the door, which signs for its sessions."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    issuer.trust_domain = DOMAIN
    issuer.employ("edge", {**jwk, "alg": "ES256"}, scopes={"play"})
    return TransactionTokens(
        place.issuer,
        trust_domain=DOMAIN,
        client=ClientSecretBasic("edge", place.secrets["edge"]),
        endpoint=f"{place.issuer}/token",
        keys=place.keys,
        starts=SelfSigned("edge", key, algorithm="ES256"),
        clock=place.clock,
    )


async def telephone(stage: Streaming) -> None:
    """Vera's telephone has a JWT, and presses play."""
    await _played(stage, stage.token("vera", "edge", device="telephone", **VERA))


async def old_box(stage: Streaming) -> None:
    """An old box has an opaque token, about which the door asks; nobody behind it does."""
    token = stage.idp.issuer.reference("vera", aud="edge", device="box", **VERA)
    await _played(stage, token)


async def television(stage: Streaming) -> None:
    """A television has the id of a session, of which the issuer knows nothing; the door signs."""
    await _played(stage, "s_1")


async def issuer_down(stage: Streaming) -> None:
    """The issuer is down as soon as the door has let Vera in; behind it nobody minds."""
    await stage.play("s_1")
    stage.idp.down = True
    stage.timeline.note("the issuer is down")
    try:
        await _go_on(stage, *_inside("television"))
    finally:
        stage.idp.down = False


async def past_the_door(stage: Streaming) -> None:
    """Somebody puts the telephone's JWT into the queue, as it is, and as a transaction."""
    token = stage.token("vera", "edge", device="telephone", **VERA)
    await stage.broker.intrude(PLAYS_BEGUN, b"{}", token)
    await stage.broker.intrude(PLAYS_BEGUN, b"{}", token, as_transaction=True)
    await _go_on(stage, "plays.begun.rejected: header.missing", "plays.begun.rejected: token.type")


async def out_of_the_door(stage: Streaming) -> None:
    """Somebody behind the door comes back with the transaction, as if it were theirs."""
    await stage.play(stage.idp.issuer.transaction_token("vera", scope="play"))


async def too_late(stage: Streaming) -> None:
    """A play waits for five minutes: transactions are not made for waiting."""
    await stage.play("s_1")
    await stage.clock.advance(minutes=5)
    await _go_on(stage, "plays.begun.dead: token.expired")


async def nothing_left(stage: Streaming) -> None:
    """Look whether anything was forgotten."""
    await stage.nothing_waits()


async def _played(stage: Streaming, credential: str) -> None:
    before = len(stage.idp.requests)
    await stage.play(credential)
    at_the_door = len(stage.idp.requests)
    await _go_on(stage, "billing: handled", "recommendations: handled", "playback: handled")
    stage.record.add(f"issuer: asked {at_the_door - before} times at the door")
    stage.record.add(f"issuer: asked {len(stage.idp.requests) - at_the_door} times behind it")


async def _go_on(stage: Streaming, *until: str) -> None:
    """Have those behind the door work, until these facts were seen."""
    playing, *others = stage.inside()
    async with playing, others[0], others[1]:
        await stage.record.until(*until)


HELD = "vera in a transaction; for streaming; may play; 120 s"


def _inside(device: str) -> tuple[str, ...]:
    return (
        f"playback: {HELD}",
        "playback: 4K for Moon",
        "playback: handled",
        f"recommendations: {HELD}",
        f"recommendations: Moon for {device}",
        "recommendations: handled",
        f"billing: {HELD}",
        "billing: on the family plan",
        "billing: handled",
    )


def _door(seconds: str = "300 s") -> tuple[str, ...]:
    return ("edge: 202", f"edge: vera for edge; may play; {seconds}")


def _asked(times: int) -> tuple[str, ...]:
    return (f"issuer: asked {times} times at the door", "issuer: asked 0 times behind it")


A_PLAY = (*_door(), *_inside("telephone"), *_asked(1))

SCENES = (
    Scene("A telephone", telephone, A_PLAY),
    Scene("An old box", old_box, (*_door(), *_inside("box"), *_asked(2))),
    Scene("A television", television, (*_door("2 h"), *_inside("television"), *_asked(1))),
    Scene("The issuer down", issuer_down, (*_door("2 h"), *_inside("television"))),
    Scene(
        "Past the door",
        past_the_door,
        (
            "playback: refused header.missing",
            "plays.begun.rejected: header.missing",
            "playback: refused token.type",
            "plays.begun.rejected: token.type",
        ),
    ),
    Scene("Out of the door", out_of_the_door, ("edge: 401 token.type",)),
    Scene(
        "Too late",
        too_late,
        (*_door("2 h"), "playback: refused token.expired", "plays.begun.dead: token.expired"),
    ),
    Scene("Afterwards", nothing_left, tuple(f"{queue}: 0 waiting" for queue in QUEUES)),
)

STREAMING = Chain(
    f"Starting the stream: edge, playback, recommendations, billing.\n{LEGEND}", set_up, SCENES
)
