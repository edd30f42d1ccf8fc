"""What is asked of messages besides their tokens: proofs, seals, replay; and what reads them."""

from busauth._amqp.connecting.tolerant import (
    TolerantConnection,
    TolerantRobustConnection,
    TolerantTransport,
)
from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.publishing.outbox import Anonymous, Dataclass
from busauth._doors import hand_out
from busauth._messages.proof import (
    Original,
    OutgoingMessage,
    ProofDemand,
    Proofs,
    ProofSigner,
    Properties,
    Proven,
    Route,
    SeenMessage,
    Signed,
    TrustedPublisher,
)
from busauth._messages.provenance import BROKER_STAMP, Provenance
from busauth._messages.replay import InProcessReplay, ReplayKey, ReplayMemory, Standing

__all__ = [
    "BROKER_STAMP",
    "Anonymous",
    "Dataclass",
    "InProcessReplay",
    "MessageSecurity",
    "Original",
    "OutgoingMessage",
    "ProofDemand",
    "ProofSigner",
    "Proofs",
    "Properties",
    "Proven",
    "Provenance",
    "ReplayKey",
    "ReplayMemory",
    "Route",
    "SeenMessage",
    "Signed",
    "Standing",
    "TolerantConnection",
    "TolerantRobustConnection",
    "TolerantTransport",
    "TrustedPublisher",
]

hand_out(__name__, globals())
