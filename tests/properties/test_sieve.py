"""What passes the sieve can be read by the client library; what it could read passes unchanged."""

import struct
from typing import Any

import pamqp.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.constants import FRAME_END_CHAR
from pamqp.header import ContentHeader

from busauth._amqp.connecting.sieve.frames import UNREADABLE, Sieve, are_surely_readable

CHANNEL = 7
CLASS_AND_SIZE = struct.pack(">HHQ", 60, 0, 5)

texts = st.text(max_size=30) | st.binary(max_size=30)
values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(list(b"tbBsuIilLfdDVTx\0SFAZ")).flatmap(
        lambda kind: st.tuples(st.just(kind), st.binary(max_size=12))
    ),
    lambda inner: st.tuples(st.sampled_from(list(b"FA")), st.lists(inner, max_size=3)),
    max_leaves=6,
)


def encoded(value: Any) -> bytes:
    kind, content = value
    raw = content if isinstance(content, bytes) else b"".join(map(encoded, content))
    is_long = kind in b"SxFA"
    return bytes([kind]) + (struct.pack(">I", len(raw)) if is_long else b"") + raw


def short(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return bytes([len(raw) & 0xFF]) + raw


def framed(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, CHANNEL, len(payload)) + payload + FRAME_END_CHAR


members = st.tuples(texts.map(short), values.map(encoded)).map(b"".join)
tables = st.lists(members, max_size=5).map(b"".join)
headers = tables.map(lambda table: struct.pack(">I", len(table)) + table)
properties = (
    st.tuples(st.just(0x2000), headers)
    | st.tuples(st.just(0x8480), st.lists(texts.map(short), max_size=3).map(b"".join))
    | st.tuples(st.just(0x0040), st.binary(max_size=9))
    | st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=60))
)
header_frames = properties.map(
    lambda each: framed(2, CLASS_AND_SIZE + struct.pack(">H", each[0]) + each[1])
)


def nested(depth: int) -> bytes:
    """Return a header whose one value is arrays in arrays."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    table = short("deep") + value
    return framed(2, CLASS_AND_SIZE + b"\x20\0" + struct.pack(">I", len(table)) + table)


def can_be_read(frame: bytes) -> bool:
    try:
        pamqp.frame.unmarshal(frame)
    except Exception:
        return False
    return True


@given(header_frames)
@example(nested(20))
@example(nested(20_000))
def test_every_header_that_passes_can_be_read(frame: bytes) -> None:
    """A header that could be read passes as it is; another keeps its size, and is marked."""
    passed = Sieve().passed(frame)
    _, channel, header = pamqp.frame.unmarshal(passed)
    assert channel == CHANNEL
    assert isinstance(header, ContentHeader)
    assert header.body_size == 5
    if can_be_read(frame):
        assert passed == frame
    else:
        assert header.weight == UNREADABLE
        assert header.properties == Basic.Properties()


@given(header_frames)
def test_what_is_called_surely_readable_is(frame: bytes) -> None:
    """The quick look never calls readable what the client library cannot read."""
    if are_surely_readable(frame):
        assert can_be_read(frame)


@pytest.mark.parametrize("method", [60, 71], ids=["deliver", "get-ok"])
@given(exchange=texts, key=texts, tag=st.integers(0, 2**63 - 1), count=st.integers(0, 2**32 - 1))
def test_every_delivery_that_passes_can_be_read(
    method: int, exchange: str | bytes, key: str | bytes, tag: int, count: int
) -> None:
    """Names that are no text are left out, with the properties; the delivery tag stays."""
    consumer = short("me") if method == 60 else b""
    counted = struct.pack(">I", count) if method == 71 else b""
    named = consumer + struct.pack(">QB", tag, 1) + short(exchange) + short(key) + counted
    frame = framed(1, struct.pack(">HH", 60, method) + named)
    sieve = Sieve()
    passed = sieve.passed(frame)
    carrier = pamqp.frame.unmarshal(passed)[2]
    assert isinstance(carrier, Basic.Deliver | Basic.GetOk)
    assert carrier.delivery_tag == tag
    assert carrier.redelivered
    plain = framed(2, CLASS_AND_SIZE + b"\0\0")
    assert (sieve.passed(plain) == plain) == (passed == frame) == can_be_read(frame)


def test_what_was_returned_stays_whole() -> None:
    """Without its id, a publication that came back would count as confirmed."""
    sieve = Sieve()
    returned = Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="q")
    sieve.passed(pamqp.frame.marshal(returned, CHANNEL))
    unreadable = framed(2, CLASS_AND_SIZE + b"\x04\0" + short(b"\xff"))
    assert sieve.passed(unreadable) == unreadable
    sieve.passed(pamqp.frame.marshal(Basic.Deliver("me", 1, False, "", "q"), CHANNEL))
    assert sieve.passed(unreadable) != unreadable


def test_bodies_and_other_methods_pass() -> None:
    """Nothing but deliveries and their headers is looked at."""
    sieve = Sieve()
    for frame in (ContentBody(b"\xff" * 20), Basic.QosOk(), Basic.CancelOk("\u20ac")):
        raw = pamqp.frame.marshal(frame, CHANNEL)
        assert sieve.passed(raw) == raw
