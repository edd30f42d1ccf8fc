"""Who published this message, to where, when, and with which token? See docs/proof.md."""

from busauth.late.proof.binding import HEADER, Binding, Properties, SeenMessage
from busauth.late.proof.proofs import ProofDemand, Proofs, Proven
from busauth.late.proof.publishers import KeyUnknown, Publisher, Signed
from busauth.late.proof.routes import Route
from busauth.late.proof.signer import Original, ProofSigner

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
