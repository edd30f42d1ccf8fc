"""Methods are read strictly."""

import contextlib
import datetime
import decimal
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.base import Frame
from pamqp.commands import INDEX_MAPPING, Basic, Connection, Exchange, Queue
from pamqp.encode import field_table
from pamqp.frame import marshal

from busauth.testing.broker.wire.faults import Fault, HangUp
from busauth.testing.broker.wire.framing import decoding, tables
from busauth.testing.broker.wire.framing.content import Complete, Content
from busauth.testing.broker.wire.zero import method_on_zero

NAMES = st.sampled_from(["", "a", "x-match", "n" * 128])
SINGLE = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=4)
FLAT = SINGLE | st.lists(SINGLE, max_size=2) | st.dictionaries(NAMES, SINGLE, max_size=2)
NESTED = FLAT | st.lists(FLAT, max_size=2) | st.dictionaries(NAMES, FLAT, max_size=2)
TABLES = st.dictionaries(NAMES, NESTED, max_size=3)
METHODS: list[Frame] = [
    Exchange.Declare(0, "x", "topic", False, True, False, True, True, {"a": [1, {"b": "c"}]}),
    Exchange.Bind(0, "to", "from", "key", True, {"x": None}),
    Queue.Declare(0, "q", True, False, True, False, True, {"x-max-length": 5}),
    Queue.Unbind(0, "q", "x", "key", {}),
    Basic.Qos(1, 2, True),
    Basic.Consume(0, "q", "tag", True, False, True, False, {"x-priority": 3}),
    Basic.Nack(5, True, False),
    Connection.StartOk({"capabilities": {"basic.nack": True}}, "PLAIN", "\0u\0p", "en_US"),
    Connection.TuneOk(2047, 131072, 60),
    Connection.Close(200, "bye", 0, 0),
]


def payload(method: Frame) -> bytes:
    return marshal(method, 1)[7:-1]


def fields(method: Frame) -> dict[str, Any]:
    return dict(method)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
def test_as_pamqp(method: Frame) -> None:
    """A method means what pamqp says that it means."""
    data = payload(method)
    again = type(method)()
    again.unmarshal(data[4:])
    found = decoding.method(data)
    assert type(found) is type(method)
    assert fields(found) == fields(again) == fields(method)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
def test_cut_off(method: Frame) -> None:
    """Arguments that end early or late are never taken for something else."""
    data = payload(method)
    for wrong in [data[:size] for size in range(4, len(data))] + [data + b"\0"]:
        with pytest.raises((Fault, HangUp)) as caught:
            decoding.method(wrong)
        if isinstance(caught.value, Fault):
            assert caught.value.ids == decoding.ids_of(data)
            assert caught.value.text.startswith("FRAME_ERROR - cannot decode <<")


@given(st.binary(max_size=60), st.sampled_from(sorted(INDEX_MAPPING)))
def test_anything(arguments: bytes, index: int) -> None:
    """Whatever comes as arguments is read or refused."""
    with contextlib.suppress(Fault, HangUp):
        decoding.method(index.to_bytes(4, "big") + arguments)


@given(TABLES)
def test_table(table: dict[str, Any]) -> None:
    """A table comes back as it was encoded."""
    assert tables.table(field_table(table)[4:]) == table


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"V", None),
        (b"t\x02", True),
        (b"b\xff", -1),
        (b"B\xff", 255),
        (b"s\xff\xff", -1),
        (b"u\xff\xff", 65535),
        (b"I\xff\xff\xff\xff", -1),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"l" + b"\xff" * 8, -1),
        (b"L" + b"\xff" * 8, -1),
        (b"f" + pack(">f", 1.5), 1.5),
        (b"d" + pack(">d", 1.5), 1.5),
        (b"D\x02\x00\x00\x00\x64", decimal.Decimal(1)),
        (b"S\x00\x00\x00\x01a", "a"),
        (b"S\x00\x00\x00\x01\xff", b"\xff"),
        (b"x\x00\x00\x00\x01\xff", bytearray(b"\xff")),
        (b"T" + pack(">Q", 0), datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)),
        (b"T" + b"\xff" * 8, datetime.datetime.max.replace(tzinfo=datetime.UTC)),
        (b"A\x00\x00\x00\x02t\x01", [True]),
        (b"F\x00\x00\x00\x04\x01at\x01", {"a": True}),
    ],
)
def test_field(field: bytes, value: object) -> None:
    """Every type of field is known, and needs all of its octets."""
    assert tables.table(b"\x01n" + field) == {"n": value}
    for size in range(len(field)):
        with pytest.raises(ValueError, match=r"early|type"):
            tables.table(b"\x01n" + field[:size])


@pytest.mark.parametrize(
    "field",
    [
        b"Z",
        b"\x00",
        b"d" + pack(">d", float("nan")),
        b"f" + pack(">f", float("inf")),
        b"A\x00\x00\x00\x01t\x01bt\x01",
    ],
)
def test_bad_field(field: bytes) -> None:
    """Unknown types, what is not a number, and what goes past its array are refused."""
    with pytest.raises(ValueError, match=r"\w"):
        tables.table(b"\x01n" + field)


@pytest.mark.parametrize(("depth", "taken"), [(64, True), (65, False), (5000, False)])
def test_depth(depth: int, taken: bool) -> None:
    """Fields may be nested, but not without an end."""
    field = b""
    for _ in range(depth):
        field = b"A" + pack(">I", len(field)) + field
    if taken:
        assert tables.table(b"\x01n" + field)["n"] is not None
    else:
        with pytest.raises(ValueError, match="nested"):
            tables.table(b"\x01n" + field)


def test_same_field_twice() -> None:
    """The first of two fields with the same name counts, as on RabbitMQ."""
    assert tables.table(b"\x01ab\x01\x01ab\x02") == {"a": 1}


def test_publication() -> None:
    """basic.publish may name what is no UTF-8."""
    found = decoding.publication(pack(">HHH", 60, 40, 0) + b"\x01x\x02\xffk\x03")
    assert found == ("x", "\udcffk", True, True)


@pytest.mark.parametrize("rest", [b"", b"\0\0", b"\0\0\0\x05ab\0", b"\0\0\0\0\0\0"])
def test_cut_off_publication(rest: bytes) -> None:
    """basic.publish is read strictly, too."""
    with pytest.raises(Fault) as caught:
        decoding.publication(pack(">HH", 60, 40) + rest)
    assert (caught.value.code, caught.value.ids) == (501, (60, 40))


def test_undecodable_on_zero() -> None:
    """A method on channel 0 that cannot be decoded is RabbitMQ's internal error."""
    for data in (pack(">HH", 10, 50) + b"\0", pack(">HHHI", 10, 11, 1, 9)):
        with pytest.raises(Fault) as caught:
            method_on_zero(1, data)
        assert (caught.value.code, caught.value.text) == (541, "INTERNAL_ERROR")


def content(largest: int = 100) -> Content:
    return Content(Basic.Return(), (60, 50), largest)


def head(size: int) -> bytes:
    return pack(">HHQH", 60, 0, size, 0)


@given(st.lists(st.binary(max_size=20), max_size=9))
def test_content(pieces: list[bytes]) -> None:
    """A body is put together from its pieces."""
    body = b"".join(pieces)
    gathering = content(largest=1000)
    whole = gathering.add(2, head(len(body)))
    for piece in pieces:
        if whole is None:
            whole = gathering.add(3, piece)
    assert whole == Complete(head(len(body)), body, len(body))


def test_too_large_content() -> None:
    """A body that is too large is counted to its end, but not kept."""
    gathering = content(largest=3)
    assert gathering.add(2, head(4)) is None
    assert gathering.add(3, b"ab") is None
    assert gathering.add(3, b"cd") == Complete(head(4), b"", 4)


def test_more_than_announced() -> None:
    """A body that is larger than announced never ends."""
    gathering = content()
    gathering.add(2, head(3))
    for _ in range(3):
        assert gathering.add(3, b"abcd") is None
    with pytest.raises(Fault) as caught:
        gathering.add(1, pack(">HH", 60, 40))
    assert caught.value.text == (
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
    )
