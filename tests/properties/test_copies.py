"""Copies of whatever pamqp can read: a letter can always be made, and fits its frame."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp import headers
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Carried, Refusal
from busauth._amqp.publishing.publisher import check_frame
from busauth._amqp.settling.returns import Returns
from busauth._messages.seal import Sealed
from busauth.errors import Forbidden, NotGenuine, PublishError

FRAMES = [0, 4096, 8192, 131_072]
OWN = [
    "authorization", "busauth-proof", "busauth-seal", "busauth-attempt", "busauth-hop",
    "busauth-cut", "busauth-noted", "busauth-token", "CC", "x-delivery-count", "timestamp_in_ms",
]  # fmt: skip

short_strings = st.text(max_size=255).filter(lambda text: len(text.encode()) <= 255)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64),
    st.floats(),
    st.text(max_size=300),
    st.sampled_from(["v" * 5_000, "\U0001f600" * 30_000]),
    st.binary(max_size=50),
    st.binary(max_size=50).map(bytearray),
    instants,
    st.integers(0, 2**32 - 1).map(lambda raw: Decimal(raw) * Decimal(10) ** -200),
)
names = st.one_of(st.sampled_from(OWN), st.text(max_size=40))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Draw a message of any properties that can be on the wire."""
    texts = st.none() | short_strings
    properties = Basic.Properties(
        headers=draw(st.dictionaries(names, values, max_size=12)),
        content_type=draw(texts),
        content_encoding=draw(texts),
        correlation_id=draw(texts),
        reply_to=draw(texts),
        expiration=draw(texts),
        message_id=draw(texts),
        message_type=draw(texts),
        user_id=draw(texts),
        app_id=draw(texts),
        timestamp=draw(st.none() | instants),
    )
    properties.delivery_mode = draw(st.none() | st.integers(0, 255))
    properties.priority = draw(st.none() | st.integers(0, 255))
    deliver = Basic.Deliver("c", 1)
    deliver.exchange, deliver.routing_key = draw(short_strings), draw(short_strings)
    header = ContentHeader(properties=properties)
    return Delivery(DeliveredMessage(deliver, header, draw(st.binary(max_size=99)), Mock()))


def kept(message_id: str, body: bytes) -> str:
    return f"{message_id}{body!r}" * 9


def too_long(message_id: str, body: bytes) -> str:
    raise NotGenuine("token.too_large")


def sealed(*_: object, **__: object) -> str:
    return "1.k." + "s" * 43


@given(
    deliveries(),
    st.sampled_from(FRAMES),
    st.booleans(),
    st.sampled_from([None, kept, too_long]),
    st.none() | short_strings,
)
def test_a_letter_can_always_be_made(
    delivery: Delivery, frame_max: int, proven: bool, keep: Any, origin: str | None
) -> None:
    """Whatever a message is made of, its letter says why, fits a frame and is body and all."""
    refusal = Refusal(
        refused=Forbidden("caller.scope", found="é" * 300, expected="x" * 300),
        queue="q" * 250,
        at=0.0,
        token_sha256="a" * 64,
        proven=proven,
        keep=keep,
        carried=Carried(Sealed(origin=origin), sealed),
    )
    letter = copies.dead_letter(
        delivery, refusal, token_header="authorization", frame_max=frame_max
    )
    check_frame(letter, frame_max)
    said = letter.properties.headers or {}
    assert said[headers.REFUSAL] == "caller.scope"
    assert "authorization" not in said
    assert letter.properties.delivery_mode == 2
    assert letter.properties.message_id
    assert (letter.properties.user_id, letter.properties.expiration) == (None, None)
    assert letter.body == delivery.body


@given(deliveries(), st.sampled_from(FRAMES))
def test_a_retry_is_whole_or_it_is_not_sent(delivery: Delivery, frame_max: int) -> None:
    """What cannot be written is left out; what does not fit with its token is no retry."""
    copy = copies.retry(
        delivery, Carried(Sealed(), None), token_header="authorization", frame_max=frame_max
    )
    said = copy.properties.headers or {}
    token = delivery.headers.get("authorization")
    if isinstance(token, str):
        assert said["authorization"] == token
    try:
        check_frame(copy, frame_max)
    except PublishError as error:
        assert "bytes" in str(error)  # noqa: PT017


@given(st.lists(deliveries(), max_size=6), st.integers(1, 3))
def test_returns_are_remembered_up_to_a_number(seen: list[Delivery], capacity: int) -> None:
    """Of more messages than it remembers, the oldest count as never seen; the newest does not."""
    returns = Returns(counted=False, capacity=capacity)
    for delivery in seen:
        for _ in range(3):
            returns.add(delivery)
        assert returns.are_too_many(delivery)
    assert len(returns._counts) <= capacity
    for delivery in seen:
        returns.forget(delivery)
    assert not any(map(returns.are_often, seen))


@given(deliveries())
def test_a_handler_gets_a_message_of_its_own_or_none(delivery: Delivery) -> None:
    """Whatever it does to its headers stays its own."""
    before = repr(delivery.headers)
    try:
        message = delivery.message
    except Exception as error:
        assert getattr(error, "code", None) == "message.property"  # noqa: PT017
        return
    for value in message.headers.values():
        if isinstance(value, dict | list | bytearray):
            value.clear()
    message.headers.clear()
    assert repr(delivery.headers) == before
