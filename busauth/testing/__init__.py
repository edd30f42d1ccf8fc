"""For tests and demos: a clock that moves when told, and an issuer of tokens, good and bad."""

from busauth.testing.clock import ManualClock
from busauth.testing.issuer import Issuer, IssuerServer, SigningKey

__all__ = ["Issuer", "IssuerServer", "ManualClock", "SigningKey"]
