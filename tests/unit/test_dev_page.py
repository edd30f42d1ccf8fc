"""What `busauth dev` answers over HTTP, and to whom."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth._tokens.fetch import is_loopback
from busauth._tokens.keys.development import is_for_development
from busauth.audit import Event, EventKind
from busauth.cli.dev.rows import BrokerRows, decided, note
from busauth.cli.dev.stage import tokens_taken
from busauth.cli.dev.timeline import Timeline
from busauth.cli.dev.web.gate import why_not
from busauth.cli.dev.web.routes import DevIssuer
from busauth.testing import Request, Response, SigningKey
from busauth.testing.broker.model.journal import Record
from busauth.testing.broker.model.journal import Step as BrokerStep
from busauth.testing.broker.model.message import Message
from busauth.testing.broker.model.words import properties

PORT = 7600
OWN = {"host": f"127.0.0.1:{PORT}"}
JSON = {**OWN, "content-type": "application/json"}
PATHS = ["/", "/page.js", "/timeline", "/mint", "/publish/q", "/busauth-dev/jwks.json"]


def make_issuer() -> DevIssuer:
    """Return an issuer as it is once a bus has been imported."""
    issuer = DevIssuer(Timeline(lambda _: None))
    issuer.url = f"http://127.0.0.1:{PORT}/busauth-dev"
    issuer.bus = "Bus of 'shop'"
    issuer.edge = lambda _: Response(202)
    return issuer


def mint(given: Any, headers: dict[str, str] = JSON) -> Response:
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    return make_issuer().answer(Request("POST", "/mint", headers, body))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "rebound.example"},
        {"host": f"rebound.example:{PORT}"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:80"},
        {"host": f"127.0.0.1.example:{PORT}"},
        {"host": f"localhost:{PORT}, rebound.example"},
        {**OWN, "origin": "https://foreign.example"},
        {**OWN, "origin": "http://127.0.0.1:8000"},
        {**OWN, "origin": f"https://127.0.0.1:{PORT}"},
        {**OWN, "origin": f"http://localhost:{PORT}"},
        {**OWN, "origin": "null"},
        {**OWN, "origin": ""},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", PATHS)
def test_pages_of_others(path: str, method: str, headers: dict[str, str]) -> None:
    """A foreign page gets nothing: neither by a host's name of its own nor by its origin."""
    asked = {"content-type": "application/json", **headers}
    answer = make_issuer().answer(Request(method, path, asked, b'{"subject": "alice"}'))
    assert answer.status == 403
    assert b"access_token" not in answer.body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1:80"])
def test_port_that_nobody_names(host: str) -> None:
    """At HTTP's own port clients leave it out, and a rebound name is another one all the same."""
    own = {"host": host, "origin": f"http://{host}"}
    assert why_not(Request("POST", "/mint", own), 80) is None
    assert why_not(Request("POST", "/mint", {"host": "rebound.example"}), 80)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "unknown"])
def test_sites_of_others(site: str) -> None:
    """What a browser says of a request counts as well; only a link may lead to the page."""
    told = {**OWN, "sec-fetch-site": site}
    assert [why_not(Request("GET", path, told), PORT) is None for path in PATHS] == [
        path == "/" for path in PATHS
    ]
    assert why_not(Request("POST", "/", told), PORT)


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_only_its_own_names(host: str, origin: str | None, site: str | None) -> None:
    """Whatever is answered was sent to this server, from no page or from its own."""
    told = {"origin": origin, "sec-fetch-site": site}
    headers = {"host": host} | {name: value for name, value in told.items() if value is not None}
    if why_not(Request("POST", "/mint", headers), PORT) is None:
        assert host in (f"127.0.0.1:{PORT}", f"localhost:{PORT}")
        assert origin in (None, f"http://{host}")
        assert site in (None, "same-origin", "none")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_own_page_mints(name: str) -> None:
    """The server's own page may mint, and so may a program, which has no origin."""
    for origin in ({}, {"origin": f"http://{name}:{PORT}", "sec-fetch-site": "same-origin"}):
        wanted = {"subject": "alice", "scope": "a b", "lifetime": 5, "claims": {"roles": ["r"]}}
        answer = mint(wanted, {**JSON, "host": f"{name}:{PORT}", **origin})
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        said = json.loads(answer.body)
        assert (said["expires_in"], said["scope"]) == (5, "a b")


@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""]
)
def test_forms_mint_nothing(media_type: str) -> None:
    """What a page can send without being asked for permission is no request for a token."""
    answer = mint({"subject": "alice"}, {**OWN, "content-type": media_type})
    assert answer.status == 415


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (b"{", "the body"),
        (b"\xff", "the body"),
        ([], "the body"),
        ({}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "alice", "lifetime": 0}, "lifetime"),
        ({"subject": "alice", "lifetime": 1e9}, "lifetime"),
        ({"subject": "alice", "claims": {"iss": "https://idp.example"}}, "claims"),
        ({"subject": "alice", "claims": {"exp": 1}}, "claims"),
        ({"subject": "alice", "header": {}}, "header"),
    ],
)
def test_what_is_no_token(wanted: Any, said: str) -> None:
    """A wish that cannot be granted is told by the member's name; its name is the issuer's own."""
    answer = mint(wanted)
    assert answer.status == 400
    assert json.loads(answer.body)["error_description"].startswith(said)


@pytest.mark.parametrize("path", PATHS)
def test_headers_of_every_answer(path: str) -> None:
    """Every answer forbids foreign scripts, frames, sniffing and keeping."""
    headers = make_issuer().answer(Request("GET", path, OWN)).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_page_is_whole() -> None:
    """The page needs nothing from elsewhere, has no script or style in it, and stores nothing."""
    issuer = make_issuer()
    page, style, script = (
        issuer.answer(Request("GET", path, OWN)).body.decode()
        for path in ("/", "/page.css", "/page.js")
    )
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", page) == ["/page.css", "/page.js"]
    assert "://" not in page + style + script
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page)
    assert not re.search(r"innerHTML|localStorage|sessionStorage|cookie|eval\(", script)


def test_known_by_its_name() -> None:
    """Its name and its metadata say what it is for, wherever it listens; others' do not."""
    issuer = make_issuer()
    assert is_for_development(issuer.url)
    path = "/.well-known/oauth-authorization-server/busauth-dev"
    told = json.loads(issuer.answer(Request("GET", path, OWN)).body)
    assert told["issuer"] == issuer.url
    assert told["busauth_development"] is True
    assert is_for_development("https://tunnel.example/busauth-dev/")
    for other in ("https://idp.example", "https://idp.example/realms/dev", "", "https://["):
        assert not is_for_development(other)


@given(st.ip_addresses())
def test_addresses_of_this_machine(address: Any) -> None:
    """An address is this machine's where it is loopback; a name that begins like one is not."""
    assert is_loopback(str(address)) == address.is_loopback
    assert not is_loopback(f"{address}.example")


async def test_order_of_rows() -> None:
    """Rows are shown in the order in which things happened; of a flood, the terminal gets some."""
    shown: list[str] = []
    timeline = Timeline(lambda row: shown.append(row.what))
    for at in (3, 1, 2):
        timeline.add(note(str(at), at))
    timeline.settle()
    assert shown == [row.what for _, row in timeline.after(0)] == ["1", "2", "3"]
    for at in range(150):
        timeline.add(note("more", at))
    timeline.settle()
    assert (len(shown), shown[-1]) == (3 + 100 + 1, "50 more rows; the page has the latest")
    assert len(timeline.after(3)) == 150


@pytest.mark.prints_tokens("an event of a test's own making")
def test_no_token_in_a_row() -> None:
    """What a sender chose shows no token, and steers no terminal."""
    token, escape = make_issuer().token(), "\x1b[2J"
    chosen = escape + token
    message = Message("", chosen, properties.join({}, 0), b"")
    event = Event(kind=EventKind.REFUSED, queue=chosen, at=0, message_id=token, detail=chosen)
    for row in BrokerRows().row(Record(0, BrokerStep.PUBLISHED, message)), decided(event):
        assert row is not None
        assert f"{row.message}{row.queue}{row.who}{row.why}".isprintable()
        assert not any(part in str(row) for part in token.split("."))


def told(audience: str, algorithms: str = "RS256 ES256") -> dict[str, Any]:
    """Return what a bus tells of itself."""
    names = {"audience": audience.split(), "algorithms": algorithms.split()}
    return {"bus": f"Bus for {audience}", **names}


@pytest.mark.parametrize(
    ("buses", "audience", "algorithm"),
    [
        ([told("books")], "books", "RS256"),
        ([told("books games"), told("games")], "games", "RS256"),
        ([told("books"), told("games")], "books", "RS256"),
        ([told("shop", "ES256"), told("shop", "PS256 ES256")], "shop", "ES256"),
        ([told("shop", "ES256"), told("shop", "PS256")], "shop", "ES256"),
    ],
)
def test_several_buses(buses: list[dict[str, Any]], audience: str, algorithm: str) -> None:
    """Tokens are what all buses take, or else what the first one does; the page names them all."""
    issuer = DevIssuer(Timeline(lambda _: None))
    issuer.rotate(SigningKey("RS256"))
    for count in range(1, len(buses) + 1):  # as they come up, one after the other
        issuer.adapt(buses[:count])
    assert (issuer.audience, issuer.signing.algorithm) == (audience, algorithm)
    assert issuer.bus == "; ".join(each["bus"] for each in buses)


def test_a_bus_that_names_this_issuer_takes_its_tokens() -> None:
    """None of somebody else's are told only where its guard names somebody else."""
    here = "http://127.0.0.1:7600/busauth-dev"
    assert tokens_taken(here, here) == "it takes this issuer's tokens"
    assert tokens_taken("https://idp", here).endswith(", and none of https://idp")
