"""The caller's token in requests to other services: to those that were declared, and to no other.

```python
from busauth.integrations.httpx import CallerAuth

stock = httpx.AsyncClient(auth=CallerAuth(hosts=["https://stock.example"]))


@bus.consumer("orders.placed")
async def place(order: Order) -> None:
    await stock.post("https://stock.example/reservations", json={"order": order.id})
```

With ``onward=Onward(idp, audience="stock")`` each request carries a token that was had for it, and
never the caller's own (async clients alone).

One client serves all handlers: whose token is sent is asked with each request, and no cookie goes
beside it, which would be of whoever asked before. A redirect to another host goes without the
token, as httpx has it: what asks there is no longer the caller.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterable, Iterator
from contextlib import contextmanager

import httpx

from busauth._arguments import checked
from busauth._delegation.exchange.server import check_asked
from busauth._delegation.exchanging import OnwardToken
from busauth._delegation.onward import FORWARDED, token_of, told
from busauth._delegation.voucher import Voucher
from busauth._tokens.fetch import Fetcher
from busauth._tokens.profiles.profile import TXN_JWT, VOUCHER_JWT, media_type_of
from busauth.caller import Caller, Subject, current_lease, had_for
from busauth.errors import CallerError, ConfigurationError

_TXN_TOKEN = "Txn-Token"  # noqa: S105 -- a header's name
_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65_535
_NO_ORIGIN = re.compile(r"[\s?#]")
_NO_VOUCHER = (
    "CallerAuth(onward=...): a voucher waits with a message until it is exchanged, and goes to "
    "nobody over HTTP: nothing was sent; expected what has an access token, such as Onward(...)"
)
_EXPECTED = "scheme, host and port alone, such as 'https://stock.example'"


class CallerAuth(httpx.Auth):
    """Sends the caller's token as ``Authorization: Bearer``; for sync and async clients.

    With `onward` it sends the token that is had for it, for async clients. Nothing is sent, and a
    `Refused` or `Deferred` raised, where none is to be had; a handler that lets that out ends
    without a retry, or has its consumer paused and its message given back.

    A transaction token goes as it is in ``Txn-Token``, never in ``Authorization``, and along with
    no redirect that httpx follows by itself: not even to the same host.

    A request is not sent, and raises a `CallerError`, where its host was not declared, and where
    there is no token to send on: nobody is in scope, their handler has ended, or they were accepted
    late with less than it allows. ``client.get(url, auth=None)`` is a request without the token.

    The token is on a request while that is under way, and no longer. A redirect that httpx follows
    by itself (``follow_redirects=True``) is not asked about: it takes along the token, on the same
    host, and the client's cookies. One that is sent by hand, ``client.send(answer.next_request)``,
    is asked about anew.

    Args:
        hosts: who may see callers' tokens: scheme, host and port, such as
            ``https://stock.example``, compared exactly.
        caller: whose token is sent; default: of the caller in scope, at each request.
        onward: which token goes in place of the caller's own, such as
            `busauth.delegation.Onward`; None for the caller's own.
        unsafe_http: host names to which tokens may go over plain http, next to loopback. Whoever
            sits between sees them, as does a proxy of the environment (``HTTP_PROXY``) unless the
            client is made with ``trust_env=False``.

    Raises:
        ConfigurationError: nobody is declared, or one is no https origin; or a plain http one on
            port 80 without its https twin, to which httpx takes the token along; or what goes
            would be a voucher.
    """

    @checked
    def __init__(
        self,
        hosts: Iterable[str],
        *,
        caller: Caller | None = None,
        onward: OnwardToken | None = None,
        unsafe_http: Iterable[str] = (),
    ) -> None:
        fetcher = Fetcher(unsafe_http=unsafe_http)
        named = (hosts,) if isinstance(hosts, str) else hosts
        self._origins = frozenset(_declared(host, fetcher) for host in named)
        self._caller = caller
        check_asked("CallerAuth(onward=...)", onward)
        self._onward = None if onward is FORWARDED else onward
        if isinstance(onward, Voucher):
            raise ConfigurationError(_NO_VOUCHER)
        if not self._origins:
            raise ConfigurationError(f"hosts=[]: expected {_EXPECTED}")
        for twin in _twins(self._origins):
            raise ConfigurationError(
                f"a redirect from plain http to {twin} takes the token along: declare {twin} as "
                "well, or that alone"
            )

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Put the token on one request while it is under way; httpx calls this.

        Raises:
            CallerError: the host was not declared, or there is no token to be sent; or one would
                have to be had, which takes an async client.
        """
        if self._onward is not None:
            raise CallerError(
                "a token that goes on is had by awaiting: nothing was sent. Ask with an "
                "httpx.AsyncClient, or with CallerAuth(...) without onward"
            )
        self._check_host(request.url)
        with self._lent(request, self._token()):
            response = yield request
        _forget(response)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Do the same for an async client, with the token that goes on where that is another.

        Raises:
            CallerError: the host was not declared, or there is no token to be sent.
            Refused, Deferred: no token goes on, or none can be had now.
            ConfigurationError: what was had is none that may go, such as a voucher.
        """
        self._check_host(request.url)  # first: for nobody else is a token had
        onward = self._onward
        lent = self._token() if onward is None else await self._had(onward)
        with self._lent(request, lent):
            response = yield request
        _forget(response)

    @contextmanager
    def _lent(self, request: httpx.Request, lent: tuple[str, bool]) -> Iterator[None]:
        """Let a request bear a token while inside, and nobody's cookies beside it."""
        token, is_transaction = lent
        request.headers.pop("Cookie", None)  # a client keeps what was set for whoever asked before
        own = request.headers
        if is_transaction:
            request.headers = _Transaction(own, token)
        else:
            own["Authorization"] = f"Bearer {token}"
        try:
            yield
        finally:
            request.headers = own
            if not is_transaction:
                own.pop("Authorization", None)

    def _check_host(self, url: httpx.URL) -> None:
        origin = _origin(url)
        if not url.host or url.scheme not in _PORTS:
            raise CallerError(
                "the caller's token goes with http and https alone: nothing was sent. Ask a whole "
                "URL, such as https://stock.example/reservations, or one below a base_url"
            )
        if origin not in self._origins:
            raise CallerError(
                f"the caller's token may not go to {origin}: nothing was sent. Declare it, "
                f"CallerAuth(hosts=[{origin!r}, ...]), or send the request without: auth=None"
            )

    def _token(self) -> tuple[str, bool]:
        """Return the token that is sent, and whether it is a transaction token."""
        if self._caller is not None:
            return self._caller.bearer(), self._caller.transaction is not None
        lease = current_lease()
        return lease.token(), lease.is_transaction

    async def _had(self, onward: OnwardToken) -> tuple[str, bool]:
        def ask(subject: Subject) -> Awaitable[str]:
            return token_of(onward, subject)

        what = f"{told(onward)}, over HTTP"
        own = self._caller
        token = await (had_for(own, ask, what) if own else current_lease().had(ask, what))
        kind = media_type_of(token)
        if kind == VOUCHER_JWT:  # of whatever wraps one
            raise ConfigurationError(_NO_VOUCHER)
        return token, kind == TXN_JWT

    def __repr__(self) -> str:
        return f"<CallerAuth for {', '.join(sorted(self._origins))}>"


class _Transaction(httpx.Headers):
    """A request's headers and its transaction token, which no copy of them has.

    httpx makes a redirect's headers by copying these, and takes `Authorization` alone from what
    goes to another host.
    """

    def __init__(self, own: httpx.Headers, token: str) -> None:
        super().__init__([(name, value) for name, value in own.raw if name.lower() != b"txn-token"])
        self._token = token

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Return what is sent."""
        return [*super().raw, (_TXN_TOKEN.encode(), self._token.encode())]

    def __getitem__(self, key: str) -> str:
        return self._token if key.lower() == _TXN_TOKEN.lower() else super().__getitem__(key)


def _forget(response: httpx.Response) -> None:
    """Take the token from what httpx made of the request: redirects, followed or not."""
    made = [each.request for each in (*response.history, response)]
    if response.next_request is not None:
        made.append(response.next_request)
    for request in made:
        request.headers.pop("Authorization", None)


def _declared(host: str, fetcher: Fetcher) -> str:
    """Return an origin that may be asked, where nothing is said besides that would not count."""
    try:
        url = httpx.URL(host)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"hosts: {error}, expected {_EXPECTED}") from None
    if "@" in host:
        raise ConfigurationError(f"hosts: got one with a user, expected {_EXPECTED}")
    is_origin = url.scheme and url.host and url.path in ("", "/") and _is_port(url.port)
    # Of what is said in vain (`?` and nothing behind it) a URL that was read shows nothing.
    if not is_origin or _NO_ORIGIN.search(host):
        raise ConfigurationError(f"hosts: got {host!r}, expected {_EXPECTED}")
    return fetcher.check_url(_origin(url))


def _is_port(port: int | None) -> bool:
    return port is None or 0 < port <= _LAST_PORT


def _origin(url: httpx.URL) -> str:
    """Return scheme, host and port in one spelling; nothing else of a URL is told."""
    port = _PORTS.get(url.scheme) if url.port is None else url.port
    host = url.raw_host.decode("ascii")
    shown = f"{url.scheme}://[{host}]" if ":" in host else f"{url.scheme}://{host}"
    return shown if port == _PORTS.get(url.scheme) else f"{shown}:{port}"


def _twins(origins: frozenset[str]) -> Iterator[str]:
    """Yield where httpx takes a token along to, and that was not declared.

    Of all redirects elsewhere it keeps the header in one case: from http on port 80 to https on
    port 443 of the same host.
    """
    for origin in sorted(origins):
        url = httpx.URL(origin)
        twin = f"https{origin.removeprefix('http')}"
        if (url.scheme, url.port) == ("http", None) and twin not in origins:
            yield twin
