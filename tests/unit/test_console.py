"""What `busauth console` shows, and to whom."""

import asyncio
import html
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import ConfigurationError, Deferred
from busauth.integrations.console import Late, console
from busauth.integrations.console.looking import Look
from busauth.integrations.console.plots import lateness, progress
from busauth.integrations.console.shown import clear, instant, span
from busauth.integrations.console.summing import Told, groups
from busauth.testing import ManualClock
from scripts.looking import NOW, QUEUE, Shown, an_hour_after
from tests.unit.consoling import PAGES, Outline, sign_in, town, unseen
from tests.unit.reaching import strings_in

GROUP = f"/letters/group?queue={QUEUE}&group={groups(an_hour_after().lying)[0].id}"
ONE = f"/letters/one?queue={QUEUE}&letter={'0' * 32}"


async def test_whoever_signs_in_sees_every_page() -> None:
    """A token of the console's audience opens a session, and each page shows its own."""
    shown = town()
    async with shown.visit() as client:
        pages = {path: (await client.get(path)) for path in (*PAGES, ONE)}
    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
    assert "keys of https://idp.example" in pages["/"].text
    assert "Silent" in pages["/"].text
    assert "handler.failed" in pages["/letters"].text
    assert "token.revoked" in pages["/plan"].text
    assert "131 done, 69 in flight" in pages["/history"].text
    assert "ines@ops-1" in pages[ONE].text
    assert "kept, encrypted for its consumer" in pages[ONE].text


@pytest.mark.parametrize("path", [*PAGES, ONE, "/letters/one"])
async def test_nobody_sees_anything_without(path: str) -> None:
    """Every page leads whoever has not signed in to the form, and says nothing."""
    shown = town()
    async with shown.client() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert answer.text == ""
    assert shown.source.looks == 0


async def test_a_bearer_counts_for_its_own_request_alone() -> None:
    """A program shows its token each time, and gets neither cookie nor a button to sign out."""
    shown = town()
    async with shown.client() as client:
        answer = await client.get("/", headers={"authorization": f"Bearer {shown.token()}"})
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert "sign-out" not in answer.text
        assert (await client.get("/")).status_code == 303
        wrong = await client.get("/", headers={"authorization": "Basic eA=="})
        assert (wrong.status_code, wrong.headers["www-authenticate"]) == (
            401,
            'Bearer realm="busauth console"',
        )


async def test_a_session_ends_with_its_token() -> None:
    """At `exp`, to the second and without leeway."""
    shown = town()
    async with shown.visit(exp=int(NOW) + 100) as client:
        await shown.clock.advance(99)
        assert (await client.get("/")).status_code == 200
        await shown.clock.advance(1)
        assert (await client.get("/")).status_code == 303


async def test_a_session_ends_where_nobody_uses_it() -> None:
    """A page that refreshes itself is no use: what is left open on a screen ends."""
    shown = town(idle=60.0)
    async with shown.visit(exp=int(NOW) + 9000) as client:
        for _ in range(3):
            await shown.clock.advance(50)
            assert (await client.get("/")).status_code == 200
        await shown.clock.advance(50)
        assert (await client.get("/?refresh=1")).status_code == 200
        await shown.clock.advance(10)
        assert (await client.get("/?refresh=1")).status_code == 303


async def test_nothing_of_a_token_is_kept_or_served() -> None:
    """Neither what answers nor what is served, cookies included, has it in it."""
    shown = town()
    token = shown.token()
    parts = token.split(".")
    async with shown.client() as client:
        await sign_in(client, token)
        served = [await client.get(path) for path in (*PAGES, ONE, "/sign-in", "/console.css")]
    text = "".join(each.text + str(each.headers) for each in served)
    assert not any(part in text for part in parts)
    held = strings_in(shown.app)
    assert "ines" in held  # else nothing would be found
    assert not any(part in found for part in parts for found in held)


async def test_bodies_are_for_their_own_scope() -> None:
    """Without it, or where nobody configured them, a body is neither shown nor mentioned."""
    for configured, scope, is_shown in (
        ("console:bodies", "console:read console:bodies", True),
        ("console:bodies", "console:read", False),
        (None, "console:read console:bodies", False),
    ):
        shown = town(bodies=configured)
        async with shown.visit(scope=scope) as client:
            page = (await client.get(ONE)).text
        assert ("{&#34;order&#34;: 7}" in page) is is_shown
        assert ("Its body" in page) is is_shown


async def test_letters_are_looked_at_once_in_a_while() -> None:
    """However many ask, and however often, a queue is looked at every 30 s at most."""
    shown = town()
    async with shown.visit() as client:
        await asyncio.gather(*(client.get("/letters") for _ in range(20)))
        await client.get(ONE)
        assert shown.source.looks == 1
        await shown.clock.advance(29)
        page = await client.get("/letters")
        assert shown.source.looks == 1
        assert 'As of <time datetime="2025-06-15T15:06:40Z">' in page.text
        await shown.clock.advance(1)
        await client.get("/letters")
        assert shown.source.looks == 2


async def test_a_look_outlives_whoever_asked() -> None:
    """Whoever leaves while it lasts has no second one begin beside it: the next has its answer."""
    looks, may_end = 0, asyncio.Event()

    async def slow() -> int:
        nonlocal looks
        looks += 1
        await may_end.wait()
        return looks

    look = Look(slow, ManualClock(NOW), every=30, what="q")
    for _ in range(3):
        leaving = asyncio.create_task(look.latest())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    may_end.set()
    assert (await look.latest()).seen == 1


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError("at 10.0.0.7"), TimeoutError(), Deferred("taken back")],
)
async def test_a_broker_that_is_away_is_said(error: Exception) -> None:
    """Every page is there, and says so, with the time and without the evidence."""
    shown = town(Shown(fails=error))
    async with shown.visit() as client:
        for path in PAGES:
            page = await client.get(path)
            assert page.status_code == 200
            assert "othing could be seen" in page.text or "Not known" in page.text
            assert "10.0.0.7" not in page.text


async def test_letters_are_grouped_and_filtered() -> None:
    """By code, error and queue; the largest first; a filter leaves the others out."""
    shown = town()
    async with shown.visit() as client:
        page = (await client.get("/letters")).text
        rows = re.findall(r'class="number">(\d+)</td>', page)
        assert rows == ["230", "61", "1"]
        only = (await client.get("/letters?code=token.expired")).text
        assert re.findall(r'class="number">(\d+)</td>', only) == ["61"]
        link = html.unescape(re.findall(r'href="(/letters/group[^"]*)"', page)[0])
        group = (await client.get(link)).text
        assert "shown: 1 to 100" in group
        last = (await client.get(link.replace("page=1", "page=3"))).text
        assert "shown: 201 to 230" in last
        assert 'rel="next"' not in last


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "9" * 40, "٣", "1e3"])
async def test_pages_that_are_none(page: str) -> None:
    """What is no number of a page is the first one; one that is too high is empty."""
    shown = town()
    async with shown.visit() as client:
        said = {"queue": QUEUE, "group": groups(shown.source.lying)[0].id, "page": page}
        answer = await client.get("/letters/group", params=said)
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/letters", "/letters/group", "/letters/one"])
async def test_other_queues_are_not_looked_at(path: str) -> None:
    """A console looks where it was told to, and whatever a query says, nowhere else."""
    shown = town()
    async with shown.visit() as client:
        answer = await client.get(path, params={"queue": "payments"})
        assert answer.status_code == 404
        assert shown.source.looks == 0


def test_others_than_this_machine_need_tls_and_a_sign_in() -> None:
    """A console that others could reach does not start without both."""
    guard = town().guard
    for hosts, said in (
        (["console.example"], {"guard": None, "secure": True}),
        (["console.example:443"], {"guard": guard, "secure": False}),
        (["127.0.0.1:8250", "0.0.0.0:8250"], {"guard": guard, "secure": False}),
        (["127.0.0.1.example:8250"], {"guard": None, "secure": False}),
        ([], {"guard": guard, "secure": True}),
    ):
        with pytest.raises(ConfigurationError):
            console(Shown(), queues=[], hosts=hosts, **said)
    for hosts in (["localhost"], ["[::1]:8250"], ["127.0.0.1"]):
        console(Shown(), queues=[], hosts=hosts, guard=None)


async def test_on_loopback_nobody_need_sign_in() -> None:
    """There are pages, and nothing of a sign-in."""
    shown = town(guard=None)
    async with shown.client() as client:
        for path in PAGES:
            page = await client.get(path)
            assert page.status_code == 200
            assert "sign" not in page.text.lower().replace("assign", "")
        assert (await client.get("/sign-in")).status_code == 404


async def outlines() -> dict[str, Outline]:
    """Return every page that there is."""
    shown = town()
    async with shown.visit(scope="console:read console:bodies") as client:
        paths = (*PAGES, ONE, GROUP, "/sign-in", "/nowhere", "/?refresh=1")
        return {path: Outline((await client.get(path)).text) for path in paths}


async def test_pages_are_for_everybody() -> None:
    """Language, title, landmarks, headings in order, names for all that can be reached."""
    for path, page in (await outlines()).items():
        counted = Counter(tag for tag, _ in page.tags)
        assert page.all("html") == [{"lang": "en"}], path
        assert [counted[tag] for tag in ("title", "main", "header", "footer", "h1")] == [1] * 5
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert all(after <= before + 1 for before, after in pairwise(levels)), path
        assert page.all("a")[0] == {"class": "skip", "href": "#main"}
        ids = [each["id"] for _, each in page.tags if "id" in each]
        assert len(ids) == len(set(ids))
        assert counted["table"] == counted["caption"]
        assert all("scope" in each for each in page.all("th"))
        labels = {each.get("for") for each in page.all("label")}
        fields = [
            each for each in page.all("select", "textarea", "input") if each.get("type") != "hidden"
        ]
        assert all(each["id"] in labels for each in fields)
        assert all(each.get("aria-label") for each in page.all("nav", "svg"))
        assert all(each.get("aria-label") for _, each in page.tags if each.get("tabindex") == "0")
        positive = [each for _, each in page.tags if int(each.get("tabindex") or 0) > 0]
        assert positive == []


async def test_pages_run_and_load_nothing() -> None:
    """No script, no style or handler in an element, nothing from elsewhere."""
    for path, page in (await outlines()).items():
        assert page.all("script", "iframe", "object", "embed", "style", "base") == [], path
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            for name in ("href", "src", "action"):
                target = attributes.get(name)
                assert target is None or (target[0] in "/#" and target[:2] != "//"), (path, tag)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    digits = colour.lstrip("#")
    wide = digits if len(digits) == 6 else "".join(2 * each for each in digits)
    parts = [int(wide[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_colours_can_be_told_apart(scheme: str) -> None:
    """Text has a contrast of 4.5 to 1 at least, what is drawn and outlined of 3 to 1 (WCAG AA)."""
    async with town().client() as client:
        css = (await client.get("/console.css")).text
    roots = re.findall(r":root \{([^}]*)\}", css)
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", roots[scheme == "dark"]))
    for ground in ("ground", "raised"):
        for ink in ("ink", "faint", "good", "bad", "act"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        for drawn in ("edge", "bar"):
            assert contrast(colours[drawn], colours[ground]) >= 3, (drawn, ground)
    assert contrast(colours["on-act"], colours["act"]) >= 4.5


def test_plots_say_what_they_draw() -> None:
    """A sentence says the same; no number draws beyond the picture, or nothing at all."""
    odd = [Late(NOW, each) for each in (5.0, float("nan"), float("inf"), -3.0, 0.0, 1e300)]
    drawn = str(lateness(odd))
    assert 'aria-label="3 accepted late' in drawn
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert lateness([]) == '<span class="faint">none late</span>'
    assert "7 of 5" in progress(7, 5)
    assert 'width="159.0"' in progress(7, 5)
    assert progress(3, 0, 2) == "3 done, 2 in flight"


@given(st.floats() | st.text() | st.none() | st.integers())
def test_every_instant_is_shown(at: Any) -> None:
    """Whatever a sender wrote in a time's place is an instant or text, and never an error."""
    assert "<script" not in instant(at)
    assert span(at if isinstance(at, float) else None)


@given(st.text())
def test_what_cannot_be_seen_is_named(text: str) -> None:
    """Nothing is left that hides, turns the line around, or is no character; the rest stays."""
    written = clear(text)
    assert unseen(written) == []
    if text.isascii() and text.isprintable() and "ey" not in text and "ew" not in text:
        assert written == text


async def test_a_run_that_was_killed_is_told() -> None:
    """It is running by its last word, and has been silent for longer than it would be."""
    shown = town(an_hour_after())
    async with shown.visit(exp=int(NOW) + 3600) as client:
        assert "may have been killed" not in (await client.get("/history")).text
        await shown.clock.advance(120)
        assert "may have been killed" in (await client.get("/history")).text


async def test_who_is_silent_or_has_stopped_does_not_consume() -> None:
    """Green is who consumes now; who has ended in order is not told as one that fell silent."""
    told = Told()
    status = {"kind": "status", "service": "s", "consumers": [{"queue": QUEUE}]}
    for instance, at, state in (
        ("here", NOW, "running"),
        ("silent", NOW - 100, "running"),
        ("gone", NOW - 100, "stopped"),
    ):
        told.add({**status, "instance": instance, "at": at, "state": state})
    shown = town(Shown(seen=told.seen(NOW)))
    async with shown.visit() as client:
        text = "".join(Outline((await client.get("/")).text).text)
    counted = {word: text.count(word) for word in ("Consuming", "Was consuming", "Silent")}
    assert counted == {"Consuming": 1, "Was consuming": 1, "Silent": 1}
    assert "Stopped 100 s ago" in text


async def test_where_there_is_nothing_that_is_said() -> None:
    """An empty console is no blank page."""
    shown = town(Shown(), queues=[])
    async with shown.visit() as client:
        for path in PAGES[:4]:
            page = await client.get(path)
            assert page.status_code == 200
            assert 'class="empty"' in page.text


FIELDS = st.sampled_from(
    ["consumers", "issuers", "queue", "handling", "paused_since", "late", "at", "service"]
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    )
)
def test_whatever_stands_on_the_audit_stream(said: Any) -> None:
    """Who may write there can write anything: it is taken in, bounded, or left out."""
    told = Told()
    for kind in ("status", "accepted-late"):
        base = {"kind": kind, "service": "s", "instance": "i", "at": NOW, "late": 3.0}
        told.add({**base, **(said if isinstance(said, dict) else {"consumers": said})})
    for each in told.seen(NOW):
        assert isinstance(each.service, str)
        assert all(isinstance(one.queue, str) for one in each.consumers)


def test_instances_are_as_they_last_told() -> None:
    """With what each accepted late, and no longer than for a quarter of an hour."""
    told = Told()
    consumers = [{"queue": QUEUE, "handling": 2, "paused_for": "keys", "paused_since": NOW - 5}]
    status = {"kind": "status", "service": "orders", "instance": "a", "consumers": consumers}
    told.add({**status, "at": NOW - 5, "feed_age": 1.5})
    told.add({**status, "at": NOW, "issuers": [{"issuer": "i", "keys_age": 9}]})
    late = {"kind": "accepted-late", "service": "orders", "instance": "a", "queue": QUEUE}
    for n in range(200):
        told.add({**late, "at": NOW + n, "late": n})
    (seen,) = told.seen(NOW + 1)
    assert (seen.at, seen.keys, seen.feed_age) == (NOW, (("i", 9.0),), None)
    assert (seen.consumers[0].paused_for, len(seen.consumers[0].late)) == ("keys", 80)
    assert told.seen(NOW + 901) == []
    for n in range(1000):
        told.add({**status, "instance": str(n), "at": NOW})
    assert len(told.seen(NOW)) == 500
