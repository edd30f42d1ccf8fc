"""What to do about a token that is genuine and has expired while its message waited.

A policy is asked once the token is known to be genuine. It decides (`Verdict`) or passes (None);
policies in a list are asked in order, and what none decides goes to the dead letters. Each stands
under a hard maximum age that no policy, and no sender, can lift.
"""

from busauth._expiry.chain import (
    DeclaredPolicies,
    NotRun,
    Policies,
    PolicyChain,
    PolicyFailed,
    names,
    renewed,
)
from busauth._expiry.policies import Grace, Restrict, ValidWhenPublished
from busauth._expiry.renewing import Fresh, Renewals, Renewing
from busauth._expiry.verdicts import (
    Accept,
    DeadLetter,
    Discard,
    ExpiryPolicy,
    LateToken,
    Park,
    Renewed,
    Verdict,
)

__all__ = [
    "Accept",
    "DeadLetter",
    "DeclaredPolicies",
    "Discard",
    "ExpiryPolicy",
    "Fresh",
    "Grace",
    "LateToken",
    "NotRun",
    "Park",
    "Policies",
    "PolicyChain",
    "PolicyFailed",
    "Renewals",
    "Renewed",
    "Renewing",
    "Restrict",
    "ValidWhenPublished",
    "Verdict",
    "names",
    "renewed",
]
