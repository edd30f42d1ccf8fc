"""The document's examples run, and what it says is what the code does."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from busauth import Bus, Caller
from busauth._tokens.asking.sessions import SESSION_OPTIONS
from busauth._tokens.verifier import fingerprint
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Kit, ManualClock
from busauth.tokens import Authenticators, Introspection, IntrospectionOptions, Sessions

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "opaque-tokens.md").read_text()
ROOM = ROOT / "busauth" / "_tokens" / "asking"
MODULES = ("confirmed", "endpoint", "introspection", "sessions")
CODE = re.compile(r"\"((?:token|session)\.[a-z_]+)\"")


def ran() -> dict[str, Any]:
    """Run the document's blocks, one after the other."""
    names: dict[str, Any] = {"__name__": "opaque_tokens"}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)  # the document's own code
    return names


def test_the_examples_run() -> None:
    """What the document builds can be built, and is put together in its order."""
    names = ran()
    assert isinstance(names["introspection"], Introspection)
    assert isinstance(names["sessions"], Sessions)
    assert isinstance(names["trusted"], Authenticators)
    assert names["sessions"].takes("s_1")


KEYS = {f"k_{name:_<40}": name for name in ("ann", "late")}


@pytest.fixture
async def own() -> AsyncIterator[tuple[Kit, Bus]]:
    """A bus whose callers have API keys: one that counts, and one that ended a minute ago."""

    async def find(digest: str) -> dict[str, Any] | None:
        names = {fingerprint(key): name for key, name in KEYS.items()}
        if (name := names.get(digest)) is None:
            return None
        ends_at = time.time() + (-60 if name == "late" else 60)
        return {"owner": name, "scopes": ["read"], "ends_at": ends_at, "made_at": ends_at - 3600}

    clock = ManualClock(time.time())
    async with EmbeddedBroker(clock=clock) as broker, Kit(broker, clock) as kit:
        guard = ran()["guarding"](find)
        yield kit, kit.bus(guard.replica(*guard.verifiers, clock=clock, auditor=kit.events.append))


async def test_an_authenticator_of_ones_own(own: tuple[Kit, Bus]) -> None:
    """Its callers are handled, late ones as policies say; what it does not know is rejected."""
    kit, bus = own
    handled = list[str]()

    @bus.consumer("reports", scopes={"read"})
    async def report(caller: Caller) -> None:
        handled.append(caller.subject)
        await bus.publish("reports.read", b"")

    @bus.consumer("reports.read")
    async def read(caller: Caller) -> None:
        handled.append(f"{caller.subject} again")

    async with bus:
        for token in (*KEYS, f"k_{'':_<40}", "k_short", "other"):
            await kit.publish("reports", b"", token=token)
        await bus.idle()
    assert sorted(handled) == ["ann", "ann again", "late", "late again"]
    codes = [letter.code for letter in await kit.dead_letters("reports")]
    assert sorted(filter(None, codes)) == ["token.characters", "token.characters", "token.inactive"]


def test_every_code_is_documented() -> None:
    """Each code that these modules refuse with stands in the list of refusals."""
    told = (ROOT / "docs" / "refusals.md").read_text()
    used = {code for name in MODULES for code in CODE.findall((ROOM / f"{name}.py").read_text())}
    assert {"token.inactive", "token.unanswered", "token.mismatch", "session.unknown"} <= used
    for code in used:
        assert f"| `{code}` |" in told


def test_the_bounds_are_as_they_are_told() -> None:
    """Defaults in the document are the defaults in the code."""
    options = IntrospectionOptions()
    for name in ("fresh_for", "refused_for"):
        assert f"| `{name}` | {getattr(options, name):g} s |" in TEXT
    for name in ("remembered", "in_flight", "requests"):
        assert f"| `{name}` | {getattr(options, name):,} |" in TEXT
    assert f"| {options.failures}, {options.open_for:g} s |" in TEXT
    assert SESSION_OPTIONS.fresh_for == 1.0
