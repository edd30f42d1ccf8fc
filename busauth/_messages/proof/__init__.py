"""Who published this message, to where, when, and with which token? See docs/proof.md."""

from busauth._messages.proof.binding import HEADER, OutgoingMessage, Properties, SeenMessage
from busauth._messages.proof.proofs import SKEW, ProofDemand, Proofs, Proven, Skew
from busauth._messages.proof.publishers import SIGNED_WITH, Signed, TrustedPublisher
from busauth._messages.proof.routes import Route
from busauth._messages.proof.signer import Original, ProofSigner

__all__ = [
    "HEADER",
    "SIGNED_WITH",
    "SKEW",
    "Original",
    "OutgoingMessage",
    "ProofDemand",
    "ProofSigner",
    "Proofs",
    "Properties",
    "Proven",
    "Route",
    "SeenMessage",
    "Signed",
    "Skew",
    "TrustedPublisher",
]
