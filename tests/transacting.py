"""Services of one trust domain, among which transaction tokens travel."""

from typing import Any

from busauth import Bus, BusOptions, Guard, StaticKeys, Verifier
from busauth.expiry import Policies
from busauth.messages import MessageSecurity
from busauth.tokens import TRANSACTION
from tests.parties import Party, Scene, security
from tests.support import LADDERS

EDGE, ORDERS = Party("edge"), Party("orders")


def bus_of(
    scene: Scene, messages: MessageSecurity, *, on_expired: Policies | None = None, **more: Any
) -> Bus:
    """Return a bus of a service in the issuer's trust domain."""
    issuer = scene.issuer
    verifier = Verifier(
        StaticKeys(issuer.jwks()),
        issuer=issuer.url,
        audience=issuer.trust_domain or issuer.audience,
        profile=TRANSACTION,
        leeway=0,
    )
    guard = Guard(
        verifier,
        clock=scene.clock,
        auditor=scene.trail,
        messages=messages,
        on_expired=on_expired,
        **more,
    )
    options = BusOptions(retry=LADDERS[1])
    return Bus(scene.broker.url, guard=guard, service="shop", options=options)


def proving(party: Party, **more: Any) -> MessageSecurity:
    return security(EDGE.publisher(), ORDERS.publisher(), signer=party.signer, **more)
