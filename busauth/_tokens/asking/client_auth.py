"""How a service proves to an issuer's endpoint who it is (RFC 6749, RFC 7523, RFC 8705)."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from typing import NamedTuple, Protocol
from urllib.parse import quote_plus
from uuid import uuid4

from busauth._arguments import checked
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.signing import PrivateKey, SigningKey
from busauth.errors import ConfigurationError

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TYPE = "client-authentication+jwt"
_LIFETIME = 60  # seconds: for one request, and for clocks that differ a little


class Credentials(NamedTuple):
    """What a request carries to prove whose it is."""

    headers: Mapping[str, str]
    form: Mapping[str, str]

    def __repr__(self) -> str:
        return "<Credentials>"


class ClientAuthentication(Protocol):
    """A client of an issuer's endpoints."""

    @property
    def client_id(self) -> str:
        """Return its name."""
        ...

    def credentials(self, issuer: str, now: float) -> Credentials:
        """Return what the next request to this issuer carries."""
        ...


def _with_a_secret(client_id: str, secret: str) -> str:
    """Return a client's name, where neither that nor its secret is empty."""
    if not client_id or not secret:
        raise ConfigurationError(f"client_id={client_id!r}: expected a client and its secret")
    return client_id


class ClientSecretBasic:
    """A shared secret in the `Authorization` header (RFC 6749, section 2.3.1).

    Args:
        client_id: as the issuer knows it.
        secret: is never printed.

    Raises:
        ConfigurationError: one of them is empty.
    """

    @checked
    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id = _with_a_secret(client_id, secret)
        # Form-encoded before they are joined: a colon in either would be read as the joint.
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        self._header = f"Basic {b64encode(pair.encode('ascii')).decode('ascii')}"

    def credentials(self, issuer: str, now: float) -> Credentials:
        """Return the same header for every request."""
        return Credentials({"Authorization": self._header}, {})

    def __repr__(self) -> str:
        return f"<ClientSecretBasic {self.client_id}>"


class ClientSecretPost:
    """A shared secret among the form's parameters (RFC 6749, section 2.3.1).

    For issuers that do not take it in a header; where both are taken, `ClientSecretBasic` is the
    better one: forms are logged more often.

    Args:
        client_id: as the issuer knows it.
        secret: is never printed.

    Raises:
        ConfigurationError: one of them is empty.
    """

    @checked
    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id = _with_a_secret(client_id, secret)
        self._form = {"client_id": client_id, "client_secret": secret}

    def credentials(self, issuer: str, now: float) -> Credentials:
        """Return the same parameters for every request."""
        return Credentials({}, self._form)

    def __repr__(self) -> str:
        return f"<ClientSecretPost {self.client_id}>"


class PrivateKeyJwt:
    """A signed assertion, good for a minute and for one request (RFC 7523, section 3).

    Args:
        client_id: as the issuer knows it.
        key: the private half; the issuer knows the public one.
        algorithm: the only algorithm that it signs with; no shared secrets.
        key_id: its `kid`.
        audience: `aud`; None for the issuer itself, as the revision of RFC 7523 wants it.

    Raises:
        ConfigurationError: the key does not fit the algorithm, or is a shared secret.
    """

    @checked
    def __init__(
        self,
        client_id: str,
        key: PrivateKey,
        *,
        algorithm: str,
        key_id: str | None = None,
        audience: str | None = None,
    ) -> None:
        self.client_id = client_id
        self._key = SigningKey(key, algorithm=algorithm, key_id=key_id)
        self._audience = audience
        if not client_id or self._key.algorithm.startswith("HS"):
            raise ConfigurationError(f"{self!r} with {self._key!r}: expected a private key")

    def credentials(self, issuer: str, now: float) -> Credentials:
        """Return a new assertion."""
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self._audience or issuer,
            "iat": int(now),
            "exp": int(now) + _LIFETIME,
            "jti": uuid4().hex,
        }
        assertion = self._key.sign(claims, typ=_TYPE)
        return Credentials({}, {"client_assertion_type": _ASSERTION, "client_assertion": assertion})

    def __repr__(self) -> str:
        return f"<PrivateKeyJwt {self.client_id}>"


class MutualTls:
    """A certificate at TLS, and the client's name in the form (RFC 8705, section 2).

    The files are read for each request, so that a certificate that was renewed in its place counts.

    Args:
        client_id: as the issuer knows it.
        certificate: path of the certificate, PEM, with its chain.
        key: path of the private key, PEM; None where the same file holds it.

    Raises:
        ConfigurationError: the name is empty.
    """

    @checked
    def __init__(
        self,
        client_id: str,
        *,
        certificate: str | PathLike[str],
        key: str | PathLike[str] | None = None,
    ) -> None:
        if not client_id:
            raise ConfigurationError("client_id='': expected the client that the certificate names")
        self.client_id = client_id
        self.shown = (fspath(certificate), None if key is None else fspath(key))

    def credentials(self, issuer: str, now: float) -> Credentials:
        """Return the client's name: the certificate proves it."""
        return Credentials({}, {"client_id": self.client_id})

    def __repr__(self) -> str:
        return f"<MutualTls {self.client_id}>"


def presenting(fetcher: Fetcher, client: ClientAuthentication) -> Fetcher:
    """Return a fetcher that shows a client's certificate, where it has one."""
    if isinstance(client, MutualTls):
        return replace(fetcher, certificate=client.shown)
    return fetcher
