"""Who acts for a caller: what a sender, and a service with less, can try with the chain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Caller
from busauth.delegation import NO_ACTOR, Actors
from tests.parties import Scene
from tests.security.stage import Message, Stage, attack, stranger
from tests.security.test_operators import Office

AGENT = {"sub": "agent-x"}


@dataclass(frozen=True)
class Attempt:
    """A token whose chain of actors is not what the consumer asks for.

    Attributes:
        made: makes the token.
        code: what it is refused with.
        actors: what the consumer asks for.
    """

    made: Callable[[Stage], str]
    code: str
    actors: Any = "agent-x"


def unsigned(stage: Stage) -> str:
    """Return somebody's own token with another payload: a chain that its issuer never signed."""
    head, _, signature = stage.token(act={"sub": "agent-y"}).split(".")
    _, payload, _ = stage.token(act=AGENT).split(".")
    return f"{head}.{payload}.{signature}"


def chain(*names: str) -> dict[str, Any]:
    """Return a chain, outermost first."""
    outer, *inner = names
    return {"sub": outer, **({"act": chain(*inner)} if inner else {})}


ATTEMPTS = {
    "actor-forged": Attempt(unsigned, "token.signature"),
    "actor-forged-elsewhere": Attempt(lambda _: stranger().token("ann", act=AGENT), "token.issuer"),
    "actor-other-issuer": Attempt(
        lambda s: s.token(act={**AGENT, "iss": "https://other.example"}), "caller.actor"
    ),
    "actor-issuer-unreadable": Attempt(
        lambda s: s.token(act={**AGENT, "iss": ["https://other.example"]}), "token.claim_invalid"
    ),
    "actor-cut": Attempt(lambda s: s.token(), "caller.actor"),
    "actor-cut-inside": Attempt(
        lambda s: s.token(act={**AGENT, "act": {"iss": "https://other.example"}}),
        "token.claim_invalid",
    ),
    "actor-unwanted": Attempt(lambda s: s.token(act=AGENT), "caller.actor", NO_ACTOR),
    "actor-too-deep": Attempt(
        lambda s: s.token(act=chain("agent-x", "b", "c")),
        "caller.actor",
        Actors("agent-x", at_most=2),
    ),
    "actor-endless": Attempt(
        lambda s: s.token(act=chain("agent-x", *"abcdefgh")), "token.claim_invalid"
    ),
    "actor-inner": Attempt(lambda s: s.token(act={"sub": "agent-y", "act": AGENT}), "caller.actor"),
}


def consumed(stage: Stage, actors: Any) -> list[Caller]:
    """Have a second queue consumed, by whom these may act for; return as whom it is handled."""
    callers: list[Caller] = []
    stage.queue = f"{stage.queue}.acted"

    @stage.bus.consumer(stage.queue, scopes={"orders:write"}, actors=actors)
    async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
        callers.append(caller)
        stage.handled.append((caller.subject, message.body))

    return callers


@pytest.mark.parametrize("name", [pytest.param(n, marks=attack(n)) for n in ATTEMPTS])
async def test_a_chain_of_actors_that_is_not_welcome(name: str, scene: Scene) -> None:
    """Only the outermost actor counts, by the word of the token's issuer; all else is refused."""
    attempt = ATTEMPTS[name]
    stage = Stage.set(scene)
    callers = consumed(stage, attempt.actors)
    await stage.bus.declare()
    honest = stage.token() if attempt.actors is NO_ACTOR else stage.token(act=AGENT)
    await stage.publish(b"one", token=honest)
    message = await stage.take()
    await stage.publish(b"other", token=honest)
    untampered = await stage.take()
    tampered = Message(b"one", {**message.headers}, message.properties)
    tampered = tampered.having(authorization=f"Bearer {attempt.made(stage)}")
    if attempt.code == "caller.actor":  # the honest publisher was made to send it: it is proven
        await stage.publish(b"one", token=attempt.made(stage))
        tampered = await stage.take()
    await stage.refuses(tampered, attempt.code, untampered=untampered)
    assert [each.actor is None for each in callers] == [attempt.actors is NO_ACTOR]


@attack("redrive-actor")
@pytest.mark.parametrize(
    "actors",
    [Actors("olga", issuer="https://ops.example"), Actors("olga"), NO_ACTOR],
    ids=["wanted", "of-the-same-name", "one-too-many"],
)
async def test_an_operator_is_an_actor(actors: Actors, scene: Scene) -> None:
    """As the one that is wanted an operator does not count, and as one too many they do."""
    office = Office.open(scene, actors=actors)
    token = None if actors is NO_ACTOR else office.stage.token(act={"sub": "olga"})
    if actors.issuer is not None:
        token = office.stage.token()
    (letter,) = await office.letters(b"one", token=token)
    await office.goes_home(await office.state(letter), "caller.actor")
