"""Whole guards on messages under proof: what a proof adds to a warm guard, by algorithm.

Each delivery has an id and a proof of its own, as publishers sign them; nothing of a proof is
remembered from one to the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from bench.delivered import deliveries
from bench.proof import keys
from busauth import StaticKeys
from busauth._messages.proof import HEADER
from busauth._tokens.keys.signing import SigningKey
from busauth.messages import (
    InProcessReplay,
    MessageSecurity,
    OutgoingMessage,
    Proofs,
    ProofSigner,
    Properties,
    TrustedPublisher,
)

_DAY = 24 * 3600.0
_SEAL = {"1": bytes(range(32))}


@dataclass(frozen=True, slots=True)
class Proving:
    """A publisher, and a consumer that asks for its proofs.

    Attributes:
        signer: the publisher's.
        security: the consumer's.
    """

    signer: ProofSigner
    security: MessageSecurity
    _ids: Iterator[int] = field(default_factory=count)

    def deliveries(self, tokens: list[str], now: float) -> list[DeliveredMessage]:
        """Return one message for each token, with a proof of its own."""
        signed = deliveries(tokens)
        for message, token in zip(signed, tokens, strict=True):
            properties = message.header.properties
            properties.message_id = f"{next(self._ids):032x}"
            assert properties.headers is not None
            properties.headers[HEADER] = self._sign(message, properties, token, now)
        return signed

    def _sign(
        self, message: DeliveredMessage, properties: Basic.Properties, token: str, now: float
    ) -> str:
        binding = OutgoingMessage(
            token=token,
            body=message.body,
            message_id=properties.message_id,
            properties=Properties(content_type=properties.content_type),
            exchange="",
            routing_key="orders",
        )
        return self.signer.sign(binding, now)


def proving(*, remembers: bool = False) -> dict[str, Proving]:
    """Return a publisher and its consumer for each algorithm.

    Args:
        remembers: whether there are a seal and a replay memory as well.
    """
    found = {}
    for algorithm, private in keys().items():
        key = SigningKey(private, algorithm=algorithm, key_id="1")
        source = StaticKeys([key.verification_jwk()])
        publisher = TrustedPublisher("web", source, algorithms=(algorithm,))
        security = MessageSecurity(
            proofs=Proofs([publisher], max_age=_DAY),
            seal=_SEAL if remembers else None,
            replay=InProcessReplay(keep_for=2 * _DAY) if remembers else None,
        )
        signer = ProofSigner("web", private, algorithm=algorithm, key_id="1")
        found[algorithm] = Proving(signer, security)
    return found
