"""An exchanger that does what a test says: tokens of the test issuer's, odd ones as well."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from busauth.delegation import Exchanged, ExchangeRequest, Subject
from busauth.testing import Issuer

VOUCHERS = "shop-later"
"""The audience of vouchers, which no access token here is for."""


@dataclass
class Exchanging:
    """Gives tokens for tokens, as an honest server does unless it is told otherwise.

    Attributes:
        source: whose tokens it gives.
        claims: what is said in them instead.
        error: what is raised instead.
        asked: what it was asked, in order.
        waits: what it waits for before it answers.
    """

    source: Issuer
    claims: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[tuple[Subject, ExchangeRequest]] = field(default_factory=list)
    waits: asyncio.Event | None = None
    token: Any = None

    @property
    def issuer(self) -> str:
        return self.source.url

    async def exchange(self, subject: Subject, request: ExchangeRequest) -> Exchanged:
        self.asked.append((subject, request))
        await asyncio.sleep(0)
        if self.waits is not None:
            await self.waits.wait()
        if self.error is not None:
            raise self.error
        return Exchanged(subject.caller, self.given(subject, request))

    def given(self, subject: Subject, request: ExchangeRequest) -> Any:
        """Return the token for a subject, which is held to nothing here."""
        if self.token is not None:
            return self.token
        caller = subject.caller
        scopes = caller.scopes if request.scopes is None else caller.scopes & request.scopes
        usual: dict[str, Any] = {"aud": sorted(request.audience), "scope": " ".join(sorted(scopes))}
        if "act" in caller.claims:
            usual["act"] = plain(caller.claims["act"])
        said = {**usual, **self.claims}
        return self.source.token(said.pop("sub", caller.subject), **said)


def voucher(issuer: Issuer, subject: str = "ann", *, lasts: float = 86400.0, **claims: Any) -> str:
    """Return a voucher, as a server gives one that types it."""
    now = int(issuer.clock.now())
    usual = {"aud": VOUCHERS, "scope": "orders:write", "exp": now + int(lasts)}
    header = claims.pop("header", {"typ": "voucher+jwt"})
    return issuer.token(subject, header=header, **{**usual, **claims})


def plain(value: Any) -> Any:
    """Return read-only claims as JSON has them."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return value
