"""Services that sign for what they publish, and that ask each other for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from busauth import Bus, BusOptions, GuardOptions, RetryOptions, StaticKeys
from busauth._tokens.keys.signing import SigningKey
from busauth.expiry import Policies
from busauth.messages import (
    InProcessReplay,
    MessageSecurity,
    ProofDemand,
    Proofs,
    ProofSigner,
    TrustedPublisher,
)
from busauth.testing import Issuer, ManualClock
from tests.support import LADDERS, Broker, Trail, guard_for

SEAL = {"2026": bytes(range(32))}
DAY = 24 * 3600.0


@dataclass
class Party:
    """A service with a key of its own.

    Attributes:
        name: as its consumers know it.
        headers: what its proofs bind.
    """

    name: str
    headers: tuple[str, ...] = ()
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    @property
    def signer(self) -> ProofSigner:
        return ProofSigner(self.name, self.key, algorithm="ES256", headers=self.headers)

    @property
    def jwk(self) -> dict[str, Any]:
        """Return its public key."""
        return SigningKey(self.key, algorithm="ES256").verification_jwk()

    def publisher(self, *, relays: bool = False, **said: Any) -> TrustedPublisher:
        """Return what others need to believe it."""
        return TrustedPublisher(self.name, StaticKeys(self.jwk), relays=relays, **said)


def security(
    *trusted: TrustedPublisher,
    signer: ProofSigner | None = None,
    demand: ProofDemand = ProofDemand.REQUIRED,
    max_age: float = DAY,
    **settings: Any,
) -> MessageSecurity:
    """Return messages under proof and seal, and under a replay memory where they can be."""
    proofs = Proofs(trusted, demand=demand, max_age=max_age) if trusted else None
    replay = None if proofs is None else InProcessReplay(keep_for=proofs.remember_for)
    whole: dict[str, Any] = {"proofs": proofs, "signer": signer, "seal": SEAL, "replay": replay}
    return MessageSecurity(**{**whole, **settings})


@dataclass
class Scene:
    """A broker, an issuer, a clock, and who tells what happened."""

    broker: Broker
    issuer: Issuer
    clock: ManualClock
    trail: Trail

    def bus(
        self,
        messages: MessageSecurity,
        *,
        on_expired: Policies | None = None,
        retry: RetryOptions = LADDERS[1],
        options: GuardOptions | None = None,
        **more: Any,
    ) -> Bus:
        guard = guard_for(
            self.issuer,
            self.trail,
            clock=self.clock,
            on_expired=on_expired,
            messages=messages,
            options=options,
            **more,
        )
        return Bus(self.broker.url, guard=guard, service="test", options=BusOptions(retry=retry))

    @asynccontextmanager
    async def publishing(self, party: Party, **settings: Any) -> AsyncIterator[Bus]:
        """Let a service publish and do nothing else."""
        async with self.bus(security(signer=party.signer, **settings)) as bus:
            yield bus

    def codes(self, kind: str = "refused") -> list[str | None]:
        """Return the codes of what was refused so far."""
        return [event.code for event in self.trail.events if event.kind == kind]
