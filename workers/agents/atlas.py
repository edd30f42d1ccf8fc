"""The agent as its three steps have it in common: how it turns a voucher into a token, and back.

It holds nobody's token while it waits. A message's voucher is exchanged when the work begins, and
that token again for each tool, which gets the one scope that it asks for. Whether the user still
wants it is asked before each of these; once they do not, the issuer is not even asked.
"""

from collections.abc import Iterable

import httpx
from starlette.applications import Starlette

from busauth.delegation import Exchange, Onward, Voucher
from busauth.integrations.httpx import CallerAuth
from workers.agents.jobs import HOURS
from workers.place import Place

VOUCHERS = "atlas-vouchers"
"""Whom vouchers are for: no service has this name, so that none takes one for an access token."""


def redeemed(place: Place, *, begins: bool = False) -> Exchange:
    """Return how a step gets its token; with the first, atlas begins to act for the user."""
    return Exchange(place.exchange("atlas", acts=begins), vouchers=VOUCHERS, lifetime=HOURS * 3600)


def voucher(place: Place, service: str, scopes: Iterable[str]) -> Voucher:
    """Return what a message to the next step carries."""
    idp = place.exchange(service, acts=False)
    return Voucher(idp, audience=VOUCHERS, scopes=scopes, hours=HOURS, clock=place.clock)


def tool(
    place: Place, app: Starlette, name: str, scope: str, *, by: str = "atlas"
) -> httpx.AsyncClient:
    """Return a client of a tool, an application of this process: each request has its token."""
    url = f"https://{name}.example"
    onward = Onward(place.exchange(by, acts=False), audience=name, scopes={scope})
    return httpx.AsyncClient(
        auth=CallerAuth([url], onward=onward),
        base_url=url,
        transport=httpx.ASGITransport(app=app),
    )
