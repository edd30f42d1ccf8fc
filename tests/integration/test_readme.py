"""The README's code runs, and what leads on from it: it does what it says."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from busauth import Bus
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer, IssuerServer, Kit, ManualClock
from busauth.testing.issuer.endpoints.documents import JWKS_PATH
from tests.support import Broker, Trail, guard_for

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/consumers.md", "docs/proof.md")


def blocks(language: str) -> list[str]:
    """Return what a reader comes by, in this order; of proofs how to use them."""
    pages = [(ROOT / page).read_text("utf-8").partition("\n## On the wire")[0] for page in PAGES]
    return re.findall(rf"```{language}\n(.*?)```", "\n".join(pages), re.DOTALL)


@pytest.fixture
async def kit(clock: ManualClock) -> AsyncIterator[Kit]:
    async with EmbeddedBroker(clock=clock) as embedded, Kit(embedded, clock) as kit:
        yield kit


async def test_the_code_in_the_readme_runs(
    broker: Broker, url: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block runs, in order; the first service handles an order that came in at the edge."""
    queue, reserve = broker.name("orders.placed"), broker.name("stock.reserve")
    await broker.channel.declare_queue(reserve, durable=True)
    own, web = Issuer(algorithm="ES256"), Issuer(algorithm="ES256")
    with IssuerServer(own), IssuerServer(web):
        names = {
            "https://web.example/jwks": f"{web.url}{JWKS_PATH}",
            "https://idp.example": own.url,
            "amqp://localhost/": url,
            "orders.placed": queue,
            "stock.reserve": reserve,
        }
        scope: dict[str, Any] = {"__name__": "readme"}
        for block in blocks("python"):
            code = re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], block)
            exec(compile(code, "page", "exec"), scope)
            if "post_order" in code:
                bearer = f"Bearer {own.token('ann', scope='orders:write')}"
                async with scope["bus"] as bus:
                    await scope["post_order"](scope["guard"], bus, bearer, scope["Order"](id=7))
                    await broker.settles_at(reserve, 1)
            if "ProofSigner" in code:
                messages = scope["signing"](web.signing.private)
                signing = Bus(url, guard=guard_for(own, Trail(), messages=messages), service="web")
                async with scope["orders"], signing:
                    await signing.publish(queue, scope["Order"](id=8), token=own.token("bob"))
                    await scope["orders"].idle()
            if "place_order" in code:
                async with await broker.connection.channel() as channel:
                    await scope["consume"](channel)
                    await broker.publish(queue, token=own.token(scope="orders:write"))
                    await broker.settles_at(reserve, 2)
        await scope["test_an_order_that_expires_in_the_queue"](kit)
    assert [event.code for event in kit.events if event.code] == ["token.expired"]
    printed = capsys.readouterr().out
    assert "ann ordered 7" in printed
    assert "bob ordered 8, says web" in printed
