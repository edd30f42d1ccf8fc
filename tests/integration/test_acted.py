"""Agent X for user Y, on both brokers: in decisions, on letters, and for whoever lists them."""

import asyncio

import pytest
from typer.testing import CliRunner

from busauth import Caller
from busauth.cli import app
from busauth.delegation import Actor, Actors
from busauth.letters import Wanted, look
from busauth.messages import Received, Refusal
from tests.parties import Scene, security


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_a_letter_says_who_acted_for_whom(scene: Scene) -> None:
    """The handler and the events have the chain; a letter has the outermost."""
    queue, seen = scene.broker.name("acted"), list[Caller]()
    bus = scene.bus(security())

    @bus.consumer(queue, actors=Actors({"agent-x"}, at_most=2))
    async def place(caller: Caller) -> None:
        seen.append(caller)

    inner = {"sub": "agent-z", "iss": "https://agents.example"}
    async with bus:
        for outer in ("agent-x", "agent-y"):
            token = scene.issuer.token("ann", act={"sub": outer, "act": inner})
            await scene.broker.publish(queue, token=token)
        await scene.broker.publish(queue, token=scene.issuer.token("ann"))
        (handled,) = await scene.trail.until("handled")
        refused = await scene.trail.until("refused", count=2)
    (caller,) = seen
    assert caller.actor == Actor("agent-x")
    chain = (Actor("agent-x"), Actor("agent-z", "https://agents.example"))
    assert caller.actors == handled.actors == chain
    assert {each.actor for each in refused} == {"agent-y", None}
    assert {each.code for each in refused} == {"caller.actor"}
    dead = f"{queue}.dead"
    acted = await look(scene.broker.url, dead, Wanted(actors=["agent-y"]))
    assert [(each.actor, each.subject) for each in acted.letters] == [("agent-y", "ann")]
    assert acted.letters[0].headers["busauth-actor"] == "agent-y"
    words = ["letters", "list", queue, "--actor", "agent-y", "--url", scene.broker.url]
    listed = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert "agent-y for ann" in listed.stdout
    missed = await look(scene.broker.url, dead, Wanted(actors=["agent-q"]))
    assert missed.missed == ("--actor agent-q: no letter has it; did you mean agent-y?",)


async def test_a_judge_asks_who_acts(scene: Scene) -> None:
    """Who has a message in hand is told the same as a consumer would be."""
    guard = scene.bus(security()).guard
    judge = guard.judge(queue="acted", actors={"agent-x"})
    found: list[str | None] = []
    for outer in ("agent-x", "agent-y"):
        token = scene.issuer.token("ann", act={"sub": outer})
        received = Received(
            body=b"1",
            headers={"authorization": f"Bearer {token}"},
            exchange="",
            routing_key="acted",
            redelivered=False,
        )
        async with judge(received) as one:
            found.append(one.code if isinstance(one, Refusal) else None)
    assert found == [None, "caller.actor"]
