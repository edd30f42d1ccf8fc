"""What the doctor finds without asking anybody; and docs/doctor.md has each of its codes."""

import re
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from busauth._amqp.connecting.address import broker_url
from busauth._extras import MissingExtraError
from busauth.cli import app
from busauth.cli.doctor import plain, releases
from busauth.cli.doctor.catalogue import KINDS, finding
from busauth.cli.doctor.coloured import show
from busauth.cli.doctor.finding import Report, Severity, told
from busauth.cli.doctor.looks import broker, keys, secrets, service
from busauth.cli.doctor.subject import Question, Subject, refused
from busauth.testing import Issuer
from tests.integration.test_doctor import PLANTED
from tests.unit.test_docs_links import anchors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "doctor.md").read_text("utf-8")
CODE = "".join(path.read_text() for path in (ROOT / "busauth/cli/doctor").rglob("*.py"))
ELSEWHERE = {
    "body-limit-above-broker",  # on RabbitMQ alone
    "broker-end-of-life",
    "broker-version-low",
    "extra-missing",
    "right-missing",  # tests/integration/test_connecting.py
}
"""What no change to a service plants on both brokers; each has a test of its own."""


def test_each_code_is_told() -> None:
    """The page has a row for each code, with how bad it is, why, what to do and where more is."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\w+) \| (.+?) \| (.+) \[More\]\((.*?)\) \|$", PAGE, re.M
    )
    told = {
        code: (severity, why, todo, link if ".md" in link else f"doctor.md{link}")
        for code, severity, why, todo, link in rows
    }
    assert len(rows) == len(told)
    assert told == {
        code: (kind.severity.value, kind.why, kind.todo, kind.link.removeprefix("docs/"))
        for code, kind in KINDS.items()
    }


@pytest.mark.parametrize("code", KINDS)
def test_each_link_leads_somewhere(code: str) -> None:
    """The docs have the page and the heading that a finding names."""
    page, _, anchor = KINDS[code].link.partition("#")
    assert anchor in anchors(ROOT / page)


def test_each_code_is_found() -> None:
    """Each code is used, and a mistake is planted for it somewhere."""
    used = re.findall(r'"([a-z]+(?:-[a-z]+)+)"', CODE)
    assert [code for code in KINDS if used.count(code) < 2] == []
    assert {code for code, _ in PLANTED} | ELSEWHERE == KINDS.keys()
    assert not {code for code, _ in PLANTED} & ELSEWHERE


def test_each_series_is_told() -> None:
    """The page has the day on which the support of each series ended."""
    rows = re.findall(r"^\| (\d+\.\d+) \| (.+) \|$", PAGE, re.MULTILINE)
    ends = {f"{major}.{minor}": day for (major, minor), day in releases.ENDS.items()}
    assert dict(rows) == {series: day or "no day is known" for series, day in ends.items()}


@pytest.mark.parametrize(
    ("version", "codes"),
    [
        ("3.8.9", {"broker-end-of-life", "broker-version-low"}),
        ("3.6.16", {"broker-end-of-life", "broker-version-low"}),
        ("3.13.7", {"broker-end-of-life"}),
        ("4.3.6", set()),
        ("5.0.0", set()),
        ("next", set()),
    ],
)
def test_old_brokers(version: str, codes: set[str]) -> None:
    """A series is past its end from the known day on; what is newer than the table is not."""
    properties = {"product": "RabbitMQ", "version": version}
    found = broker.of_version(Subject(), "rabbit:5672", properties)
    assert {each.kind.code for each in found} == codes


def test_a_missing_extra() -> None:
    """What an extra would bring is one finding, with the extra's name."""
    (found,) = refused(MissingExtraError("encryption needs joserfc: pip install"), "settings")
    assert (found.kind.code, "joserfc" in found.found) == ("extra-missing", True)


@pytest.mark.parametrize(
    ("secret", "is_weak"),
    [
        (b"0" * 48, True),
        (bytes(range(64)), True),
        (b"abc123" * 8, True),
        (b"correct horse battery staple and more", True),
        (b"kP3xV9sQm2LrT7yZb4NcWf8HjD1gA6uE0oRiXtKvBqY", False),
        (b"5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", False),
    ],
)
def test_secrets_that_are_guessed(secret: bytes, is_weak: bool) -> None:
    """Words and patterns are no secrets; random bytes in base64 or hex are."""
    assert secrets.is_guessed(secret) is is_weak


def test_a_url_tells_no_password() -> None:
    """What is wrong with a URL is told by its host alone."""
    url = broker_url("amqp://guest:guest@rabbit.example/shop?heartbeat=0")
    found = list(broker.of_url(url))
    assert {each.kind.code for each in found} == {"broker-plain", "broker-guest", "heartbeat-off"}
    assert all("guest@" not in f"{each.where}{each.found}" for each in found)


def test_nothing_is_looked_at() -> None:
    """Where there is no guard, nothing is said of one."""
    assert list(service.look(Subject(), Question())) == []


def test_a_report_in_plain_text() -> None:
    """Each finding has its evidence, its reason and its cure; the end counts them."""
    report = Report((finding("drain-long", "bus", "drain is 45 s"),), ("the broker",))
    head, evidence, why, todo, link, _, summary, unseen = plain.lines(report)
    assert head == "WARNING drain-long  bus"
    assert (evidence, why[:9], todo[:8]) == ("    drain is 45 s", "    Why: ", "    Do: ")
    assert link.startswith("    See: docs/kubernetes.md#")
    assert (summary, unseen) == ("0 errors, 1 warning, 0 hints", "Not looked at: the broker.")
    assert report.at_least(Severity.WARNING)
    assert not report.at_least(Severity.ERROR)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "expected MODULE:BUS or --settings FILE"),
        (("shop:bus", "--only", "drain"), "no such code"),
        (("nowhere:bus",), "there is no module 'nowhere'"),
    ],
)
def test_a_command_line_that_cannot_be_read(words: tuple[str, ...], told: str) -> None:
    """It ends with 2, and says what was expected."""
    result = CliRunner().invoke(app, ["doctor", *words], env={"BUSAUTH_SETTINGS": None})
    assert (result.exit_code, told in result.output.replace("\n", " ")) == (2, True), result.output


def test_a_report_in_colour() -> None:
    """It says the same as in plain text, wrapped to the terminal."""
    report = Report((finding("drain-long", "bus", "drain is 45 s"),), ("the broker",))
    console = Console(file=StringIO(), width=60, force_terminal=True, color_system=None)
    show(report, console)
    assert isinstance(console.file, StringIO)
    shown = " ".join(console.file.getvalue().split())
    assert shown == " ".join(" ".join(plain.lines(report)).split())


@pytest.mark.parametrize("before", [0, 90, 99, 100, 480, 495, 3990])
def test_no_token_is_told(before: int) -> None:
    """Wherever a token or a password stands in somebody's words, nothing of it is told."""
    token = Issuer().token("alice")
    words = told(f"{'x' * before} {token} amqp://me:s3cret@rabbit/")
    assert len(words) <= 501
    assert not any(part in words for part in (*token.split("."), token[:40], "s3cret"))


members = st.dictionaries(
    st.sampled_from(["kty", "kid", "alg", "use", "key_ops", "n", "e", "d", "crv", "x", "y", "iat"])
    | st.just("x5c"),
    st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "RS256", "AQAB", "-"])
    | st.integers()
    | st.floats()
    | st.none()
    | st.lists(st.sampled_from(["verify", "AQAB", "%"]), max_size=2),
)


@given(st.lists(members | st.none(), max_size=4))
def test_whatever_an_issuer_publishes(jwks: list[object]) -> None:
    """A key set may hold anything: each of its findings can be told."""
    found = list(keys.look("idp", jwks, ("RS256", "ES256"), 1_750_000_000.0))
    assert [each.as_json() for each in found if not each.found.isprintable()] == []
