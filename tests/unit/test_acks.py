"""Acknowledgements gathered in frames: what they cover, and what they must never cover."""

import asyncio
import select
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast

import pamqp.frame
import pytest
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp.delivery import Delivery
from busauth._amqp.settling import acks
from busauth._amqp.settling.acks import Acks, Told


class Connection:
    """As much of aiormq's connection: when a frame came last, its reader and its socket."""

    def __init__(self) -> None:
        self.writer: Any = None
        self._writer_task = self
        self._reader_task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hears()

    def get_coro(self) -> Any:
        frame = SimpleNamespace(f_locals={"writer": self.writer})
        return SimpleNamespace(cr_frame=frame if self.writer else None)

    def hears(self, ago: float = 0.0) -> None:
        self._Connection__last_frame_time = asyncio.get_running_loop().time() - ago


class Channel:
    """As much of aiormq's channel as acknowledgements need; a full queue can be had."""

    def __init__(self, *, room: int = 100) -> None:
        self.number = 7
        self.is_closed = False
        self.connection = Connection()
        self.write_queue: asyncio.Queue[ChannelFrame] = asyncio.Queue(room)
        self.frames: deque[list[tuple[int, bool]]] = deque()

    def read(self) -> list[list[tuple[int, bool]]]:
        """Return what was written since, frame by frame, as (tag, multiple)."""
        found = []
        while not self.write_queue.empty():
            found.append(list(_acks(self.write_queue.get_nowait().payload)))
        return found


def _acks(payload: bytes) -> Any:
    while payload:
        size, number, frame = pamqp.frame.unmarshal(payload)
        assert number == 7
        assert isinstance(frame, Basic.Ack)
        yield frame.delivery_tag, frame.multiple
        payload = payload[size:]


def delivery(channel: Channel, tag: int) -> Delivery:
    delivered = DeliveredMessage(
        delivery=Basic.Deliver(delivery_tag=tag),
        header=ContentHeader(properties=Basic.Properties()),
        body=b"",
        channel=cast("Any", channel),
    )
    return Delivery(delivered)


def noting(told: list[tuple[int, bool]], tag: int) -> Told:
    """What notes whether the broker could be told of a tag."""
    return lambda was_told: told.append((tag, was_told))


@pytest.fixture
async def channel() -> Channel:
    return Channel()


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: a frame is made because of turns and counts alone."""
    monkeypatch.setattr(acks, "_LONGEST", 3600.0)
    monkeypatch.setattr(acks, "_PATIENT", 3600.0)


async def quiet() -> None:
    """Let the loop turn until a frame is due."""
    for _ in range(acks._QUIET + 2):
        await asyncio.sleep(0)


async def add(channel: Channel, ledger: Acks, *tags: int) -> list[tuple[int, bool]]:
    """Acknowledge in one turn; return what callers were told, once they were."""
    told: list[tuple[int, bool]] = []
    for tag in tags:
        ledger.add(delivery(channel, tag), noting(told, tag))
    assert not told
    await quiet()
    return told


async def test_turns_that_bring_more_are_one_frame(channel: Channel) -> None:
    """As long as there is always another one, the frame waits, up to so many."""
    ledger, told = Acks(), list[tuple[int, bool]]()
    for tag in range(1, acks._MOST + 3):
        ledger.add(delivery(channel, tag), noting(told, tag))
        await asyncio.sleep(0)
    assert len(told) == acks._MOST
    await quiet()
    assert channel.read() == [[(acks._MOST, True)], [(acks._MOST + 2, True)]]


async def test_a_frame_is_not_held_back_for_long(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However busy the loop is, what has waited for its time is told."""
    monkeypatch.setattr(acks, "_LONGEST", -1.0)
    ledger, told = Acks(), list[tuple[int, bool]]()
    for tag in (1, 2):
        ledger.add(delivery(channel, tag), noting(told, tag))
        await asyncio.sleep(0)
    assert told == [(1, True), (2, True)]


async def test_one_turn_is_one_frame(channel: Channel) -> None:
    """What is settled from the first tag on is acknowledged by the last one, in one frame."""
    assert await add(channel, Acks(), 2, 1, 3) == [(2, True), (1, True), (3, True)]
    assert channel.read() == [[(3, True)]]


async def test_one_message_is_acknowledged_by_itself(channel: Channel) -> None:
    """Alone in its turn, a message needs no `multiple`."""
    ledger = Acks()
    for tag in (1, 2):
        await add(channel, ledger, tag)
    assert channel.read() == [[(1, False)], [(2, False)]]


async def test_what_is_still_handled_is_not_covered(channel: Channel) -> None:
    """Beyond a message in hand each is acknowledged by itself; once it is done, all is whole."""
    ledger = Acks()
    await add(channel, ledger, 1, 3, 4)
    await add(channel, ledger, 2)
    await add(channel, ledger, 5, 6)
    assert channel.read() == [[(1, False), (3, False), (4, False)], [(2, False)], [(6, True)]]


@pytest.mark.parametrize("missing", [1, 3])
async def test_what_others_received_is_never_covered(channel: Channel, missing: int) -> None:
    """A tag that is somebody else's is a gap for good."""
    ledger = Acks()
    tags = [tag for tag in range(1, 7) if tag != missing]
    await add(channel, ledger, *tags)
    await add(channel, ledger, 7, 8)
    first, second = channel.read()
    assert all(tag < missing or not multiple for tag, multiple in (*first, *second))
    assert {tag for tag, multiple in first if not multiple or tag < missing} | {1} >= {4, 5, 6}
    assert second == [(7, False), (8, False)]


async def test_given_back_counts_as_settled(channel: Channel) -> None:
    """What was given back, or settled by its handler, is no gap, and is not named either."""
    ledger = Acks()
    ledger.settled(delivery(channel, 1))
    ledger.settled(delivery(channel, 4))
    await add(channel, ledger, 2, 3)
    assert channel.read() == [[(3, True)]]


async def test_a_full_queue_is_waited_for_in_order() -> None:
    """While a frame waits for room no later one overtakes it; then one takes all that came."""
    channel, ledger = Channel(room=1), Acks()
    await add(channel, ledger, 1)
    told: list[tuple[int, bool]] = []
    for tag in (2, 3, 4):
        ledger.add(delivery(channel, tag), noting(told, tag))
        await quiet()
    assert told == []
    frames = []
    while len(told) < 3:
        frames += channel.read()
        await quiet()
    frames += channel.read()
    assert told == [(2, True), (3, True), (4, True)]
    assert frames == [[(1, False)], [(2, False)], [(4, True)]]


async def test_a_queue_that_stays_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that takes no frame any more is told of as such: the messages come again."""
    monkeypatch.setattr(acks, "_PATIENCE", 0.01)
    channel, ledger = Channel(room=1), Acks()
    await add(channel, ledger, 1)
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    ledger.add(delivery(channel, 2), told.set_result)
    assert await told is False


async def test_a_closed_channel(channel: Channel) -> None:
    """Nothing is written to it, and callers are told."""
    channel.is_closed = True
    assert await add(channel, Acks(), 1, 2) == [(1, False), (2, False)]
    assert channel.read() == []


async def test_after_a_silence_a_close_has_some_turns_to_come(channel: Channel) -> None:
    """What a broker has said while the loop stood still may be behind deliveries; not for long."""
    ledger, told = Acks(), list[tuple[int, bool]]()
    channel.connection.hears(ago=acks._SILENCE + 1)
    ledger.add(delivery(channel, 1), noting(told, 1))
    for _ in range(acks._QUIET + acks._CLOSING):
        await asyncio.sleep(0)
        channel.connection.hears()
    assert told == []
    for _ in range(2):
        await asyncio.sleep(0)
    assert told == [(1, True)]


async def test_handlers_that_hold_up_the_loop_hold_up_no_acknowledgement(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one turn, which lasts long: what has waited is told with the next one, unasked."""
    ledger, told = Acks(), list[tuple[int, bool]]()
    channel.connection.hears(ago=acks._SILENCE + 1)
    monkeypatch.setattr(acks, "_PATIENT", -1.0)
    for tag in range(1, 5):
        ledger.add(delivery(channel, tag), noting(told, tag))
    assert told == [(tag, True) for tag in range(1, 5)]
    monkeypatch.setattr(acks, "_PATIENT", 3600.0)
    for tag in range(5, 5 + acks._MOST):
        ledger.add(delivery(channel, tag), noting(told, tag))
    assert len(told) == 4 + acks._MOST


@pytest.fixture
async def far(channel: Channel) -> AsyncIterator[socket.socket]:
    """The other end of a connection's socket, from which nothing is read meanwhile."""
    near, far = socket.socketpair()
    reader, channel.connection.writer = await asyncio.open_connection(sock=near)
    with far:
        yield far
    channel.connection.writer.close()
    assert reader


@pytest.mark.skipif(not hasattr(select, "POLLRDHUP"), reason="no such word of the system's")
async def test_an_end_behind_what_is_not_read_yet(channel: Channel, far: socket.socket) -> None:
    """The socket knows of it at once: what is told in the same turn is that it comes again."""
    ledger, told = Acks(), list[tuple[int, bool]]()
    for tag in range(1, acks._MOST + 1):
        ledger.add(delivery(channel, tag), noting(told, tag))
    assert told == [(tag, True) for tag in range(1, acks._MOST + 1)]
    far.send(bytes(10_000))
    far.shutdown(socket.SHUT_WR)
    for tag in range(acks._MOST + 1, 2 * acks._MOST + 1):
        ledger.add(delivery(channel, tag), noting(told, tag))
    assert {was_told for _, was_told in told[acks._MOST :]} == {False}


async def test_a_transport_that_closes(channel: Channel, far: socket.socket) -> None:
    """Nothing more is written to it."""
    assert far
    channel.connection.writer.close()
    assert await add(channel, Acks(), 1) == [(1, False)]


async def test_a_connection_that_nothing_is_read_from_any_more(channel: Channel) -> None:
    """It has ended, although its channels are not closed yet."""
    ledger, told = Acks(), list[tuple[int, bool]]()
    channel.connection.hears(ago=acks._SILENCE + 1)
    ledger.add(delivery(channel, 1), noting(told, 1))
    channel.connection._reader_task.set_result(None)
    for _ in range(acks._QUIET + acks._CLOSING + 2):
        await asyncio.sleep(0)
    assert told == [(1, False)]
    assert channel.read() == []


async def test_each_channel_has_tags_of_its_own(channel: Channel) -> None:
    """Two channels of one guard are kept apart, in turns and in one turn."""
    ledger, other = Acks(), Channel()
    for one, two in ((1, 2), (3, 4)):
        for tag in (one, two):
            for each in (channel, other):
                ledger.add(delivery(each, tag), lambda _: None)
        await quiet()
    assert channel.read() == other.read() == [[(2, True)], [(4, True)]]


async def test_nobody_is_in_scope_when_callers_are_told(channel: Channel) -> None:
    """A frame is many callers': what is told after it runs in nobody's context."""
    current: ContextVar[str] = ContextVar("current", default="nobody")
    current.set("alice")
    seen: list[str] = []
    Acks().add(delivery(channel, 1), lambda _: seen.append(current.get()))
    await quiet()
    assert seen == ["nobody"]


async def test_a_gap_costs_no_memory(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags beyond a gap are not remembered for ever."""
    monkeypatch.setattr(acks, "_GAP", 10)
    ledger = Acks()
    for tag in range(2, 50):
        await add(channel, ledger, tag)
    assert len(ledger._ledgers[cast("Any", channel)]._settled) <= 10
    await add(channel, ledger, 1, 50)
    assert channel.read()[-1] == [(1, False), (50, False)]


async def test_what_is_noted_twice_is_noted_once(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag below those that are whole adds nothing, so that frames speak for many as before."""
    monkeypatch.setattr(acks, "_GAP", 10)
    ledger = Acks()
    for tag in range(1, 50):
        await add(channel, ledger, tag)
        ledger.settled(delivery(channel, tag))
    await add(channel, ledger, 50, 51)
    assert channel.read()[-1] == [(51, True)]


async def test_ledgers_of_closed_channels_are_over() -> None:
    """A guard that has seen a thousand channels keeps the ledger of the one that is open."""
    ledgers = Acks()
    for _ in range(1000):
        channel = Channel()
        await add(channel, ledgers, 1)
        channel.is_closed = True
    assert len(ledgers._ledgers) == 1


@pytest.mark.parametrize("room", [1, 100])
async def test_one_who_fails_when_told(room: int) -> None:
    """Whatever happens while somebody is told, the others are told, and the ledger goes on."""
    channel, ledger = Channel(room=room), Acks()
    await add(channel, ledger, 1)
    told: list[tuple[int, bool]] = []

    def fails(_: bool) -> None:
        raise SystemError

    frames = channel.read() if room > 1 else []
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    for tag, callback in ((2, noting(told, 2)), (3, fails), (4, noting(told, 4))):
        ledger.add(delivery(channel, tag), callback)
    await quiet()
    while len(told) < 2:
        frames += channel.read()
        await quiet()
    assert told == [(2, True), (4, True)]
    frames += channel.read()
    assert await add(channel, ledger, 5) == [(5, True)]
    assert [*frames, *channel.read()][1:] == [[(4, True)], [(5, False)]]
    assert len(failures) == 1


async def test_a_frame_that_cannot_be_made(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in it are told so, no later frame speaks for them, and the ledger goes on."""
    ledger = Acks()

    def fails(*_: object) -> ChannelFrame:
        raise SystemError

    with monkeypatch.context() as patched:
        patched.setattr(acks.Ledger, "_frame", fails)
        assert await add(channel, ledger, 1, 2) == [(1, False), (2, False)]
    assert await add(channel, ledger, 3, 4) == [(3, True), (4, True)]
    assert channel.read() == [[(3, False), (4, False)]]
