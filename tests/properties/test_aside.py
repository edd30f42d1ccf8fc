"""What is read of deliveries that aiormq never sees is what aio-pika would have made of them."""

import asyncio
import struct
from typing import cast

import pamqp.frame
from aiormq.abc import AbstractChannel
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic

from busauth._amqp.connecting.sieve.aside import Aside, Taken
from busauth._amqp.connecting.sieve.frames import HEARTBEAT, FrameReader
from busauth._amqp.resending.letters import Letter, message_of, off_the_wire
from tests.properties.test_sieve import CHANNEL, framed, header_frames, nested, short, texts

HERE = cast("AbstractChannel", None)
ELSEWHERE = pamqp.frame.marshal(Basic.CancelOk("me"), CHANNEL + 1)


def deliver(key: str | bytes = "q") -> bytes:
    named = short("me") + struct.pack(">QB", 1, 0) + short("") + short(key)
    return framed(1, struct.pack(">HH", 60, 60) + named)


def header(size: int) -> bytes:
    return framed(2, struct.pack(">HHQH", 60, 0, size, 0))


def body(content: bytes) -> bytes:
    return pamqp.frame.marshal(ContentBody(content), CHANNEL)


@given(header_frames, texts)
@example(nested(20), "q")
@example(nested(20_000), "q")
@example(framed(2, struct.pack(">HHQH", 60, 0, 5, 0x1000) + b"\x07"), "q")
@example(framed(2, struct.pack(">HHQH", 60, 0, 5, 0x0080) + b"\0"), "q")
def test_a_letter_is_the_same_by_either_way(frame: bytes, key: str | bytes) -> None:
    """Whatever a sender wrote: without aio-pika's message a letter says what it says with one."""
    taken = Taken(HERE, deliver(key), frame, b"x" * 5)
    quick = off_the_wire(taken, "q", with_body=True)
    usual = Letter.of(message_of(taken.delivered()), "q")
    assert repr(dict(quick.headers)) == repr(dict(usual.headers))
    assert repr(quick) == repr(usual)


@given(st.lists(st.binary(max_size=20), max_size=4), st.integers(1, 60))
def test_a_delivery_is_put_together_however_it_is_cut(parts: list[bytes], cut: int) -> None:
    """Frames of other channels, and methods that carry nothing, are left to the client library."""
    whole, taken = b"".join(parts), list[Taken]()
    cancel = pamqp.frame.marshal(Basic.Cancel("me"), CHANNEL)
    raw = deliver() + ELSEWHERE + header(len(whole))
    raw += b"".join(body(part) for part in parts if part) + cancel + ELSEWHERE

    async def read() -> bytes:
        stream = asyncio.StreamReader()
        reader = FrameReader(stream)
        reader.aside(CHANNEL, Aside(HERE, taken.append).takes)
        for at in range(0, len(raw), cut):
            stream.feed_data(raw[at : at + cut])
        stream.feed_eof()
        seen = b""
        while len(seen) < len(ELSEWHERE * 2 + cancel):
            head = await reader.readexactly(7)
            frame = head + await reader.readexactly(int.from_bytes(head[3:]) + 1)
            seen += frame if frame != HEARTBEAT else b""
        return seen

    assert asyncio.run(read()) == ELSEWHERE + cancel + ELSEWHERE
    assert [each.body for each in taken] == [whole]


async def test_what_is_taken_aside_is_a_sign_of_life() -> None:
    """Else the client library would give up a broker that sends it nothing else for minutes."""
    stream = asyncio.StreamReader()
    reader = FrameReader(stream)
    reader.aside(CHANNEL, Aside(HERE, lambda _: None).takes)
    stream.feed_data(deliver() + header(0))
    assert await reader.readexactly(7) == HEARTBEAT[:7]
    assert await reader.readexactly(1) == HEARTBEAT[7:]
