"""The test kit's issuer over HTTP: its documents, and its faults on demand."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from busauth import JWKS, Verifier, Verifiers
from busauth.errors import Deferred
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.testing.issuer import Request, Response
from busauth.tokens import Fetcher
from tests.unit.issuer_fronts import FRONTS, Idp, asking, make_issuer
from tests.unit.support import NOW, proven_by

JWKS_PATH = "/jwks.json"
OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


@pytest.fixture(params=FRONTS)
async def idp(request: pytest.FixtureRequest) -> AsyncIterator[Idp]:
    async with asking(request.param, make_issuer()) as idp:
        yield idp


@pytest.mark.parametrize("path", [OPENID, OAUTH])
async def test_discovery_names_every_endpoint(path: str, idp: Idp) -> None:
    """Keys, exchange, introspection and revocation are where the metadata says."""
    answer = await idp.get(path)
    found = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert found == idp.issuer.metadata()
    assert found["issuer"] == idp.issuer.url
    endpoints = [name for name in found if name.endswith(("_endpoint", "_uri"))]
    assert len(endpoints) == 4
    for name in endpoints:
        at = found[name].removeprefix(idp.issuer.url)
        expected = 200 if name == "jwks_uri" else 405
        assert (await idp.get(at)).status_code == expected
    for name in ("token", "introspection", "revocation"):
        methods = found[f"{name}_endpoint_auth_methods_supported"]
        assert methods == ["client_secret_basic", "client_secret_post"]


def test_the_metadata_can_be_made_to_lie() -> None:
    """Members are replaced, or taken away with None."""
    found = make_issuer().metadata(issuer="https://evil.test", jwks_uri=None)
    assert found["issuer"] == "https://evil.test"
    assert "jwks_uri" not in found


@pytest.mark.parametrize("kind", FRONTS)
async def test_an_issuer_may_have_a_path(kind: str) -> None:
    """OpenID appends the well-known path, RFC 8414 inserts it; the rest is under the issuer's."""
    issuer = make_issuer(url="http://127.0.0.1/realms/shop")
    async with asking(kind, issuer, url=issuer.url) as idp:
        root = "http://127.0.0.1"
        if isinstance(idp.front, IssuerServer):
            root = f"http://127.0.0.1:{idp.front.port}"

        async def status(path: str) -> int:
            return (await idp.http.get(f"{root}{path}")).status_code

        assert await status(f"/realms/shop{OPENID}") == 200
        assert await status(f"{OAUTH}/realms/shop") == 200
        assert await status("/realms/shop/jwks.json") == 200
        assert await status("/healthz") == 200
        assert await status("/realms/shop/introspect") == 405
        for path in (OPENID, OAUTH, JWKS_PATH, "/introspect", "/realms/jwks.json"):
            assert await status(path) == 404


async def test_a_slash_at_the_end_is_part_of_the_name_only() -> None:
    """The issuer's name keeps its slash; no endpoint has two."""
    issuer = make_issuer(url="https://issuer.test/")
    assert issuer.metadata()["issuer"] == "https://issuer.test/"
    assert issuer.metadata()["jwks_uri"] == "https://issuer.test/jwks.json"
    async with asking("in process", issuer) as idp:
        assert (await idp.http.get("https://issuer.test/jwks.json")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_documents_are_only_read(method: str, idp: Idp) -> None:
    """Another method is told which one there is."""
    answer = await idp.http.request(method, f"{idp.issuer.url}{JWKS_PATH}")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_endpoints_are_only_posted_to(idp: Idp) -> None:
    """No token stands in a URL: GET is refused."""
    answer = await idp.get("/introspect?token=x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_what_was_asked_is_remembered(idp: Idp) -> None:
    """Targets in order, and each request whole, which prints nothing of its secrets."""
    await idp.get(f"{JWKS_PATH}?x=1")
    await idp.post("/introspect", {"token": "opaque"})
    assert idp.front.requests == [f"{JWKS_PATH}?x=1", "/introspect"]
    asked = idp.front.received[1]
    assert (asked.method, asked.path, asked.body) == ("POST", "/introspect", b"token=opaque")
    assert asked.headers["authorization"] == idp.issuer.client.basic()
    assert repr(asked) == "Request(method='POST', target='/introspect')"


async def test_down_is_a_503_for_everything(idp: Idp) -> None:
    """Documents and endpoints alike are unavailable, until they are not."""
    idp.front.down = True
    assert (await idp.get(JWKS_PATH)).status_code == 503
    assert (await idp.post("/introspect", {"token": "x"})).status_code == 503
    idp.front.down = False
    assert (await idp.get(JWKS_PATH)).status_code == 200


async def test_a_reply_stands_in_for_a_path(idp: Idp) -> None:
    """Status and body, or a whole response, are given for one path, query or not."""
    idp.front.replies[JWKS_PATH] = (418, b"tea")
    idp.front.replies["/token"] = Response(302, {"Location": "/elsewhere"}, b"")
    for path in (JWKS_PATH, f"{JWKS_PATH}?x=1"):
        answer = await idp.get(path)
        assert (answer.status_code, answer.text) == (418, "tea")
        assert answer.headers["content-type"] == "application/json"
    moved = await idp.post("/token", {})
    assert (moved.status_code, moved.headers["location"]) == (302, "/elsewhere")
    assert (await idp.get(OPENID)).status_code == 200


async def test_a_broken_connection_gives_no_answer(idp: Idp) -> None:
    """The request arrives, nothing comes back, and the next one is answered again."""
    idp.front.broken = True
    with pytest.raises(httpx.RemoteProtocolError):
        await idp.get(JWKS_PATH)
    with pytest.raises(httpx.RemoteProtocolError):
        await idp.post("/introspect", {"token": "x"})
    idp.front.broken = False
    assert (await idp.get(JWKS_PATH)).status_code == 200
    assert len(idp.front.requests) == 3


async def test_a_fetcher_defers_what_is_wrong(idp: Idp) -> None:
    """Busauth's own fetcher meets every fault as a transient one, through either front."""
    transport = idp.front if isinstance(idp.front, httpx.AsyncBaseTransport) else None
    fetcher = Fetcher(transport=transport)
    url = f"{idp.issuer.url}{JWKS_PATH}"
    assert await fetcher.get_object(url) == idp.issuer.jwks()
    idp.front.down = True
    with pytest.raises(Deferred, match="status 503"):
        await fetcher.get_object(url)
    idp.front.down, idp.front.broken = False, True
    with pytest.raises(Deferred, match="out of reach"):
        await fetcher.get_object(url)
    idp.front.broken = False
    idp.front.replies[JWKS_PATH] = (200, b"<html>")
    with pytest.raises(Deferred, match="answers, and not with a JSON object"):
        await fetcher.get_object(url)


async def test_keys_are_discovered_through_either_front(idp: Idp) -> None:
    """A verifier finds its keys by discovery, and finds new ones after a rotation."""
    clock = idp.issuer.clock
    assert isinstance(clock, ManualClock)
    transport = idp.front if isinstance(idp.front, httpx.AsyncBaseTransport) else None
    keys = JWKS.discover(idp.issuer.url, clock=clock, fetcher=Fetcher(transport=transport))
    verifiers = Verifiers(Verifier(keys, issuer=idp.issuer.url, audience="shop"))
    assert (await proven_by(verifiers, idp.issuer.token())).caller.subject == "alice"
    idp.issuer.rotate(retire=True)
    await clock.advance(10)
    assert (await proven_by(verifiers, idp.issuer.token("bob"))).caller.subject == "bob"
    assert idp.front.requests == [OPENID, JWKS_PATH, JWKS_PATH]


async def test_in_process_a_delay_is_on_the_issuers_clock() -> None:
    """Who asks waits until the clock was advanced, and not a moment of real time."""
    clock = ManualClock(NOW)
    issuer = make_issuer(clock=clock)
    transport = issuer.transport()
    transport.delay = 4.0
    async with httpx.AsyncClient(transport=transport) as http:
        task = asyncio.ensure_future(http.get(f"{issuer.url}{JWKS_PATH}"))
        await clock.advance(3.9)
        assert transport.requests == [JWKS_PATH]
        assert not task.done()
        await clock.advance(0.1)
        assert (await task).json() == issuer.jwks()


async def test_in_process_patience_is_on_the_issuers_clock() -> None:
    """A client gives up when its timeout has passed there; without one it waits."""
    clock = ManualClock(NOW)
    issuer = make_issuer(clock=clock)
    transport = issuer.transport()
    transport.delay = 60.0
    patient = httpx.AsyncClient(transport=transport, timeout=None)
    hasty = httpx.AsyncClient(transport=transport, timeout=5.0)
    async with patient, hasty:
        waits = asyncio.ensure_future(patient.get(f"{issuer.url}{JWKS_PATH}"))
        leaves = asyncio.ensure_future(hasty.get(f"{issuer.url}{JWKS_PATH}"))
        await clock.advance(5)
        with pytest.raises(httpx.ReadTimeout, match="5 s"):
            await leaves
        assert not waits.done()
        await clock.advance(55)
        assert (await waits).status_code == 200


async def test_in_process_other_hosts_are_out_of_reach() -> None:
    """A transport answers for its issuer's scheme, host and port, and for nobody else's."""
    issuer = make_issuer()
    async with httpx.AsyncClient(transport=issuer.transport()) as http:
        assert (await http.get("https://issuer.test:443/jwks.json")).status_code == 200
        for url in ("https://evil.test/", "http://issuer.test/", "https://issuer.test:8443/"):
            with pytest.raises(httpx.ConnectError, match="issuer"):
                await http.get(url)


async def test_each_transport_has_faults_of_its_own() -> None:
    """One client may find the issuer down while another does not."""
    issuer = make_issuer()
    down, up = issuer.transport(), issuer.transport()
    down.down = True
    for transport, expected in ((down, 503), (up, 200)):
        async with httpx.AsyncClient(transport=transport) as http:
            assert (await http.get(f"{issuer.url}{JWKS_PATH}")).status_code == expected
    assert (len(down.requests), len(up.requests)) == (1, 1)


def test_a_delayed_server_stops_at_once() -> None:
    """Whoever waits for a slow answer does not hold the server up."""
    with (
        IssuerServer(make_issuer()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        server.delay = 3600.0
        client.sendall(b"GET /jwks.json HTTP/1.0\r\n\r\n")
        deadline = time.monotonic() + 5
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.001)
        began = time.monotonic()
    assert server.requests == [JWKS_PATH]
    assert time.monotonic() - began < 5


def test_a_server_answers_many_at_once() -> None:
    """Threads mint, rotate and ask at the same time, and every token counts at once."""
    issuer = make_issuer()

    def ask(number: int) -> bool:
        if number % 5 == 0:
            issuer.rotate()
        form = {"token": issuer.token(), **issuer.client.post()}
        return bool(http.post(f"{issuer.url}/introspect", data=form).json()["active"])

    with (
        IssuerServer(issuer) as server,
        httpx.Client(trust_env=False) as http,
        ThreadPoolExecutor(16) as threads,
    ):
        assert all(threads.map(ask, range(100)))
    assert len(server.requests) == 100


@pytest.mark.parametrize("length", ["-5", "", "9" * 5000], ids=len)
def test_a_length_that_is_none_is_no_body(length: str) -> None:
    """A request whose length cannot be read is answered all the same."""
    with (
        IssuerServer(make_issuer()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(f"POST /token HTTP/1.0\r\nContent-Length: {length}\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        client.settimeout(5)
        assert client.recv(100).startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize(
    "said", [b"", b"POST /to", b"POST /token HTTP/1.0\r\nContent-Length: 5\r\n\r\na"]
)
def test_who_says_nothing_more_is_hung_up_on(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection has a thread, and none is there for good."""
    monkeypatch.setattr("busauth.testing.issuer.server._PATIENCE_SECONDS", 0.1)
    with (
        IssuerServer(make_issuer()) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(said)
        client.settimeout(5)
        assert client.recv(100) == b""


def test_the_core_needs_no_front() -> None:
    """A request as a value is answered with a response as a value."""
    issuer: Issuer = make_issuer()
    answer = issuer.answer(Request("GET", "/healthz"))
    assert (answer.status, answer.body) == (200, b"{}")
    assert issuer.answer(Request("GET", "/nowhere")).status == 404
