"""Copies of received messages, where no broker is needed to see them."""

from typing import Any
from unittest.mock import Mock

import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import IncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth.amqp import copies, headers
from busauth.amqp.copies import Refusal
from busauth.errors import NotGenuine

FRAME = 131_072


def received(given: dict[str, Any]) -> AbstractIncomingMessage:
    """Return a delivery with these headers."""
    properties = Basic.Properties(headers=given)
    delivery = DeliveredMessage(
        delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key="orders"),
        header=ContentHeader(properties=properties),
        body=b"",
        channel=Mock(),
    )
    return IncomingMessage(delivery)


def letter(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return the headers of its dead letter."""
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    outgoing = copies.dead_letter(message, refusal, token_header="authorization", frame_max=FRAME)
    assert headers.header_frame_size(outgoing.properties) <= FRAME
    return dict(outgoing.properties.headers or {})


def test_a_frame_full_of_headers_is_measured_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-six thousand headers cost a measurement each, not one for each that is dropped."""
    measured = 0
    size = headers.header_frame_size

    def counted(properties: Any) -> int:
        nonlocal measured
        measured += 1
        return size(properties)

    monkeypatch.setattr(headers, "header_frame_size", counted)
    flood = {f"{number:x}": None for number in range(26_000)}
    found = letter(received(flood))
    assert measured <= len(flood) + 3
    assert found[headers.REFUSAL] == "header.missing"


def test_the_largest_headers_go_first_and_are_listed() -> None:
    """What had to be cut is told with its number; small headers stay."""
    found = letter(received({"small": "x", **{f"big{n}": "v" * 60_000 for n in range(3)}}))
    assert found["small"] == "x"
    assert found[headers.CUT] == "1: big2"
    assert sum(name.startswith("big") for name in found) == 2


def test_a_token_header_of_any_name_is_not_noted() -> None:
    """A configured header that looks like the broker's own is removed like any token."""
    message = received({"x-token": "opaque secret", "x-other": 1})
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    outgoing = copies.dead_letter(message, refusal, token_header="x-token", frame_max=FRAME)
    assert "secret" not in repr(outgoing.properties.headers)
    assert outgoing.properties.headers is not None
    assert outgoing.properties.headers[headers.NOTED] == {"x-other": "1"}
