"""The test kit: a broker in this process, a clock that moves when told, an issuer, a record.

Nothing in here is for production: the broker keeps nothing, and the issuer signs what it is told.
"""

from busauth._doors import hand_out
from busauth.testing.broker import Broker, Limits
from busauth.testing.clock import ManualClock
from busauth.testing.issuer import Issuer, IssuerServer, SigningKey
from busauth.testing.kit import Kit, RabbitMQ
from busauth.testing.story import Sent, Story

__all__ = [
    "Broker",
    "Issuer",
    "IssuerServer",
    "Kit",
    "Limits",
    "ManualClock",
    "RabbitMQ",
    "Sent",
    "SigningKey",
    "Story",
]

hand_out(__name__, globals())
