"""Histories of dead letters that no broker wrote."""

from typing import Any

import pytest

from tests.broker.model import Client, node

FORGED: dict[str, Any] = {
    "text": "x",
    "nothing": None,
    "table": {"a": 1},
    "truth": True,
    "largest": 2**63 - 1,
    "negative": -1,
    "float": 1.5,
}


@pytest.mark.parametrize("count", FORGED.values(), ids=FORGED)
def test_count(count: Any) -> None:
    """A count that is none, or that goes no higher, costs nobody anything."""
    client = Client.of(node())
    client.declare("q", max_length=0, dead_letter_exchange="", dead_letter_routing_key="dead")
    client.declare("dead")
    death = {"queue": "q", "reason": "maxlen", "count": count}
    client.publish("q", headers={"x-death": [death]})
    assert client.channel.queue_purge("dead") == 1
    assert client.node.bytes_held == 0


@pytest.mark.parametrize("deaths", ["x", 1, [], [1, "x", None], [{}], [{"queue": 1, "reason": []}]])
def test_history(deaths: Any) -> None:
    """A history that is none is replaced."""
    client = Client.of(node())
    client.declare("q", max_length=0, dead_letter_exchange="", dead_letter_routing_key="dead")
    client.declare("dead")
    client.publish("q", headers={"x-death": deaths})
    delivery = client.get("dead", no_ack=True)
    assert delivery is not None
    assert delivery.message.headers()["x-death"][0]["queue"] == "q"
