"""What the tests of proofs share: a message, its publisher, and a consumer that trusts it."""

from dataclasses import fields
from typing import Any

import pytest

from busauth import StaticKeys
from busauth._tokens.verifier import fingerprint
from busauth.errors import Refused
from busauth.messages import (
    Original,
    OutgoingMessage,
    Proofs,
    ProofSigner,
    Properties,
    Proven,
    Route,
    TrustedPublisher,
)
from busauth.messages import SeenMessage as Seen
from tests.unit.support import NOW, Signer

TOKEN = "the-token-of-alice"
QUEUE = "orders.placed"
ROUTES = (Route("", QUEUE), Route("shop", "orders.#"))
ALGORITHMS = ("ES256", "EdDSA", "HS256")
MAX_AGE, SKEW = 3600.0, 30.0


def binding(**changes: Any) -> OutgoingMessage:
    """Return a message about to be published."""
    usual: dict[str, Any] = {
        "token": TOKEN,
        "body": b'{"order": 7}',
        "message_id": "m-1",
        "properties": Properties(type="order", content_type="application/json", reply_to="back"),
        "headers": {"tenant": "shop-1", "other": "anything"},
        "exchange": "shop",
        "routing_key": "orders.placed",
        "issuer": "https://idp.test",
        "subject": "alice",
    }
    return OutgoingMessage(**usual | changes)


def seen(message: OutgoingMessage, **changes: Any) -> Seen:
    """Return what arrives of a published message."""
    arrived = {each.name: getattr(message, each.name) for each in fields(Seen)}
    return Seen(**arrived | changes)


def signer(name: str = "orders", key: str = "main", algorithm: str = "HS256") -> ProofSigner:
    """Return a publisher's signer; keys of one name are one key."""
    private = Signer(algorithm, key).private
    return ProofSigner(name, private, algorithm=algorithm, key_id=key, headers=["tenant"])


def publisher(
    name: str = "orders", key: str = "main", algorithm: str = "HS256", **settings: Any
) -> TrustedPublisher:
    """Return a publisher as its consumers know it."""
    keys = settings.pop("keys", None) or StaticKeys([Signer(algorithm, key).jwk()])
    return TrustedPublisher(name, keys, algorithms=(algorithm,), **settings)


def proofs(*trusted: TrustedPublisher, **settings: Any) -> Proofs:
    """Return what a consumer asks."""
    usual: dict[str, Any] = {"max_age": MAX_AGE, "skew": SKEW}
    return Proofs(trusted or (publisher(),), **usual | settings)


def claims(message: OutgoingMessage | None = None, **changes: Any) -> dict[str, Any]:
    """Return a proof's claims; `...` takes one away."""
    found = {"iss": "orders", "iat": NOW, **signer()._claims(message or binding())} | changes
    return {name: value for name, value in found.items() if value is not ...}


def written(
    payload: object, key: Signer | None = None, /, typ: Any = "busauth-proof+jwt", **header: Any
) -> str:
    """Return whatever somebody might sign."""
    return (key or Signer("HS256")).sign(payload, typ=typ, **header)


def checked(
    proof: object, arrived: Seen | None = None, asked: Proofs | None = None, **changes: Any
) -> Proven:
    """Return what is proven; it must be something."""
    routes, now = changes.pop("routes", ROUTES), changes.pop("now", NOW)
    proven = (asked or proofs()).check(proof, arrived or seen(binding()), routes, now)
    assert proven is not None
    return proven


def refusal(*arguments: Any, **changes: Any) -> Refused:
    """Return the refusal that a proof meets."""
    with pytest.raises(Refused) as caught:
        checked(*arguments, **changes)
    return caught.value


RELAYING = (publisher("orders"), publisher("desk", "desk", relays=True))
LATER = NOW + 86_400


def released(message: Any = None, *, at: float = LATER, **original: Any) -> str:
    """Return the proof of a release by the desk, with a fresh token."""
    first = original.pop("proof", None) or signer().sign(binding(), NOW)
    recorded = original.pop("token_sha256", fingerprint(TOKEN))
    message = message or binding(token="a-fresh-token")
    return signer("desk", "desk").sign(message, at, original=Original(first, recorded))


def arrived(**changes: Any) -> Seen:
    """Return what arrives of a release."""
    return seen(binding(token="a-fresh-token"), **changes)
