"""JSON over HTTP from an issuer: bounded in time and size, and https unless said otherwise."""

import asyncio
import ipaddress
import json
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast
from urllib.parse import urlencode

from busauth._arguments import Bytes, Seconds, checked_class, kind_of
from busauth.errors import ConfigurationError, Deferred, evidence

if TYPE_CHECKING:
    import httpx  # by each that asks: it brings a terminal's libraries along, and not all ask

_LAST_PORT = 65_535
_OK = 200  # nothing else: redirects lead where nobody checked, and 204 has no body
_LATER = frozenset({408, 425, 429})
"""Statuses of four hundred and more by which somebody asks for patience."""


class Unusable(Deferred):
    """Somebody answers, and not with what can be used: a start ends for it, a message waits."""


class _NotThereError(ValueError):
    """An answer that will hardly be another one later."""


class UnsafeHttp(frozenset[str]):
    """Hosts that may be asked over plain http: whoever sits between can replace the keys.

    Args:
        hosts: host names without port, for a private network such as compose.
    """

    def __new__(cls, *hosts: str) -> "UnsafeHttp":
        """Collect the hosts in lower case."""
        if not all(isinstance(host, str) for host in hosts):
            raise ConfigurationError("UnsafeHttp: got what is no text, expected names of hosts")
        return super().__new__(cls, (host.lower() for host in hosts))


class Transport(Protocol):
    """What carries requests instead of the network: any ``httpx.AsyncBaseTransport`` is one."""

    async def handle_async_request(self, request: Any) -> Any:
        """Return the ``httpx.Response`` to an ``httpx.Request``."""

    async def aclose(self) -> None:
        """End what is open."""


class Reply(NamedTuple):
    """An answer; of its headers, names are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


@checked_class
@dataclass(frozen=True)
class Fetcher:
    """Gets JSON objects and posts forms: no redirects, no compression, nothing unasked for.

    A proxy of the environment (``HTTPS_PROXY``, ``ALL_PROXY``) carries https alone, which it can
    neither read nor change; over plain http it would be whoever sits between.

    Attributes:
        timeout: seconds for a whole request.
        max_bytes: the largest body that is read.
        unsafe_http: hosts for which http is accepted; loopback always is.
        transport: what carries the requests instead of the network, such as the test kit's
            ``issuer.transport()``. It is entered and closed with each of them.
        certificate: paths of what is shown at TLS to whoever asks, and of its key, in PEM; None for
            a key in the same file. `MutualTls` brings it, and it is read for each request.
    """

    timeout: Seconds = 5.0
    max_bytes: Bytes = 256 * 1024
    unsafe_http: Iterable[str] = field(default_factory=UnsafeHttp)
    transport: Transport | None = None
    certificate: tuple[str, str | None] | None = None

    def __post_init__(self) -> None:
        """Collect the hosts; a lone string is one host, not its letters."""
        hosts = (self.unsafe_http,) if isinstance(self.unsafe_http, str) else self.unsafe_http
        object.__setattr__(self, "unsafe_http", UnsafeHttp(*hosts))

    def check_url(self, url: str) -> str:
        """Return the URL if it may be asked.

        Raises:
            ConfigurationError: it is not https, and its host is neither loopback nor named unsafe.
        """
        if self._may_ask(url):
            return url
        raise ConfigurationError(
            f"{shown(url)!r}: expected https. Plain http is taken from loopback only, or from "
            "hosts that are named, in the settings or of a Fetcher: "
            f"unsafe_http = [{json.dumps(_host(url) or 'idp.internal')}]"
        )

    def _may_ask(self, url: str) -> bool:
        """Read the URL as the client that would ask it does: two readers could disagree."""
        import httpx

        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL:
            return False
        if parts.scheme == "http":
            return is_loopback(parts.host) or parts.host in self.unsafe_http
        return parts.scheme == "https" and bool(parts.host)

    async def get_object(self, url: str) -> dict[str, Any]:
        """Return the JSON object at a URL.

        Raises:
            Deferred: it cannot be had now; `Unusable` where it is not there, or is no JSON object.
            ConfigurationError: the URL may not be asked.
        """
        self.check_url(url)
        try:
            async with asyncio.timeout(self.timeout):
                value = json.loads(await self._get(url))
        except Exception as error:  # whatever went wrong, no message is guilty of it
            raise _told(url, error, self.timeout) from error
        if not isinstance(value, dict):
            raise Unusable(f"{shown(url)} gave {kind_of(value)}: expected a JSON object")
        return value

    async def look(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Return what is answered to a GET, whatever its status.

        Raises:
            Deferred: there is no answer now, or it is too large or compressed.
            ConfigurationError: the URL may not be asked.
        """
        self.check_url(url)
        asked = {"Accept": "application/json", **(headers or {})}
        try:
            async with asyncio.timeout(self.timeout):
                return await self._ask("GET", url, asked)
        except Exception as error:  # whatever went wrong, it is told by who looks
            raise _told(url, error, self.timeout) from error

    async def post_form(
        self, url: str, form: Mapping[str, str | Sequence[str]], headers: Mapping[str, str]
    ) -> Reply:
        """Post a form and return what is answered, whatever its status.

        Args:
            url: where to.
            form: a parameter that is there several times has several values.
            headers: what is sent next to its media type.

        Raises:
            Deferred: there is no answer now, or it is too large or compressed.
            ConfigurationError: the URL may not be asked.
        """
        body = urlencode(form, doseq=True).encode("ascii")
        headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        return await self._post(url, headers, body)

    async def post_json(self, url: str, value: object, headers: Mapping[str, str]) -> Reply:
        """Post JSON and return what is answered, whatever its status.

        Raises:
            Deferred: there is no answer now, or it is too large or compressed.
            ConfigurationError: the URL may not be asked.
        """
        headers = {**headers, "Content-Type": "application/json"}
        return await self._post(url, headers, json.dumps(value).encode("ascii"))

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.check_url(url)
        try:
            async with asyncio.timeout(self.timeout):
                return await self._ask("POST", url, headers, body)
        except Exception as error:  # whatever went wrong, no message is guilty of it
            raise Deferred(f"{shown(url)} is out of reach: {_why(error, self.timeout)}") from error

    async def _get(self, url: str) -> bytes:
        reply = await self._ask("GET", url, {"Accept": "application/json"})
        if reply.status != _OK:
            why = f"status {reply.status}, expected 200"
            # Four hundred and more blames the question, which will be the same the next time.
            is_final = HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
            is_final = is_final and reply.status not in _LATER
            raise _NotThereError(why) if is_final else ValueError(why)
        return reply.body

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply:
        import httpx

        # asyncio does not close a socket again that it opened for a port beyond the last one.
        port = httpx.URL(url).port or 0
        if port > _LAST_PORT:
            raise ValueError(f"port {port}, expected at most {_LAST_PORT}")
        headers = {**headers, "Accept-Encoding": "identity"}  # a bomb unpacks past `max_bytes`
        try:
            async with (
                self._client(httpx.URL(url).scheme) as client,
                client.stream(method, url, headers=headers, content=body) as response,
            ):
                if "content-encoding" in response.headers:
                    raise ValueError("a compressed answer, expected it uncompressed")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, await self._read(response), headers)
        except httpx.LocalProtocolError:
            why = "a header that HTTP has no place for"
        except httpx.RemoteProtocolError as error:
            why = str(error).partition(": ")[0]  # behind it is what came: a token, handed back
        raise ValueError(why)  # out here: no traceback leads to what was quoted

    def _client(self, scheme: str) -> "httpx.AsyncClient":
        import httpx

        if self.transport is not None:
            carrier = cast("httpx.AsyncBaseTransport", self.transport)
            return httpx.AsyncClient(transport=carrier, timeout=self.timeout)
        through_proxies = scheme == "https"
        if self.certificate is not None:
            _show(self._ssl, *self.certificate)
        return httpx.AsyncClient(verify=self._ssl, timeout=self.timeout, trust_env=through_proxies)

    async def _read(self, response: "httpx.Response") -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self.max_bytes:  # counted as it comes: a length is a sender's word
                raise ValueError(f"more than {self.max_bytes} bytes")
        return bytes(body)

    @cached_property
    def _ssl(self) -> ssl.SSLContext:
        import httpx

        return httpx.create_ssl_context()


def _show(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Show a certificate, read anew each time: it is renewed in its place."""
    try:
        # A pass phrase that is said is never asked for: that would stop the loop at a terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # OpenSSL's own are some, and none of them names a file
        # by its name, as what is told has a bound and paths may be long
        what = f"{Path(certificate).name} or its key: {error}"
        raise ValueError(f"{what}; expected PEM, without a pass phrase") from error


_FINAL = (_NotThereError, json.JSONDecodeError, UnicodeDecodeError)


_NO_TLS = frozenset(
    {
        *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"),
        *("PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"),
    }
)
"""What OpenSSL says where something else answers, by its version."""


def shown(url: str) -> str:
    """Return a URL as it may be told: without userinfo, query and fragment, which may be secrets.

    Args:
        url: well-formed or not; it is cut at the first ``?`` or ``#``.
    """
    place = re.split(r"[?#]", url, maxsplit=1)[0]
    return re.sub(r"(?<=//)[^/]*@", "", place) + ("?…" if place != url else "")


def _told(url: str, error: Exception, timeout: float) -> Deferred:
    """Say whether nobody answers, or somebody does, and not as is configured."""
    url = shown(url)
    if isinstance(error, _FINAL):
        return Unusable(f"{url} answers, and not with a JSON object: {_why(error, timeout)}")
    tls: BaseException | None = error
    while tls is not None and not isinstance(tls, ssl.SSLError):  # httpx wraps what OpenSSL said
        tls = tls.__cause__ or tls.__context__
    if tls is None:
        return Deferred(f"{url} is out of reach: {_why(error, timeout)}")
    if isinstance(tls, ssl.SSLCertVerificationError):
        return Unusable(
            f"{url}: its certificate is not trusted: {tls.verify_message}; trust its authority "
            "(SSL_CERT_FILE), or name the host as the certificate has it"
        )
    if tls.reason in _NO_TLS:
        return Unusable(f"{url}: no TLS answers there: expected the port that has it, or http://")
    return Deferred(f"{url} is out of reach: {_why(error, timeout)}")


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return str(error) or type(error).__name__


def _host(url: str) -> str | None:
    """Return a URL's host for people, as far as one can be told."""
    import httpx

    try:
        return evidence(httpx.URL(url).host)
    except httpx.InvalidURL:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by name or by address: nothing is looked up."""
    if host.lower() == "localhost":  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: whoever answers for it may have it lead anywhere
        return False
