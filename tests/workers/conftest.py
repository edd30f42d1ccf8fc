"""The shop without a broker: a bus that remembers, and a guard that knows its issuer's keys.

And what the other chains are played with, in this process.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from busauth import Caller, Guard, PublishError, StaticKeys, Verifier
from busauth.testing import Issuer
from workers.demo.play import Chain
from workers.demo.timeline import Timeline
from workers.hop import Hop
from workers.issuer import token_for

PAGE = (Path(__file__).parents[2] / "docs" / "chains.md").read_text("utf-8")
"""Where a reader sees what each hop holds."""


@dataclass
class StubBus:
    """Stands in for a worker's bus."""

    published: list[tuple[str, BaseModel, str | None]] = field(default_factory=list)
    broken: bool = False

    async def publish(self, routing_key: str, body: BaseModel, *, token: str | None = None) -> None:
        if self.broken:
            raise PublishError("nobody is there")
        self.published.append((routing_key, body, token))


@dataclass(frozen=True)
class Door:
    """An issuer, and a guard that trusts it."""

    issuer: Issuer
    guard: Guard

    def bearer(self, name: str = "alice", **changes: Any) -> dict[str, str]:
        """Return the header with which this person asks."""
        return {"authorization": f"Bearer {token_for(self.issuer, name, **changes)}"}

    async def caller(self, name: str = "alice", **changes: Any) -> Caller:
        """Return this person, verified."""
        return await self.guard.authenticate(self.bearer(name, **changes)["authorization"])


@pytest.fixture
def bus() -> StubBus:
    return StubBus()


@pytest.fixture
def door(session_issuer: Issuer) -> Door:
    keys = StaticKeys(session_issuer.jwks())
    return Door(session_issuer, Guard(Verifier(keys, issuer=session_issuer.url, audience="shop")))


async def played(chain: Chain[Any], url: str) -> list[Hop]:
    """Play a chain, each scene of which has to be equal; return what was held, hop by hop."""
    prefix = f"test-{uuid4().hex[:8]}."
    timeline = Timeline(prefix)
    rows = await chain.play(url, timeline, prefix)
    assert [row for row in rows if not row.equal] == []
    return timeline.hops
