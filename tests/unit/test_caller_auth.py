"""The caller's token in requests to other services: where it goes, and where it never does."""

import asyncio
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast

import httpx
import pytest

from busauth.caller import Caller, Late, Lease, acting, lease_for
from busauth.delegation import FORWARDED, Exchanged, ExchangeRequest, Subject, Voucher
from busauth.errors import BusauthError, CallerError, ConfigurationError, Deferred, Untimely
from busauth.integrations.httpx import CallerAuth
from tests.unit.support import NOW, as_sent, caller, token

RAW = token()
BEARER = f"Bearer {RAW}"


@dataclass
class Site:
    """A real server that remembers what it was asked with, and sends on where it is told."""

    name: str
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    status: int = 200
    location: str = ""

    def serving(self) -> ThreadingHTTPServer:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append((self.headers["host"], self.headers.get("authorization")))
                is_first = self.path == "/first"
                self.send_response(site.status if is_first else 200)
                if is_first and site.location:
                    self.send_header("location", site.location)
                self.send_header("content-length", "0")
                self.end_headers()

            do_POST = do_GET  # noqa: N815 -- the server's name for it

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        return ThreadingHTTPServer((self.name, 0), Handler)


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """One to be declared, and one that nobody declares; their names are where they listen."""
    both = Site("127.0.0.1"), Site("127.0.0.1")
    servers = [site.serving() for site in both]
    threads = [Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for site, server, thread in zip(both, servers, threads, strict=True):
        site.name = f"127.0.0.1:{server.server_port}"
        thread.start()
    yield both
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def ask(url: str, auth: httpx.Auth, method: str = "GET") -> httpx.Response:
    with httpx.Client(auth=auth, follow_redirects=True, trust_env=False) as client:
        return client.request(method, url)


def ask_async(url: str, auth: httpx.Auth, method: str = "GET") -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(auth=auth, follow_redirects=True, trust_env=False) as client:
            return await client.request(method, url)

    return asyncio.run(asked())


def answering(seen: list[httpx.Request], *locations: str) -> httpx.MockTransport:
    """Return a network that remembers its requests, and redirects the first ones."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(as_sent(request))
        if len(seen) > len(locations):
            return httpx.Response(200)
        return httpx.Response(302, headers={"location": locations[len(seen) - 1]})

    return httpx.MockTransport(answer)


def holder(lease: Lease | None = None) -> Caller:
    return caller(_lease=lease or Lease(RAW))


@pytest.mark.parametrize("asked", [ask, ask_async])
def test_a_declared_host_gets_the_token_of_the_caller_in_scope(
    sites: tuple[Site, Site], asked: Callable[..., httpx.Response]
) -> None:
    """A sync and an async client send it, each request with the caller of its own moment."""
    declared, _ = sites
    auth = CallerAuth([f"http://{declared.name}"])
    other = token(sub="bob")
    for raw in (RAW, other):
        with acting(Lease(raw)):
            assert asked(f"http://{declared.name}/", auth).status_code == 200
    assert declared.seen == [(declared.name, f"Bearer {raw}") for raw in (RAW, other)]


@pytest.mark.parametrize("asked", [ask, ask_async])
def test_a_host_that_was_not_declared_is_not_asked(
    sites: tuple[Site, Site], asked: Callable[..., httpx.Response]
) -> None:
    """Nothing is sent, and the error names the host and what to declare, and no more of the URL."""
    declared, other = sites
    auth = CallerAuth([f"http://{declared.name}"], caller=holder())
    with pytest.raises(CallerError) as refused:
        asked(f"http://user:s3cret@{other.name}/path?key=s3cret", auth)
    assert str(refused.value) == (
        f"the caller's token may not go to http://{other.name}: nothing was sent. Declare it, "
        f"CallerAuth(hosts=['http://{other.name}', ...]), or send the request without: auth=None"
    )
    assert other.seen == []


def test_a_request_that_says_so_goes_without(sites: tuple[Site, Site]) -> None:
    """``auth=None`` asks any host, and sends nobody's token."""
    declared, other = sites
    auth = CallerAuth([f"http://{declared.name}"], caller=holder())
    with httpx.Client(auth=auth, trust_env=False) as client:
        for site in sites:
            client.get(f"http://{site.name}/", auth=None)
    assert declared.seen + other.seen == [(declared.name, None), (other.name, None)]


@pytest.mark.parametrize("asked", [ask, ask_async])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://{other}/second",
        "//{other}/second",
        "http://{declared}@{other}/second",
        "http://{declared}:x@{other}/second",
        "http://{declared}\\@{other}/second",
        "\\\\{other}/second",
        "HTTP://{other}/second",
        "http://localhost:{port}/second",
        "http://127.0.0.1.:{port}/second",
        "http://2130706433:{port}/second",
    ],
)
def test_a_redirect_takes_the_token_to_no_other_host(
    sites: tuple[Site, Site], asked: Callable[..., httpx.Response], status: int, location: str
) -> None:
    """Wherever a declared host sends the client, however it is spelled, the token stays behind."""
    declared, other = sites
    port = declared.name.rpartition(":")[2]
    declared.status = status
    declared.location = location.format(declared=declared.name, other=other.name, port=port)
    auth = CallerAuth([f"http://{declared.name}"], caller=holder())
    with suppress(httpx.HTTPError):  # no such host, or no URL that httpx takes
        asked(f"http://{declared.name}/first", auth, "POST")
    first, *later = declared.seen + other.seen
    assert first == (declared.name, BEARER)
    assert [host for host, bearer in later if bearer is not None and host != declared.name] == []
    assert all(bearer is None for _, bearer in other.seen)


def test_a_redirect_on_the_same_host_keeps_the_token(sites: tuple[Site, Site]) -> None:
    """It is still the host that was declared."""
    declared, _ = sites
    declared.status, declared.location = 302, "/second"
    ask(f"http://{declared.name}/first", CallerAuth([f"http://{declared.name}"], caller=holder()))
    assert declared.seen == [(declared.name, BEARER)] * 2


def test_there_and_back_is_without_the_token(sites: tuple[Site, Site]) -> None:
    """What comes back to a declared host by way of another one is no longer the caller's."""
    declared, other = sites
    declared.status, declared.location = 302, f"http://{other.name}/first"
    other.status, other.location = 302, f"http://{declared.name}/second"
    ask(f"http://{declared.name}/first", CallerAuth([f"http://{declared.name}"], caller=holder()))
    assert other.seen == [(other.name, None)]
    assert declared.seen == [(declared.name, BEARER), (declared.name, None)]


def test_a_redirect_that_is_followed_by_hand(sites: tuple[Site, Site]) -> None:
    """The next request is asked about anew by the client's auth, and bare without one."""
    declared, other = sites
    declared.status, declared.location = 302, f"http://{other.name}/second"
    auth = CallerAuth([f"http://{declared.name}"], caller=holder())
    with httpx.Client(auth=auth, trust_env=False) as client:
        following = client.get(f"http://{declared.name}/first").next_request
        assert following is not None
        with pytest.raises(CallerError, match="may not go to"):
            client.send(following)
    assert other.seen == []
    with httpx.Client(trust_env=False) as client:
        following = client.get(f"http://{declared.name}/first", auth=auth).next_request
        assert following is not None
        client.send(following)
    assert other.seen == [(other.name, None)]


def setting_cookies(seen: list[httpx.Request]) -> httpx.MockTransport:
    """Return a network that gives everybody a session, and redirects what asks for /first."""

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(as_sent(request))
        status = 302 if request.url.path == "/first" else 200
        return httpx.Response(status, headers={"set-cookie": "sid=ann", "location": "/second"})

    return httpx.MockTransport(answer)


async def test_no_cookie_goes_beside_a_callers_token() -> None:
    """What a service set for one caller is not sent with the next one's, by hand or followed."""
    seen: list[httpx.Request] = []
    auth = CallerAuth(["https://stock.example"], caller=holder())

    def in_sync() -> None:
        with httpx.Client(transport=setting_cookies(seen), auth=auth) as client:
            client.get("https://stock.example/")
            following = client.get("https://stock.example/first").next_request
            assert following is not None
            client.send(following)

    in_sync()
    async with httpx.AsyncClient(transport=setting_cookies(seen), auth=auth) as stock:
        await stock.get("https://stock.example/", headers={"cookie": "sid=eve"})
        await stock.get("https://stock.example/")
    assert [request.headers["authorization"] for request in seen] == [BEARER] * 5
    assert [request.headers.get("cookie") for request in seen] == [None] * 5


async def test_the_token_leaves_a_request_with_its_answer() -> None:
    """What is left of a request, answered or failed, bears none: sent again, it goes without."""
    seen: list[httpx.Request] = []
    auth = CallerAuth(["https://stock.example"], caller=holder())
    async with httpx.AsyncClient(transport=setting_cookies(seen), auth=auth) as stock:
        answer = await stock.get("https://stock.example/first")
        followed = await stock.get("https://stock.example/first", follow_redirects=True)
    left = [answer.request, answer.next_request, followed.request, followed.history[0].request]

    async def failing(request: httpx.Request) -> httpx.Response:
        left.append(request)
        raise httpx.ReadError("gone")

    async def hanging(request: httpx.Request) -> httpx.Response:
        left.append(request)
        return await asyncio.Event().wait() and httpx.Response(200)

    for network in failing, hanging:
        async with httpx.AsyncClient(transport=httpx.MockTransport(network), auth=auth) as stock:
            with pytest.raises((httpx.ReadError, TimeoutError)):
                async with asyncio.timeout(0.01):
                    await stock.get("https://stock.example/")
    assert ["authorization" in each.headers for each in left if each] == [False] * 6


def test_a_redirect_sent_by_hand_asks_the_lease_anew() -> None:
    """Where their handler has ended meanwhile, it is not sent."""
    seen: list[httpx.Request] = []
    lease = Lease(RAW)
    auth = CallerAuth(["https://stock.example"], caller=holder(lease))
    with httpx.Client(transport=setting_cookies(seen), auth=auth) as client:
        following = client.get("https://stock.example/first").next_request
        assert following is not None
        lease.end()
        with pytest.raises(CallerError, match="has ended"):
            client.send(following)
    assert len(seen) == 1


def test_an_upgrade_to_https_is_declared() -> None:
    """From port 80 a token goes along to the same host's https: that is declared as well."""
    seen: list[httpx.Request] = []
    both = ["http://localhost", "https://localhost"]
    network = answering(seen, "https://localhost/second")
    with httpx.Client(transport=network, follow_redirects=True) as client:
        client.get("http://localhost/first", auth=CallerAuth(both, caller=holder()))
    assert [request.headers.get("authorization") for request in seen] == [BEARER, BEARER]
    for host in ("http://localhost", "http://localhost:80"):
        with pytest.raises(ConfigurationError, match="declare https://localhost as well"):
            CallerAuth([host])


@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ("https://stock.example", "https://STOCK.example:443/a"),
        ("https://Stock.example:443/", "https://stock.example"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example/"),
        ("http://[::1]:8000", "http://[::1]:8000/a"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_one_origin_has_several_spellings(declared: str, asked: str) -> None:
    """Case, a default port and the way that a name is encoded make no other host."""
    seen: list[httpx.Request] = []
    with httpx.Client(transport=answering(seen)) as client:
        client.get(asked, auth=CallerAuth([declared], caller=holder()))
    assert [request.headers["authorization"] for request in seen] == [BEARER]


@pytest.mark.parametrize(
    "asked",
    [
        "http://stock.example",
        "https://stock.example:8443",
        "https://stock.example:0",
        "https://stock.example.",
        "https://api.stock.example",
        "https://stock.example.evil",
        "https://stock.example@evil",
    ],
)
def test_another_scheme_host_or_port_is_another_host(asked: str) -> None:
    """What was declared is compared exactly."""
    seen: list[httpx.Request] = []
    auth = CallerAuth(["https://stock.example"], caller=holder())
    with (
        httpx.Client(transport=answering(seen), auth=auth) as client,
        pytest.raises(CallerError, match="may not go to"),
    ):
        client.get(asked)
    assert seen == []


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("http://stock.example", "expected https"),
        ("ftp://stock.example", "expected https"),
        ("stock.example", "got 'stock.example'"),
        ("https://", "got 'https://'"),
        ("https://stock.example/api", "scheme, host and port alone"),
        ("https://stock.example?a=b", "scheme, host and port alone"),
        ("https://ann:s3cret@stock.example", "got one with a user"),
        ("https://stock.example:x", "Invalid port"),
        ("https://stock.example ", "scheme, host and port alone"),
        ("https://stock.example?", "scheme, host and port alone"),
        ("https://stock.example/#", "scheme, host and port alone"),
        ("https://@stock.example", "got one with a user"),
        ("https://stock.example:0", "scheme, host and port alone"),
        ("https://stock.example:99999", "scheme, host and port alone"),
        ("//stock.example/", "got '//stock.example/'"),
    ],
)
def test_what_is_no_https_origin_is_not_declared(host: str, told: str) -> None:
    """It is told where it is declared, and a password in it is not."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        CallerAuth([host])
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("asked", ["//stock.example/", "/reservations", "ftp://stock.example/"])
def test_what_is_no_whole_url_is_told(asked: str) -> None:
    """It names what to ask instead, and declares nothing that cannot be declared."""
    auth = CallerAuth(["https://stock.example"], caller=holder())
    with (
        httpx.Client(transport=answering([]), auth=auth) as client,
        pytest.raises(CallerError, match="goes with http and https alone"),
    ):
        client.get(asked)


def test_somebody_is_declared() -> None:
    """An auth for nobody is a mistake; a lone string is one host; plain http is said out loud."""
    with pytest.raises(ConfigurationError, match="hosts="):
        CallerAuth([])
    assert repr(CallerAuth("https://stock.example")) == "<CallerAuth for https://stock.example>"
    CallerAuth(["http://stock:8000"], unsafe_http=["stock"])


def test_without_a_caller_nothing_is_sent() -> None:
    """Nobody in scope, a lease that has ended, and a caller without a token are errors."""
    seen: list[httpx.Request] = []
    ended = Lease(RAW)
    ended.end()
    hosts = ["https://stock.example"]
    with httpx.Client(transport=answering(seen), auth=CallerAuth(hosts)) as client:
        with pytest.raises(CallerError, match="no caller is in scope"):
            client.get("https://stock.example")
        with acting(ended), pytest.raises(CallerError, match="their handler has ended"):
            client.get("https://stock.example")
        for one, told in ((holder(ended), "has ended"), (caller(), "carries no token")):
            with pytest.raises(CallerError, match=told):
                client.get("https://stock.example", auth=CallerAuth(hosts, caller=one))
    assert seen == []


def test_who_was_left_with_less_is_not_sent_on() -> None:
    """A token that allows more than its late caller was left with stays here."""
    seen: list[httpx.Request] = []
    late = caller(late=Late(NOW, 60, "Restrict", NOW + 60, restricted=True))
    late = replace(late, _lease=lease_for(late, RAW))
    hosts = ["https://stock.example"]
    assert late._lease is not None
    with (
        httpx.Client(transport=answering(seen), auth=CallerAuth(hosts)) as client,
        acting(late._lease),
    ):
        for auth in (CallerAuth(hosts), CallerAuth(hosts, caller=late)):
            with pytest.raises(CallerError, match="less authority than it carries"):
                client.get("https://stock.example", auth=auth)
    assert seen == []


async def test_each_task_sends_its_own() -> None:
    """Requests at once through one client are each of their own caller."""
    seen: list[httpx.Request] = []
    auth = CallerAuth(["https://stock.example"])
    async with httpx.AsyncClient(transport=answering(seen), auth=auth) as client:

        async def handler(name: str) -> None:
            with acting(Lease(token(sub=name))):
                await client.get(f"https://stock.example/{name}")

        await asyncio.gather(*(handler(f"caller-{number}") for number in range(20)))
    assert {request.url.path[1:]: request.headers["authorization"] for request in seen} == {
        f"caller-{number}": f"Bearer {token(sub=f'caller-{number}')}" for number in range(20)
    }


def test_a_token_is_never_shown(sites: tuple[Site, Site], caplog: pytest.LogCaptureFixture) -> None:
    """Neither the auth, nor what failed, nor a log at DEBUG prints it, and no lease is pickled."""
    declared, _ = sites
    auth = CallerAuth([f"http://{declared.name}"], caller=holder())
    with caplog.at_level(logging.DEBUG):
        response = ask(f"http://{declared.name}/", auth)
        with pytest.raises(CallerError) as refused:
            ask("http://127.0.0.1:1/", auth)
    shown = [auth, auth.__dict__, response.request, response.request.headers, refused.value]
    assert RAW not in f"{caplog.text} {shown!r} {refused.getrepr(showlocals=True)}"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(auth)


@dataclass
class Narrowing:
    """Gives another token for each, or says why not."""

    fault: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def token_for(self, subject: Subject) -> str:
        self.asked.append(subject.token)
        if self.fault is not None:
            raise self.fault
        return "narrow"


class Giving:
    """Gives what it was made with, which need be no token."""

    def __init__(self, given: Any) -> None:
        self._given = given

    async def token_for(self, _subject: Subject) -> str:
        return cast("str", self._given)


class Unasked:
    """Gives nothing, as nobody asks."""

    issuer = "https://idp.example"

    async def exchange(self, _subject: Subject, _request: ExchangeRequest) -> Exchanged:
        raise AssertionError


def test_another_token_goes_in_place_of_the_callers(sites: tuple[Site, Site]) -> None:
    """Each request carries what was had for it; the caller's own goes where that is said."""
    declared, other = sites
    onward, at = Narrowing(), f"http://{declared.name}"
    lease = Lease(RAW, caller=caller())
    with acting(lease):
        ask_async(f"{at}/", CallerAuth([at], onward=onward))
        ask(f"{at}/", CallerAuth([at], onward=FORWARDED))
        ask_async(f"{at}/", CallerAuth([at], onward=onward, caller=holder(lease)))
        with pytest.raises(CallerError, match="may not go to"):
            ask_async(f"http://{other.name}/", CallerAuth([at], onward=onward))
    narrow = (declared.name, "Bearer narrow")
    assert declared.seen == [narrow, (declared.name, BEARER), narrow]
    assert onward.asked == [RAW, RAW]


def test_a_voucher_goes_to_nobody(sites: tuple[Site, Site]) -> None:
    """Declared, or by whatever wraps it, or nothing at all in its place: nothing is sent."""
    declared, _ = sites
    at = f"http://{declared.name}"
    with pytest.raises(ConfigurationError, match="a voucher waits with a message"):
        CallerAuth([at], onward=Voucher(Unasked(), audience="later"))
    for given in (token(typ="voucher+jwt"), "", None):
        with acting(Lease(RAW, caller=caller())), pytest.raises(ConfigurationError):
            ask_async(f"{at}/", CallerAuth([at], onward=Giving(given)))
    assert declared.seen == []


def test_a_transaction_token_that_goes_on_has_its_own_header() -> None:
    """Whoever gives it: never `Authorization`."""
    raw, seen = token(typ="txntoken+jwt"), list[tuple[bytes, bytes]]()
    auth = CallerAuth(["https://stock.example"], onward=Giving(raw))

    def answer(request: httpx.Request) -> httpx.Response:
        seen.extend((name.lower(), value) for name, value in request.headers.raw)
        return httpx.Response(200)

    async def asked() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=auth) as client:
            await client.get("https://stock.example/")

    with acting(Lease(RAW, caller=caller())):
        asyncio.run(asked())
    assert (b"txn-token", raw.encode()) in seen
    assert b"authorization" not in dict(seen)


def test_a_sync_client_cannot_have_another_token(sites: tuple[Site, Site]) -> None:
    """It says so, and sends nothing: not the caller's own either."""
    declared, _ = sites
    at = f"http://{declared.name}"
    with acting(Lease(RAW, caller=caller())), pytest.raises(CallerError, match="AsyncClient"):
        ask(f"{at}/", CallerAuth([at], onward=Narrowing()))
    assert declared.seen == []


@pytest.mark.parametrize("is_revoked", [False, True], ids=["no answer", "revoked"])
def test_what_cannot_be_had_is_not_replaced_by_the_callers(
    sites: tuple[Site, Site], *, is_revoked: bool
) -> None:
    """Nothing is sent, and what is raised is marked for who runs the handler."""
    declared, _ = sites
    at, onward = f"http://{declared.name}", Narrowing(ConnectionError("no route"))

    def standing(_caller: Caller) -> None:
        if is_revoked:
            raise Untimely("token.revoked")

    with (
        acting(Lease(RAW, caller=caller(), standing=standing)),
        pytest.raises(Untimely if is_revoked else Deferred) as raised,
    ):
        ask_async(f"{at}/", CallerAuth([at], onward=onward))
    error: BusauthError = raised.value
    assert isinstance(error, Untimely | Deferred)
    assert error.onward
    assert (declared.seen, onward.asked) == ([], [] if is_revoked else [RAW])
