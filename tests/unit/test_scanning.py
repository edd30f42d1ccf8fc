"""What the run says is searched: a planted token or key is found wherever it is said."""

import logging
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from busauth.audit import Event, EventKind
from busauth.errors import BadMessage
from busauth.testing import Issuer
from tests.scanning import Heard, Listening, secrets_in

TOKEN = Issuer().token()


def serve() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=f"<p>{TOKEN}</p>"))
    httpx.Client(transport=transport).get("https://console.example/letters")


def trace() -> None:
    TracerProvider().get_tracer("test").start_span(TOKEN).end()


def run() -> None:
    subprocess.run([sys.executable, "-c", f"print({TOKEN!r})"], capture_output=True, check=True)


class Told(BadMessage):
    """An error that does not look at what it tells."""

    def __str__(self) -> str:
        return TOKEN


@pytest.mark.prints_tokens("each is a place where that is found")
@pytest.mark.parametrize(
    "said",
    [
        serve,
        trace,
        run,
        lambda: Event(kind=EventKind.REFUSED, queue="q", at=0, detail=TOKEN),
        lambda: Told("x"),
        lambda: logging.getLogger("busauth").warning("%s", TOKEN),
    ],
)
def test_a_token_is_found_where_it_is_said(
    said: Callable[[], object], request: pytest.FixtureRequest
) -> None:
    """Served, traced, written by a program, told as an event or an error, logged."""
    listening = request.config.pluginmanager.get_plugin("tests.scanning")
    assert isinstance(listening, Listening)
    heard = listening.heard
    heard.taken()
    said()
    assert len(heard.taken()) >= 1


@given(st.text(), st.text())
def test_a_token_is_found_in_any_words(before: str, after: str) -> None:
    """Whatever stands around it, but for what makes it a longer word."""
    heard = Heard([])
    heard.search("here", f"{before} {TOKEN} {after}")
    assert [each.partition(",")[0] for each in heard.taken()] == ["here: a token"]


@pytest.mark.parametrize(
    "said", ['{"d": "' + "x" * 43 + '"}', "-----BEGIN EC PRIVATE KEY-----", "{'k': '" + "y" * 43]
)
def test_a_key_is_found(said: str) -> None:
    """As a JWK's private part, and as a PEM; a repr has other quotation marks."""
    assert bool(list(secrets_in(said))) is not said.startswith("{'k'")
