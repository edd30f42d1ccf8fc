"""What the console's tests share: one whose issuer and clock are a test's, and its visitors."""

import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx

from busauth import Clock, Guard, StaticKeys, Verifier
from busauth.integrations.console import console
from busauth.revocation import Revocations
from busauth.testing import Issuer, ManualClock
from scripts.looking import AUDIENCE, NOW, QUEUE, Shown, an_hour_after

HOST = "127.0.0.1:8250"
PAGES = ("/", "/letters", "/plan", "/history")


@dataclass
class Town:
    """An issuer, a clock, and a console that trusts the issuer."""

    issuer: Issuer
    clock: ManualClock
    app: Any
    guard: Guard
    source: Shown

    def token(self, **claims: Any) -> str:
        """Return a token for this console."""
        usual: dict[str, Any] = {"aud": AUDIENCE, "scope": "console:read"}
        return self.issuer.token("ines", **usual | claims)

    @asynccontextmanager
    async def client(
        self, *, scheme: str = "http", address: str = "127.0.0.1", **headers: str
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Give a browser-like client, which keeps cookies."""
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        async with httpx.AsyncClient(
            transport=transport, base_url=f"{scheme}://{HOST}", headers=headers
        ) as client:
            yield client

    @asynccontextmanager
    async def visit(self, **claims: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Give one who has signed in."""
        async with self.client() as client:
            answer = await sign_in(client, self.token(**claims))
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            yield client


def town(
    source: Shown | None = None, *, revocations: Revocations | None = None, **options: Any
) -> Town:
    """Return a console and whom it trusts."""
    clock = ManualClock(NOW)
    issuer = Issuer(
        "https://idp.example", clock=clock, algorithm="ES256"
    )  # RSA keys take long to make
    guard = guard_of(issuer, clock, revocations)
    shown = source or an_hour_after()
    said: dict[str, Any] = {
        "queues": [QUEUE],
        "hosts": [HOST, "localhost:8250"],
        "guard": guard,
        "bodies": "console:bodies",
    }
    return Town(issuer, clock, console(shown, **said | options), guard, shown)


def guard_of(issuer: Issuer, clock: Clock, revocations: Revocations | None = None) -> Guard:
    """Return a guard for an issuer's tokens for a console."""
    keys = StaticKeys(issuer.jwks())
    verifier = Verifier(keys, issuer=issuer.url, audience=AUDIENCE)
    return Guard(verifier, revocations=revocations, clock=clock)


def form_of(page: str) -> str:
    """Return what a page's form carries."""
    found = re.search(r'name="form" value="([^"]*)"', page)
    assert found is not None
    return found[1]


async def sign_in(client: httpx.AsyncClient, token: str, **fields: str) -> httpx.Response:
    """Fill in the form, as its page has it."""
    page = await client.get("/sign-in")
    said = {"form": form_of(page.text), "token": token} | fields
    return await client.post("/sign-in", data=said)


class Outline(HTMLParser):
    """What a page is made of, as a screen reader has it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def unseen(text: str) -> list[str]:
    """Return what has no shape of its own, or turns the text around it."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn")
    return [each for each in text if unicodedata.category(each) in kinds and each not in "\n\t"]
