"""What docs/testing.md shows runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from busauth import (
    Bus,
    BusOptions,
    Caller,
    Grace,
    Guard,
    RetryOptions,
    StaticKeys,
    Verifier,
)
from busauth._amqp.topology import RetryLadder
from busauth.testing import Broker, Issuer, Kit, ManualClock
from busauth.tokens import Session, Sessions

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "testing.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Order(BaseModel):
    id: int


class NobodyRevoked:
    """A store that knows of nobody."""

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller is None or now < 0


class NoSessions:
    """A store that is not to be asked."""

    async def find(self, session_id: str) -> Session | None:
        raise AssertionError(session_id)


def test_an_issuer_to_try_things_with_serves_a_guard() -> None:
    """The example is a whole program, and its caller is who the token was made for."""
    section = (DOCS / "testing.md").read_text("utf-8").split("## An issuer to try things with")[1]
    program = section.split("```python")[1].split("```")[0]
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    assert ran.stdout.startswith("ann of http://127.0.0.1:")


async def test_a_bus_without_a_verifier_is_tested() -> None:
    """A guard of the kit's takes the place of one whose callers have sessions."""
    (block,) = [each for each in BLOCKS if "whose_callers_have_sessions" in each]
    sessions = Sessions(NoSessions(), issuer="sessions", audience="shop")
    bus = Bus("amqp://nowhere/", guard=Guard(sessions), service="orders")

    @bus.consumer("orders.placed", scopes={"orders:write"})
    async def reserve(order: Order) -> None:
        assert order.id == 1

    names: dict[str, Any] = {"Kit": Kit, "Grace": Grace, "Order": Order, "bus": bus}
    exec(block, names)  # the document's own code
    clock = ManualClock()
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        await names["test_a_bus_whose_callers_have_sessions"](kit)


@pytest.mark.parametrize(
    "name", ["an_order_reserves_its_stock", "what_a_handler_does", "who_was_let_go"]
)
async def test_a_service_that_publishes_is_tested(name: str) -> None:
    """What the page shows of publications, bare handlers and revocation passes."""
    (block,) = [each for each in BLOCKS if f"test_{name}" in each]
    verifier = Verifier(StaticKeys(Issuer().jwks()), issuer="https://idp.example", audience="shop")
    guard = Guard(verifier, revocations=NobodyRevoked())
    bus = Bus("amqp://nowhere/", guard=guard, service="orders")

    @bus.consumer("orders.placed", scopes={"orders:write"})
    async def reserve(order: Order, caller: Caller) -> None:
        assert caller.subject == "alice"
        await bus.publish("stock.reserve", order)

    names: dict[str, Any] = {"Kit": Kit, "Order": Order, "bus": bus, "reserve": reserve}
    exec(block, names)  # the document's own code
    clock = ManualClock()
    async with Broker(clock=clock) as broker, Kit(broker, clock) as kit:
        await names[f"test_{name}"](kit)


def test_every_method_of_the_kit_is_told() -> None:
    """The table names what a kit offers to tests."""
    told = set(re.findall(r"\b(?:kit\.)?(\w+)\(", PAGE))
    offered = {name for name in dir(Kit) if name[0] != "_" and callable(getattr(Kit, name))}
    assert offered - told == {"check_loop", "claim"}  # what the kit's own bus asks


def test_five_retries_have_six_rungs() -> None:
    """As docs/settings.md says it: each retry waits on its own rung or on the one above."""
    ladder = RetryLadder("orders", BusOptions().retry)
    assert len(ladder.names()) == 6
    assert {ladder.rung(4) for _ in range(64)} == {"orders.retry.16000", "orders.retry.32000"}
    assert ladder.rung(5) is None
    capped = RetryLadder("orders", RetryOptions(limit=5, first=1, longest=2))
    assert capped.names() == ("orders.retry.1000", "orders.retry.2000")
