"""Attacks on the console: on who may ask, on the sign-in, and on what it answers."""

import asyncio
import json
import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from httpx import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from busauth import Caller, Deferred
from busauth._amqp.auditing.reading import _object
from busauth._amqp.resending.letters import Letter
from busauth._amqp.resending.records import Record
from busauth._demand import Demand
from busauth.integrations.console import ConsumerSeen, InstanceSeen, Passage
from busauth.integrations.console.broker import _Room
from busauth.integrations.console.broker import step as step_of
from busauth.integrations.console.gate import HEADERS, Gate
from busauth.integrations.console.sessions import Attempts, Sessions, visiting
from busauth.integrations.console.summing import groups
from busauth.testing import ManualClock
from scripts.looking import NOW, QUEUE, Shown, letter, step
from tests.security.stage import attack
from tests.unit.consoling import HOST, PAGES, Outline, form_of, guard_of, sign_in, town

SESSION, FORM = "busauth-8250-console", "busauth-8250-form"
ONE = f"/letters/one?queue={QUEUE}&letter={'0' * 32}"
EVERY = (*PAGES, "/sign-in", "/console.css", "/icon.svg", "/nowhere", "/letters/one")


def gate(*, secure: bool = False) -> Gate:
    async def nobody(*_: Any) -> None:
        raise AssertionError("it was answered")

    return Gate(nobody, hosts=frozenset({HOST}), secure=secure)


@attack("console-rebound")
@attack("console-forged")
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "rebound.example:8250"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:80"},
        {"host": f"{HOST}, rebound.example"},
        {"host": f"{HOST}.rebound.example"},
        {"host": f"user@{HOST}"},
        {"host": ""},
        {"origin": "https://foreign.example"},
        {"origin": f"https://{HOST}"},
        {"origin": "http://localhost:8250"},
        {"origin": "null"},
        {"origin": "null", "sec-fetch-site": "none"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": ""},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_of_others(method: str, headers: dict[str, str]) -> None:
    """A foreign page, or a name that was rebound, gets nothing; a link leads to the first page."""
    shown = town(guard=None)
    async with shown.client(**headers) as client:
        for path in EVERY:
            answer = await client.request(method, path)
            is_linked = (
                method == "GET" and path in ("/", "/sign-in") and "sec-fetch-site" in headers
            )
            is_linked &= "origin" not in headers
            assert (answer.status_code == 403) is not is_linked, path
            assert "orders" not in answer.text or is_linked
    assert shown.source.looks == 0


@attack("console-rebound")
def test_two_hosts_are_none() -> None:
    """A request that names two is not answered, whichever counts elsewhere."""
    named = [(b"host", HOST.encode()), (b"host", b"rebound.example")]
    assert gate().why_not("GET", "/", Headers(raw=named)) is not None


@given(st.text(), st.none() | st.text(), st.none() | st.text(), st.sampled_from(["GET", "POST"]))
def test_only_its_own_names(host: str, origin: str | None, site: str | None, method: str) -> None:
    """Whatever is answered was sent to this server, from no page or from its own."""
    told = {"host": host, "origin": origin, "sec-fetch-site": site}
    raw = [(name.encode(), each.encode()) for name, each in told.items() if each is not None]
    if gate().why_not(method, "/letters", Headers(raw=raw)) is None:
        assert host.lower() == HOST
        assert origin in (None, f"http://{HOST}") or (origin, site) == ("null", "same-origin")
        assert site in (None, "same-origin", "none")


def test_a_form_of_its_own_has_no_origin() -> None:
    """Browsers that are to say no referrer say "null" of a form, and which site it is of."""
    own = {"host": HOST, "origin": "null", "sec-fetch-site": "same-origin"}
    assert gate().why_not("POST", "/sign-in", Headers(own)) is None


@attack("console-framed")
@pytest.mark.parametrize("path", EVERY)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
async def test_headers_of_every_answer(path: str, method: str) -> None:
    """Nothing may be framed, sniffed, kept, run or told on, whatever the answer is."""
    shown = town()
    async with shown.visit() as client:
        answer = await client.request(method, path)
    assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    assert len(answer.headers.get_list("cache-control")) == 1


async def test_a_page_that_fails_says_nothing() -> None:
    """An error of the program's own is told in the log, and nowhere else."""
    shown = town(Shown(fails=RuntimeError("at /srv/secret")), guard=None)
    async with shown.client() as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("secure", [False, True])
async def test_cookies(secure: bool) -> None:
    """None can be read by a script, sent from elsewhere, or, under TLS, set or read without it."""
    shown = town(secure=secure, hosts=[HOST])
    async with shown.client(scheme="https" if secure else "http") as client:
        answer = await sign_in(client, shown.token())
        form = (await client.get("/sign-in")).headers["set-cookie"]
    for each in (answer.headers.get_list("set-cookie")[0], form):
        assert each.startswith("__Host-busauth") is secure
        assert ("Secure" in each) is secure
        assert "HttpOnly" in each
        assert "SameSite=strict" in each
        assert "Path=/" in each
        assert "Domain" not in each
        assert "expires" not in each.lower()
        assert "Max-Age" not in each


@pytest.mark.parametrize("host", ["[::1]", "localhost", "[::1]:8250"])
async def test_cookies_of_every_host(host: str) -> None:
    """Whatever it is reached by, its cookies have names that are some."""
    shown = town(hosts=[host])
    async with shown.client(host=host) as client:
        answer = await client.get("/sign-in")
    assert answer.status_code == 200
    assert re.match(r"busauth-\w+-form=", answer.headers["set-cookie"])


@attack("console-fixed")
async def test_a_session_that_was_laid_counts_for_nothing() -> None:
    """Whatever id a browser brings, signing in makes a new one, and ends the one that it had."""
    shown = town()
    async with shown.client() as client:
        client.cookies.set(SESSION, "laid-by-somebody", domain="127.0.0.1")
        await sign_in(client, shown.token())
        first = client.cookies[SESSION]
        await sign_in(client, shown.token())
        second = client.cookies[SESSION]
    assert len({"laid-by-somebody", first, second}) == 3
    async with shown.client() as other:
        for name in ("laid-by-somebody", first):
            other.cookies.clear()
            other.cookies.set(SESSION, name, domain="127.0.0.1")
            assert (await other.get("/")).status_code == 303


@attack("console-login")
async def test_nobody_is_signed_in_by_somebody_else() -> None:
    """A form counts with the cookie that it was made for: another's form signs nobody in."""
    shown = town()
    async with shown.client() as attacker, shown.client() as victim:
        laid = form_of((await attacker.get("/sign-in")).text)
        for cookies in ({}, {FORM: "x"}, {FORM: laid}):
            victim.cookies.update(cookies)
            said = {"form": laid, "token": shown.token()}
            assert (await victim.post("/sign-in", data=said)).status_code == 403
        await victim.get("/sign-in")
        for form in (laid, "", "é", "0" * 64):
            answer = await victim.post("/sign-in", data={"form": form, "token": shown.token()})
            assert answer.status_code == 403
        assert SESSION not in victim.cookies


@attack("console-forged")
async def test_nobody_is_signed_out_by_somebody_else() -> None:
    """A form of another visit, of the sign-in or of none at all ends no session."""
    shown = town()
    async with shown.visit() as client, shown.visit() as other:
        forms = [form_of((await other.get("/")).text), form_of((await other.get("/sign-in")).text)]
        for form in (*forms, "", "x"):
            answer = await client.post("/sign-out", data={"form": form})
            assert answer.status_code == 403
        assert (await client.post("/sign-out")).status_code == 415
        assert (await client.get("/sign-out")).status_code == 405
        assert (await client.get("/")).status_code == 200


@attack("console-guessed")
async def test_who_fails_too_often_is_not_listened_to() -> None:
    """Ten attempts a minute and address, by form and header together; others are not kept out."""
    shown = town()
    async with shown.client() as client, shown.client(address="192.0.2.7") as other:
        for _ in range(5):
            assert (await sign_in(client, "a.b.c")).status_code == 401
            bearer = await client.get("/", headers={"authorization": "Bearer a.b.c"})
            assert bearer.status_code == 401
        late = await sign_in(client, shown.token())
        assert (late.status_code, late.headers["retry-after"]) == (429, "61")
        assert (await sign_in(other, shown.token())).status_code == 303
        await shown.clock.advance(61)
        assert (await sign_in(client, shown.token())).status_code == 303


async def test_who_shows_what_was_theirs_has_not_guessed() -> None:
    """A page that goes on with an expired token keeps out nobody who shares its proxy's address."""
    shown = town()
    old, few = shown.token(exp=int(NOW) + 1), shown.token(scope="orders:read")
    await shown.clock.advance(120)
    async with shown.client() as client:
        for _ in range(12):
            for token, status in ((old, 401), (few, 403)):
                bearer = {"authorization": f"Bearer {token}"}
                assert (await client.get("/", headers=bearer)).status_code == status
        assert (await sign_in(client, shown.token())).status_code == 303


async def test_attempts_are_bounded() -> None:
    """Neither addresses nor attempts are remembered without end."""
    attempts = Attempts(ManualClock(NOW), most=2)
    for n in range(10_050):
        attempts.failed(f"client-{n}")
    assert len(attempts._failed) == 10_000
    for n in range(1, 6):  # one network of an IPv6 user's, who has all of its addresses
        attempts.failed(f"2001:db8::{n}")
    assert attempts.wait("2001:db8::beef") > 0
    assert attempts.wait("2001:db8:0:1::1") == 0
    assert len(attempts._failed["2001:db8::/64"]) == 2


async def test_sessions_are_bounded() -> None:
    """One subject has five, the one that was used least lately ends; all together have an end."""
    shown = town()
    sessions = Sessions(shown.clock, 900.0)
    guard = guard_of(shown.issuer, shown.clock)
    own = await visiting(guard, f"Bearer {shown.token()}", Demand.of())
    names = [sessions.open(own) for _ in range(6)]
    assert [sessions.find(str(name), uses=False) is not None for name in names] == [False] + 5 * [
        True
    ]
    token = shown.issuer.token("other", aud="busauth-console")
    other = await visiting(guard, f"Bearer {token}", Demand.of())
    for n in range(995):
        caller = replace(other.caller, subject=f"s-{n}")
        visit = replace(other, verified=replace(other.verified, caller=caller))
        assert sessions.open(visit)
    assert sessions.open(other) is None


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"form=x&token=" + b"a" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"f%d=x" % n for n in range(50)), "application/x-www-form-urlencoded", 400),
        (b"form=x&form=y&token=z", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b'{"token": "x"}', "application/json", 415),
        (b"token=x", "text/plain", 415),
        (b"token=x", "multipart/form-data; boundary=x", 415),
        (b"", "", 415),
    ],
)
async def test_forms_that_are_not_read(body: bytes, media_type: str, status: int) -> None:
    """What is too large, ambiguous or of another kind is refused before anything is asked."""
    shown = town()
    async with shown.client() as client:
        answer = await client.post(
            "/sign-in", content=body, headers={"content-type": media_type} if media_type else {}
        )
    assert answer.status_code == status


@attack("console-flooded")
async def test_a_form_that_never_ends() -> None:
    """It is read no further than its bound, whatever its length was said to be."""
    shown = town()
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"a" * 8192

    async with shown.client() as client:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        answer = await client.post("/sign-in", content=endless(), headers=kind)
    assert answer.status_code == 413
    assert pieces < 20


@attack("console-led-away")
@pytest.mark.parametrize(
    "path",
    [
        "/sign-in?next=https://foreign.example",
        "/sign-in?why=https://foreign.example",
        "/sign-in?why=<script>alert(1)</script>",
        "//foreign.example/",
        "//foreign.example/letters/",
        "/letters/",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/console.css/../../app.py",
        "/templates/base.html",
        "/sign-in/",
        "/letters%2fone",
        "/\\foreign.example",
        "/console.css%00.html",
        "/letters/one?queue=" + "q" * 5000,
        f"/letters?queue={QUEUE}&code=%0d%0aSet-Cookie:%20a=b",
        f"/letters?queue={QUEUE}&queue=payments",
    ],
)
async def test_paths_lead_nowhere_else(path: str) -> None:
    """Nothing is redirected but to the console's own two pages, and no file is read by a name."""
    shown = town()
    async with shown.client() as stranger, shown.visit() as client:
        for each in (stranger, client):
            answer = await each.get(f"http://{HOST}{path}")
            assert answer.headers.get("location", "/") in ("/", "/sign-in")
            assert "foreign" not in answer.text.replace("&lt;", "")
            assert "<script" not in answer.text
            assert "root:" not in answer.text
            assert "set-cookie" not in answer.headers or "a=b" not in answer.headers["set-cookie"]
            entered = await sign_in(each, shown.token(), next="https://foreign.example")
            assert entered.headers["location"] == "/"


async def test_a_token_is_taken_from_nowhere_but_form_and_header() -> None:
    """Neither a query nor a cookie lets anybody in: both would be kept somewhere."""
    shown = town()
    token = shown.token()
    async with shown.client() as client:
        for name in ("token", "access_token", "authorization"):
            client.cookies.set(name, token, domain="127.0.0.1")
            assert (await client.get("/", params={name: token})).status_code == 303
            form = (await client.get("/sign-in", params={name: token})).text
            assert token not in form
            page = await client.post(f"/sign-in?token={token}", data={"form": form_of(form)})
            assert page.status_code == 401
            assert token not in page.text


@pytest.mark.parametrize("given", ["Bearer {}", "bearer {}", "  {}\n"])
async def test_a_token_as_people_paste_it(given: str) -> None:
    """With the word in front, or blanks around it, it is the same token."""
    shown = town()
    async with shown.client() as client:
        answer = await sign_in(client, given.format(shown.token()))
        assert answer.status_code == 303


@attack("console-moved")
async def test_what_is_not_allowed_is_not_possible() -> None:
    """No page, by whatever method, changes anything: all that takes a POST is the sign-in."""
    shown = town()
    async with shown.visit() as client:
        for path in (*PAGES, "/letters/group", "/letters/one"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                assert (await client.request(method, path)).status_code == 405
        text = "".join([(await client.get(path)).text for path in PAGES])
    assert set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', text)) == {"/sign-out"}


async def test_bodies_in_nothing_but_their_page() -> None:
    """Neither lists nor groups hold one, however they are asked."""
    shown = town(Shown(lying=[letter(body="the-body-itself")]))
    async with shown.visit(scope="console:read console:bodies") as client:
        for path in PAGES:
            assert "the-body-itself" not in (await client.get(path)).text


class Revoked:
    """Revocations that a test says."""

    def __init__(self) -> None:
        self.all = False
        self.asked = 0
        self.away = False

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether everybody is."""
        self.asked += 1
        if self.away:
            raise Deferred("the feed is away")
        return self.all


@attack("console-audience")
@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"aud": "shop"}, 401),
        ({"aud": ["shop"], "scope": "console:read"}, 401),
        ({"scope": "orders:read"}, 403),
        ({"scope": ""}, 403),
        ({"exp": int(NOW) - 3600, "iat": int(NOW) - 7200}, 401),
        ({"iss": "https://elsewhere.example"}, 401),
        ({"nbf": int(NOW) + 3600}, 401),
    ],
)
async def test_a_token_that_is_not_for_this(claims: dict[str, Any], status: int) -> None:
    """Another audience, issuer or time, or no scope for it, lets nobody in, either way."""
    shown = town()
    token = shown.token(**claims)
    async with shown.client() as client:
        entered = await sign_in(client, token)
        assert entered.status_code == status
        assert token not in entered.text
        assert (await client.get("/")).status_code == 303
        bearer = await client.get("/", headers={"authorization": f"Bearer {token}"})
        assert bearer.status_code == status


@attack("console-revoked")
@pytest.mark.parametrize("path", PAGES)
async def test_revocation_is_asked_on_each_request(path: str) -> None:
    """The first request behind a revocation ends the session, for good."""
    revoked = Revoked()
    shown = town(revocations=revoked)
    async with shown.visit() as client:
        before = revoked.asked
        assert (await client.get(path)).status_code == 200
        assert revoked.asked == before + 1
        revoked.away = True
        assert (await client.get(path)).status_code == 503
        revoked.away, revoked.all = False, True
        ended = await client.get(path)
        assert (ended.status_code, ended.headers["location"]) == (303, "/sign-in?why=revoked")
        revoked.all = False
        assert (await client.get(path)).status_code == 303


@attack("console-stolen-cookie")
async def test_a_session_ends_when_its_owner_signs_out() -> None:
    """The id counts no more, whoever has kept the cookie."""
    shown = town()
    async with shown.visit() as client:
        kept = dict(client.cookies)
        page = await client.get("/")
        answer = await client.post("/sign-out", data={"form": form_of(page.text)})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?why=out")
        assert not any("console" in name for name in client.cookies)
    async with shown.client() as other:
        other.cookies.update(kept)
        assert (await other.get("/")).status_code == 303


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=60),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "' onfocus='alert(1)' autofocus='",
            "</title><svg/onload=alert(1)>",
            "javascript:alert(1)",
            "{{ 7 * 7 }}{% raw %}",
            "\u202egnp.exe\u2066\u200b\ufeff",
            "\x00\x08\x1b[31m\r\nSet-Cookie: a=b\u2028\u0085",
            "a" + "\u0301" * 400,
            "&lt;b&gt;&amp;amp;",
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
            "\ud800",
        ]
    ),
)


@attack("console-injected")
@attack("console-token-seen")
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30, deadline=None)
@given(word=HOSTILE)
async def test_whatever_a_letter_says_is_text(word: str, plain_pages: list[Response]) -> None:
    """A sender's words add no element, attribute, header or token, and turn nothing around."""
    for one, other in zip(plain_pages, await pages_that_say(word), strict=True):
        assert other.status_code == 200
        assert shape(one.text) == shape(other.text)
        assert not Outline(other.text).all("script", "img", "iframe")
        seen = "".join(Outline(other.text).text)
        assert not [each for each in seen if unicodedata.category(each) in ("Cf", "Cs", "Co")]
        assert not [
            each for each in seen if unicodedata.category(each) == "Cc" and each not in "\n\t"
        ]
        assert "eyJhbGci" not in other.text
        assert set(other.headers) == set(one.headers)


@pytest.fixture(scope="module")
def plain_pages() -> list[Response]:
    """The same pages, where nobody is hostile."""
    return asyncio.run(pages_that_say("word"))


async def pages_that_say(said: str) -> list[Response]:
    """Return every page where all that others wrote is one word."""
    told = letter(
        code=said, detail=said, error=said, at=said, issuer=said, subject=said, publisher=said,
        message_id=said, body=said, source=said,
        story=(Passage(at=said, code=said, by=said, authority=said),),
    )  # fmt: skip
    source = Shown(
        seen=[
            InstanceSeen(
                service=said, instance=said, at=NOW, keys=((said, 1.0),),
                consumers=(ConsumerSeen(queue=said, paused_for=said),),
            )
        ],
        lying=[told],
        steps=[
            step("planned", filters={said: said}, counts={said: 1}, by=said, source=said),
            step("ended", run="r-2", counts={said: 1}, by=said, authority=said),
        ],
    )  # fmt: skip
    shown = town(source)
    token = shown.token(scope="console:read console:bodies")
    group = f"/letters/group?queue={QUEUE}&group={groups([told])[0].id}"
    async with shown.client(authorization=f"Bearer {token}") as client:
        return [
            await client.get(each) for each in ("/", "/letters", "/plan", "/history", ONE, group)
        ]


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return a page's elements and their attributes' names; whether a time is one is open."""
    return [(tag, tuple(attributes)) for tag, attributes in Outline(page).tags if tag != "time"]


@attack("console-flooded")
@pytest.mark.parametrize("path", ["/", "/letters", "/history", "/plan"])
async def test_pages_are_bounded(path: str) -> None:
    """Whoever fills a stream or a queue with what is always another makes no page grow with it."""
    many = range(3000)
    instances = [
        InstanceSeen(
            service="s", instance=f"{n:04}", at=NOW,
            consumers=tuple(ConsumerSeen(queue="q" * 255) for _ in range(200)),
        )
        for n in range(500)
    ]  # fmt: skip
    record = Record(
        run="r", kind="ended", at=NOW, queue=QUEUE, source="s", by="b",
        filters={f"f-{n}": ["x"] * 1000 for n in many}, counts={f"c-{n}": n for n in many},
    )  # fmt: skip
    wide = step_of(record)
    source = Shown(
        seen=instances,
        lying=[letter(id=f"{n:032x}", code=f"c-{n}" + "x" * 900) for n in many],
        steps=[replace(wide, run=f"r-{n}", kind=("ended", "sent", "planned")[n % 3]) for n in many],
    )
    shown = town(source, guard=None)
    async with shown.client() as client:
        page = await client.get(path)
    assert page.status_code == 200
    assert len(page.content) < 1024 * 1024
    assert "not shown" in page.text or path == "/plan"


@attack("console-flooded")
@pytest.mark.parametrize(
    "said",
    [
        {"at": 10**400},
        {"at": float("nan")},
        {"at": float("inf")},
        {"at": 1e300},
        {"at": -1},
        {"counts": {"sent": -1}},
        {"counts": {"sent": 10**4000}},
    ],
)
def test_records_of_no_time_are_none(said: dict[str, Any]) -> None:
    """One that no clock could have shown, and no count could have come to, breaks no page."""
    usual = {"v": 1, "run": "r", "kind": "begun", "at": 1, "queue": "q", "source": "s", "by": "b"}
    assert Record.of(json.dumps(usual).encode()) is not None
    assert Record.of(json.dumps(usual | said).encode()) is None


@attack("console-flooded")
def test_an_object_without_end_is_none() -> None:
    """What stands on the audit stream is read no further than anything that belongs there."""
    assert _object(b'{"kind": "status"}') == {"kind": "status"}
    assert _object(b'{"kind": "' + b"s" * 1024 * 1024 + b'"}') == {}


@attack("console-token-seen")
def test_a_token_that_the_end_of_a_body_cuts_off() -> None:
    """The beginning of a body that ends within a token shows nothing of it."""
    token = town().token()
    for kept in (20, len(token) // 2, len(token) - 5):
        body = (b"x" * (4096 - kept - 1) + b" " + token.encode()).ljust(5000)
        told = SimpleNamespace(body=body, size=len(body))
        shown = _Room(10_000).body(cast("Letter", told))
        assert shown is not None
        assert token[:16] not in shown
        assert "[token]" in shown
