"""Bytes to frames."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth.testing.broker.wire.faults import Fault
from busauth.testing.broker.wire.framing.frames import GREETING, FrameReader

HEADER = b"AMQP\x00\x00\x09\x01"
Frame = tuple[int, int, bytes]
frames = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=300)), max_size=8
)


def encoded(frame: Frame, end: int = 0xCE) -> bytes:
    kind, number, payload = frame
    return pack(">BHI", kind, number, len(payload)) + payload + bytes([end])


def greeted() -> FrameReader:
    reader = FrameReader()
    assert list(reader.feed(HEADER)) == [(GREETING, 0, HEADER)]
    return reader


@given(frames, st.lists(st.integers(1, 50)))
def test_cuts(sent: list[Frame], sizes: list[int]) -> None:
    """However the bytes are cut into packets, the same frames come out."""
    data = HEADER + b"".join(map(encoded, sent))
    reader = FrameReader()
    found: list[Frame] = []
    for size in sizes:
        found += reader.feed(data[:size])
        data = data[size:]
    found += reader.feed(data)
    assert found == [(GREETING, 0, HEADER), *sent]


@given(frames)
def test_byte_by_byte(sent: list[Frame]) -> None:
    """A frame is there with its last byte, and no sooner."""
    reader = greeted()
    for frame in sent:
        *most, last = encoded(frame)
        assert [each for octet in most for each in reader.feed(bytes([octet]))] == []
        assert list(reader.feed(bytes([last]))) == [frame]


def test_too_large() -> None:
    """A frame is refused by its size alone, after those before it."""
    reader = greeted()
    reader.frame_max = 10
    found = reader.feed(encoded((1, 1, b"x" * 10)) + pack(">BHI", 3, 1, 11))
    assert next(found) == (1, 1, b"x" * 10)
    with pytest.raises(Fault) as caught:
        next(found)
    assert caught.value.text == ("FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,11,2}")
    assert caught.value.out_of_step


def test_size_changes() -> None:
    """A limit that a frame brings about holds for the next one in the same packet."""
    reader = greeted()
    found = []
    for frame in reader.feed(encoded((1, 0, b"tune")) + encoded((3, 1, b"x" * 9000))):
        reader.frame_max = 9000
        found.append(frame[0])
    assert found == [1, 3]


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"", "all octets = <<>>"),
        (b"abc", 'all octets = <<"abc">>'),
        (b'a"\\\n\x1b', 'all octets = <<"a\\"\\\\\\n\\e">>'),
        ("café".encode(), 'all octets = <<"café">>'),
        (b"\x00\x7f\xff", "all octets = <<0,127,255>>"),
        (b"x" * 17, f'first 16 octets = <<"{"x" * 16}">>'),
    ],
)
def test_wrong_end(payload: bytes, shown: str) -> None:
    """A frame with a wrong end is shown as Erlang would, by its first octets."""
    reader = greeted()
    with pytest.raises(Fault) as caught:
        list(reader.feed(encoded((3, 1, payload), end=7)))
    assert caught.value.text == (f"FRAME_ERROR - type 3, {shown}: {{invalid_frame_end_marker,7}}")


def test_closed() -> None:
    """Once closed, nothing comes out any more, and nothing is kept."""
    reader = greeted()
    found = []
    for frame in reader.feed(encoded((1, 1, b"a")) + encoded((1, 1, b"b"))):
        found.append(frame)
        reader.closed = True
    assert found == [(1, 1, b"a")]
    assert list(reader.feed(encoded((1, 1, b"c")))) == []
