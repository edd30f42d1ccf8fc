"""What all have in common behind the door: a trust domain, and how its transactions are read.

A guard in here takes transaction tokens and nothing else. Whatever a device showed at the door is
refused, should it ever get in.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from busauth import Bus, BusOptions, Caller, Guard, Verifier
from busauth.tokens import TRANSACTION
from workers.place import Place
from workers.shop import RETRY

DOMAIN = "streaming"


class Context(BaseModel):
    """What a transaction says of a play; in every service the same.

    Attributes:
        title, plan: what is played, and on which plan it was asked for.
        device: with what.
    """

    title: str
    plan: str
    device: str


def context(viewer: Caller) -> Context:
    """Return what the viewer's transaction says: its details, and the request that began it."""
    transaction = viewer.transaction
    told: Mapping[str, Any] = {**transaction.tctx, **transaction.rctx} if transaction else {}
    return Context.model_validate(told)


def inner_bus(place: Place, service: str) -> Bus:
    """Return the bus of a service behind the door: the transaction goes on with what it sends."""
    verifier = Verifier(
        place.keys, issuer=place.issuer, audience=DOMAIN, profile=TRANSACTION, leeway=0
    )
    guard = Guard(verifier, clock=place.clock, auditor=partial(place.tell, service))
    options = BusOptions(retry=RETRY)
    return Bus(place.amqp_url, guard=guard, service=service, options=options)
