"""Clients of the endpoints, and how they prove who they are (RFC 6749, section 2.3.1)."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote_plus, unquote_plus

from busauth.testing.issuer.http.errors import OAuthError
from busauth.testing.issuer.http.form import Form
from busauth.testing.issuer.http.messages import Request

METHODS = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class Client:
    """A service that the issuer knows.

    Attributes:
        client_id: its name.
        secret: what it proves itself with.
        audiences: whose tokens it may look at, as a resource server; None for everybody's.
    """

    client_id: str
    secret: str = field(repr=False)
    audiences: frozenset[str] | None = None

    def basic(self) -> str:
        """Return the `Authorization` header for client_secret_basic."""
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def post(self) -> dict[str, str]:
        """Return the form parameters for client_secret_post."""
        return {"client_id": self.client_id, "client_secret": self.secret}


class Clients:
    """Who may use the endpoints."""

    def __init__(self) -> None:
        self._known: dict[str, Client] = {}

    def register(
        self, client_id: str, secret: str | None, audiences: Iterable[str] | None
    ) -> Client:
        """Know a client from now on, or anew; None for a secret that nobody could guess."""
        names = (audiences,) if isinstance(audiences, str) else audiences
        allowed = None if names is None else frozenset(names)
        client = Client(client_id, secret or secrets.token_urlsafe(24), allowed)
        self._known[client_id] = client
        return client

    def authenticate(self, request: Request, form: Form) -> Client:
        """Return the client that this request comes from.

        Raises:
            OAuthError: ``invalid_client``, or ``invalid_request`` for two proofs in one request.
        """
        given = [proof for proof in (_basic(request), _post(form)) if proof is not None]
        if len(given) > 1:
            raise OAuthError("invalid_request", "expected one way of client authentication")
        client_id, secret = given[0] if given else ("", "")
        client = self._known.get(client_id)
        known = client.secret if client is not None else ""
        same = hmac.compare_digest(known.encode(), secret.encode("utf-8", "surrogatepass"))
        if client is None or not same:
            raise OAuthError("invalid_client", "expected a known client with its secret")
        return client


def _basic(request: Request) -> tuple[str, str] | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    client_id, _, secret = pair.partition(":") if scheme.lower() == "basic" else ("", "", "")
    return unquote_plus(client_id), unquote_plus(secret)


def _post(form: Form) -> tuple[str, str] | None:
    secret = form.one("client_secret")
    return None if secret is None else (form.one("client_id") or "", secret)
