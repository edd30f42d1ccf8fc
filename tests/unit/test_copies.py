"""Copies of received messages, where no broker is needed to see them."""

from typing import Any
from unittest.mock import Mock

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth.amqp import copies, headers
from busauth.amqp.copies import Refusal
from busauth.amqp.delivery import Delivery
from busauth.amqp.returns import Returns
from busauth.errors import Forbidden, NotGenuine

FRAME = 131_072


def received(given: dict[str, Any], *, redelivered: bool = False, **said: Any) -> Delivery:
    """Return a delivery with these headers."""
    properties = Basic.Properties(headers=given)
    for name, value in said.items():
        setattr(properties, name, value)
    delivery = DeliveredMessage(
        delivery=Basic.Deliver(
            consumer_tag="c", delivery_tag=1, redelivered=redelivered, routing_key="orders"
        ),
        header=ContentHeader(properties=properties),
        body=b"",
        channel=Mock(),
    )
    return Delivery(delivery)


def letter(message: Delivery) -> dict[str, Any]:
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


@pytest.mark.parametrize("frame_max", [4096, 8192, FRAME])
def test_small_frames_have_room_for_the_reason(frame_max: int) -> None:
    """Of busauth's own headers, those that are missed least go first, and are listed."""
    message = received(
        {"busauth-proof": "p" * 3000, "tenant": "acme"},
        correlation_id="c" * 255,
        message_id="i" * 255,
        app_id="\u20ac" * 85,
        priority=300,
    )
    refusal = Refusal(
        refused=Forbidden("caller.scope", found="\u20ac" * 200, expected="\u20ac" * 200),
        queue="q" * 255,
        at=0.0,
        token_sha256="0" * 64,
        proven=True,
    )
    outgoing = copies.dead_letter(
        message, refusal, token_header="authorization", frame_max=frame_max
    )
    assert headers.header_frame_size(outgoing.properties) <= frame_max
    found = outgoing.properties.headers or {}
    assert (found[headers.REFUSAL], found[headers.TOKEN_SHA256]) == ("caller.scope", "0" * 64)
    assert (headers.PROOF in found) is (frame_max > 4096)
    assert "priority" in str(found[headers.CUT])
    assert outgoing.properties.message_id == "i" * 255


def test_a_count_is_believed_only_where_no_sender_wrote_it() -> None:
    """A broker's count counts on a redelivery from a quorum queue; the larger of two headers."""
    for name in ("x-delivery-count", "x-acquired-count"):
        first = received({name: 99})
        again = received({name: 5}, redelivered=True)
        assert Returns(counted=True).are_often(again)
        assert not Returns(counted=True).are_often(received({name: 4}, redelivered=True))
        assert not Returns(counted=True).are_often(first)
        assert not Returns(counted=False).are_often(again)


def test_a_token_header_of_any_name_is_not_noted() -> None:
    """A configured header that looks like the broker's own is removed like any token."""
    message = received({"x-token": "opaque secret", "x-other": 1})
    refusal = Refusal(refused=NotGenuine("header.missing"), queue="orders", at=0.0)
    outgoing = copies.dead_letter(message, refusal, token_header="x-token", frame_max=FRAME)
    assert "secret" not in repr(outgoing.properties.headers)
    assert outgoing.properties.headers is not None
    assert outgoing.properties.headers[headers.NOTED] == {"x-other": "1"}
