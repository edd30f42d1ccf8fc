"""What to do with a genuine token that has expired while its message waited."""

from busauth._callables import pure
from busauth._doors import hand_out
from busauth._expiry import (
    Accept,
    DeadLetter,
    Discard,
    ExpiryPolicy,
    Grace,
    LateToken,
    Park,
    Policies,
    Renewed,
    Restrict,
    ValidWhenPublished,
    Verdict,
)
from busauth._expiry.chain import PolicyFunction
from busauth._expiry.verdicts import OwnPolicy

__all__ = [
    "Accept",
    "DeadLetter",
    "Discard",
    "ExpiryPolicy",
    "Grace",
    "LateToken",
    "OwnPolicy",
    "Park",
    "Policies",
    "PolicyFunction",
    "Renewed",
    "Restrict",
    "ValidWhenPublished",
    "Verdict",
    "pure",
]

hand_out(__name__, globals())
