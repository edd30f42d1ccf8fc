"""An issuer of one's own: mints tokens, good and hostile, and answers for them over HTTP."""

from busauth.testing.issuer.clients import Client
from busauth.testing.issuer.issuer import Issuer
from busauth.testing.issuer.keys import SigningKey
from busauth.testing.issuer.messages import Request, Response
from busauth.testing.issuer.server import IssuerServer
from busauth.testing.issuer.transport import IssuerTransport

__all__ = [
    "Client",
    "Issuer",
    "IssuerServer",
    "IssuerTransport",
    "Request",
    "Response",
    "SigningKey",
]
