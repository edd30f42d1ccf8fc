"""What to do with a genuine token that has expired while its message waited."""

from busauth._doors import hand_out
from busauth._expiry import (
    Accept,
    DeadLetter,
    Discard,
    Drop,
    ExpiryPolicy,
    Grace,
    Hold,
    LateToken,
    Park,
    Policies,
    Refuse,
    Restrict,
    ValidWhenPublished,
    Verdict,
)
from busauth._expiry.chain import PolicyFunction
from busauth._expiry.policies import OwnPolicy

__all__ = [
    "Accept",
    "DeadLetter",
    "Discard",
    "Drop",
    "ExpiryPolicy",
    "Grace",
    "Hold",
    "LateToken",
    "OwnPolicy",
    "Park",
    "Policies",
    "PolicyFunction",
    "Refuse",
    "Restrict",
    "ValidWhenPublished",
    "Verdict",
]

hand_out(__name__, globals())
