"""For tests and demos: a clock that moves when told, and an issuer of tokens, good and bad."""

from busauth.testing.clock import ManualClock
from busauth.testing.issuer import Issuer, IssuerServer

__all__ = ["Issuer", "IssuerServer", "ManualClock"]
