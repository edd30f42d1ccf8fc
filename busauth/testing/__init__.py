"""The test kit: a broker in this process, a clock that moves when told, an issuer, a record.

Nothing in here is for production: the broker keeps nothing, and the issuer signs what it is told.
"""

from busauth._doors import hand_out
from busauth.testing.broker import Broker, Limits
from busauth.testing.clock import ManualClock, Timer, Timers
from busauth.testing.issuer import Issuer, IssuerServer, SigningKey
from busauth.testing.issuer.endpoints.clients import Client
from busauth.testing.issuer.http.messages import Request, Response
from busauth.testing.issuer.transport import IssuerTransport
from busauth.testing.kit import AnyBroker, Kit, RabbitMQ
from busauth.testing.published import Published
from busauth.testing.story import Sent, Step, Story

__all__ = [
    "AnyBroker",
    "Broker",
    "Client",
    "Issuer",
    "IssuerServer",
    "IssuerTransport",
    "Kit",
    "Limits",
    "ManualClock",
    "Published",
    "RabbitMQ",
    "Request",
    "Response",
    "Sent",
    "SigningKey",
    "Step",
    "Story",
    "Timer",
    "Timers",
]

hand_out(__name__, globals())
