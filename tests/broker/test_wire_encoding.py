"""What is packed here is what pamqp would send."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Connection, Queue
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from busauth.testing.broker.model.message import Delivery, Message
from busauth.testing.broker.wire.confirms import Confirms
from busauth.testing.broker.wire.framing import encoding

FRAME_MAX = 4096
NAMES = st.text("abc-_.:", max_size=20)
BODIES = st.binary(max_size=50) | st.integers(4000, 13000).map(lambda size: b"x" * size)


def message(exchange: str, key: str, body: bytes) -> Message:
    properties = Basic.Properties(message_id="1", headers={"a": "b"})
    return Message(exchange, key, ContentHeader(0, len(body), properties).marshal(), body)


def content(number: int, given: Message) -> bytes:
    header = pack(">BHI", 2, number, len(given.header)) + given.header + b"\xce"
    room = FRAME_MAX - 8
    pieces = [given.body[at : at + room] for at in range(0, len(given.body), room)]
    return header + b"".join(marshal(ContentBody(piece), number) for piece in pieces)


@given(NAMES, NAMES, NAMES, BODIES, st.integers(1, 2**63 - 1), st.booleans())
def test_delivery(
    tag: str, exchange: str, key: str, body: bytes, number: int, redelivered: bool
) -> None:
    """basic.deliver and its content, whatever its size."""
    sent = message(exchange, key, body)
    found = encoding.delivery(7, tag, Delivery(number, redelivered, sent), FRAME_MAX)
    method = Basic.Deliver(tag, number, redelivered, exchange, key)
    assert found == marshal(method, 7) + content(7, sent)


@given(NAMES, NAMES, BODIES, st.integers(0, 2**32 - 1))
def test_get_ok(exchange: str, key: str, body: bytes, remaining: int) -> None:
    """basic.get-ok and its content."""
    sent = message(exchange, key, body)
    found = encoding.get_ok(7, Delivery(3, True, sent, None, remaining), FRAME_MAX)
    assert found == marshal(Basic.GetOk(3, True, exchange, key, remaining), 7) + content(7, sent)


@given(NAMES, NAMES, BODIES)
def test_returned(exchange: str, key: str, body: bytes) -> None:
    """basic.return and its content."""
    sent = message(exchange, key, body)
    found = encoding.returned(7, 312, "NO_ROUTE", sent, FRAME_MAX)
    assert found == marshal(Basic.Return(312, "NO_ROUTE", exchange, key), 7) + content(7, sent)


@given(st.integers(1, 2**63 - 1), st.booleans())
def test_confirm(tag: int, multiple: bool) -> None:
    """basic.ack and basic.nack."""
    ack = encoding.confirm(7, tag, ack=True, multiple=multiple)
    assert ack == marshal(Basic.Ack(tag, multiple), 7)
    nack = encoding.confirm(7, tag, ack=False, multiple=multiple)
    assert nack == marshal(Basic.Nack(tag, multiple, requeue=False), 7)


@pytest.mark.parametrize("kind", [Connection.Close, Channel.Close])
def test_close(kind: encoding.Close) -> None:
    """connection.close and channel.close."""
    assert encoding.close(kind, 7, 404, "gone", (60, 40)) == marshal(kind(404, "gone", 60, 40), 7)


def test_long_text() -> None:
    """A text that does not fit ends in dots."""
    assert encoding.short("x" * 256) == b"\xff" + b"x" * 252 + b"..."
    assert encoding.short("x" * 255) == b"\xff" + b"x" * 255


def test_octets() -> None:
    """A name that was no UTF-8 goes out as it came in."""
    assert encoding.short("\udcffk") == b"\x02\xffk"


def test_any_name() -> None:
    """queue.declare-ok tells names that pamqp does not like."""
    found = encoding.method(encoding.DeclareOk("naïve queue!", 1, 2), 1)
    assert found[7:-1] == pack(">I", Queue.DeclareOk.index) + b"\x0dna\xc3\xafve queue!" + pack(
        ">II", 1, 2
    )


Told = list[tuple[int, bool, bool]]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([], []),
        ([(1, True)], [(1, True, False)]),
        ([(1, True), (2, True), (3, True)], [(3, True, True)]),
        ([(1, True), (2, True), (3, False)], [(2, True, True), (3, False, False)]),
        ([(1, False), (2, False), (3, True)], [(2, False, True), (3, True, False)]),
        ([(2, True), (1, True)], [(2, True, False), (1, True, False)]),
    ],
)
def test_confirms(answers: list[tuple[int, bool]], told: Told) -> None:
    """Answers in a row are told as one, unless an earlier publication has none yet."""
    confirms = Confirms()
    for tag, ack in answers:
        confirms.add(tag, ack=ack)
    assert list(confirms.drain()) == told
    assert not confirms


@given(st.lists(st.tuples(st.permutations(range(1, 5)), st.lists(st.booleans(), min_size=4))))
def test_every_confirm(rounds: list[tuple[list[int], list[bool]]]) -> None:
    """A client that follows the protocol learns the answer to each publication, once."""
    confirms = Confirms()
    expected: dict[int, bool] = {}
    found: dict[int, bool] = {}
    for at, (order, acks) in enumerate(rounds):
        waiting = {4 * at + tag for tag in order}
        for tag in order:
            expected[4 * at + tag] = acks[tag - 1]
            confirms.add(4 * at + tag, ack=acks[tag - 1])
        for tag, ack, multiple in confirms.drain():
            covered = {each for each in waiting if each <= tag} if multiple else {tag}
            waiting -= covered
            found |= dict.fromkeys(covered, ack)
    assert found == expected
