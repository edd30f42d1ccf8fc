"""The edge of `busauth dev`."""

import asyncio

from busauth.cli.dev.edge import Edge
from busauth.testing import Broker, Issuer, Request


async def test_a_queue_that_there_is_not_is_told_with_those_that_there_are() -> None:
    """A misspelt queue is answered with 404, and with the one that may have been meant."""
    issuer = Issuer()
    async with Broker() as broker:
        edge = Edge(issuer, broker.url, lambda _row: None, lambda: ["orders.placed", "parcels.due"])
        async with edge.bus:
            edge.open()
            bearer = {"authorization": f"Bearer {issuer.token()}"}
            asked = Request("POST", "/publish/order.placed", bearer, b"{}")
            answer = await asyncio.to_thread(edge.answer, asked)
    assert answer.status == 404
    assert b"orders.placed, parcels.due; did you mean orders.placed?" in answer.body
