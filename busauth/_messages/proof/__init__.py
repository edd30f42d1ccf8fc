"""Who published this message, to where, when, and with which token? See docs/proof.md."""

from busauth._messages.proof.binding import HEADER, Binding, Properties, SeenMessage
from busauth._messages.proof.proofs import ProofDemand, Proofs, Proven
from busauth._messages.proof.publishers import KeyUnknown, Publisher, Signed
from busauth._messages.proof.routes import Route
from busauth._messages.proof.signer import Original, ProofSigner

__all__ = [
    "HEADER",
    "Binding",
    "KeyUnknown",
    "Original",
    "ProofDemand",
    "ProofSigner",
    "Proofs",
    "Properties",
    "Proven",
    "Publisher",
    "Route",
    "SeenMessage",
    "Signed",
]
