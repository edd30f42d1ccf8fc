"""What is asked of messages besides their tokens, what reads them, and judging one in hand."""

from busauth._amqp.connecting.sieve.tolerant import (
    TolerantConnection,
    TolerantRobustConnection,
    TolerantTransport,
)
from busauth._amqp.consuming.security import MessageSecurity
from busauth._amqp.judging.foreseen import Foreseen, ForeseenEnd, Stage, StageState
from busauth._amqp.judging.received import Received
from busauth._amqp.judging.verdicts import Accepted, Copy, Held, Judge, NotNow, Outcome, Refusal
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
    "Accepted",
    "Anonymous",
    "Copy",
    "Dataclass",
    "Foreseen",
    "ForeseenEnd",
    "Held",
    "InProcessReplay",
    "Judge",
    "MessageSecurity",
    "NotNow",
    "Original",
    "Outcome",
    "OutgoingMessage",
    "ProofDemand",
    "ProofSigner",
    "Proofs",
    "Properties",
    "Proven",
    "Provenance",
    "Received",
    "Refusal",
    "ReplayKey",
    "ReplayMemory",
    "Route",
    "SeenMessage",
    "Signed",
    "Stage",
    "StageState",
    "Standing",
    "TolerantConnection",
    "TolerantRobustConnection",
    "TolerantTransport",
    "TrustedPublisher",
]

hand_out(__name__, globals())
