"""The shop without a broker: a bus that remembers, and a guard that knows its issuer's keys."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from busauth import Caller, Guard, PublishError, StaticKeys, Verifier
from busauth.testing import Issuer
from workers.issuer import token_for


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
