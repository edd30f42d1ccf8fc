"""What a message proof costs to sign and to check, by algorithm, in microseconds.

Whatever is compared runs in short turns within one process, and medians of the turns are told.

    python -m bench.proof [--rounds N]
"""

import json
from dataclasses import fields
from hashlib import sha256
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from bench.turns import Step, show
from busauth import StaticKeys
from busauth._messages.seal import Copy, Seal, Sealed
from busauth._tokens.compact import split
from busauth._tokens.keys.key import keyed, mac_of
from busauth._tokens.keys.signing import SigningKey
from busauth._tokens.verifier import fingerprint
from busauth.messages import (
    OutgoingMessage,
    Proofs,
    ProofSigner,
    Properties,
    Route,
    SeenMessage,
    TrustedPublisher,
)
from busauth.testing import Issuer

NOW = 1_750_000_000.25
_ROUTES = (Route("", "orders.placed"), Route("shop", "orders.placed"))


def message() -> OutgoingMessage:
    """Return an order of 1 KiB with a token as issuers make them, which was proven already."""
    token = Issuer(lifetime=1e6).token("alice", scope="orders:read orders:write")
    return OutgoingMessage(
        token_sha256=fingerprint(token),
        body=b"x" * 1024,
        message_id="3f0c2f5e-0d0f-4f0e-9d0e-7d4f4c1f8a11",
        properties=Properties(type="order", content_type="application/json"),
        headers={"tenant": "shop-1"},
        exchange="shop",
        routing_key="orders.placed",
    )


def keys() -> dict[str, Any]:
    """Return a private key for each algorithm."""
    return {
        "HS256": bytes(range(32)),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


def steps() -> dict[str, Step]:
    """Return what is compared."""
    binding = message()
    found: dict[str, Step] = {}
    for algorithm, private in keys().items():
        signer = ProofSigner("orders", private, algorithm=algorithm, key_id="1", headers="tenant")
        key = SigningKey(private, algorithm=algorithm, key_id="1")
        found[f"sign {algorithm}"] = signing(signer, binding)
        found[f"check {algorithm}"] = checking(signer, binding, key)
        if algorithm == "HS256":
            found["floor HS256"] = floor(signer.sign(binding, NOW), binding.body, private)
    return found | sealing(binding)


def signing(signer: ProofSigner, binding: OutgoingMessage) -> Step:
    """Return the signing of one message."""
    return lambda: signer.sign(binding, NOW)


def floor(proof: str, body: bytes, key: bytes) -> Step:
    """Return what no check with a shared secret can leave out, on decoded bytes."""
    signing_input, payload = proof.rpartition(".")[0].encode(), split(proof, max_bytes=8192).payload
    text, mac = json.dumps(payload), keyed(key, "HS256")

    def step() -> None:
        mac_of(mac, signing_input)
        json.loads(text)
        sha256(body).digest()

    return step


def checking(signer: ProofSigner, binding: OutgoingMessage, key: SigningKey) -> Step:
    """Return the check of proofs that were never seen before."""
    source = StaticKeys([key.verification_jwk()])
    publisher = TrustedPublisher("orders", source, algorithms=(key.algorithm,))
    proofs = Proofs([publisher], max_age=3600)
    at = count()
    signed = [signer.sign(binding, NOW + each / 1000) for each in range(256)]
    arrived = {each.name: getattr(binding, each.name) for each in fields(SeenMessage)}
    return lambda: proofs.check(signed[next(at) % 256], SeenMessage(**arrived), _ROUTES, NOW)


def sealing(binding: OutgoingMessage) -> dict[str, Step]:
    """Return making and opening a seal."""
    seal = Seal("orders.placed", {"1": bytes(range(32))})
    own = Sealed(attempt=2, published_at=NOW, origin="shop orders").headers()
    copy = Copy(own, {"tenant": "shop-1"}, (binding.message_id,), binding.body)
    sha = binding.token_sha256
    sealed = seal.seal(copy, token_sha256=sha)
    return {
        "seal": lambda: seal.seal(copy, token_sha256=sha),
        "open a seal": lambda: seal.opened(sealed, copy, token_sha256=sha),
    }


def main() -> None:
    """Print the table."""
    show(__doc__, steps(), rounds=500, times=20)


if __name__ == "__main__":
    main()
