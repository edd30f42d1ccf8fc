"""Acknowledgements of what a guard has received, gathered: one frame for many.

A frame is made once some turns of the loop have brought no further acknowledgement, and at the
latest for every 32nd of them, or after two milliseconds. So a consumer with a small prefetch is
never held up, and a busy one writes a frame for dozens of messages.

``multiple=True`` acknowledges everything up to a tag on that channel, whosever it is. So it is used
only up to where every tag from the channel's first on was received by this guard, and is settled or
about to be. Where a tag is missing (another consumer, a ``basic.get``, a start in the middle, a
handler that is still running), each message beyond it is acknowledged by itself.

Between `add` and the frame nothing is awaited; a process that ends in between leaves its messages
unsettled, and the broker delivers them again.

A broker confirms no acknowledgement. What can be known is whether its connection had ended when the
frame was made: its socket is asked, which knows that before all is read that had come (`ended`). A
close that the broker has said, and keeps its end open for, is read as any frame: so where nothing
was heard for a while, a frame waits for some turns more, and no longer than a handler blocks.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import Context
from typing import Any

from aiormq import spec
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from busauth._amqp.connecting.ended import has_ended
from busauth._amqp.delivery import Delivery
from busauth._retold import retold
from busauth.audit import LOGGER

Told = Callable[[bool], None]
"""Is called with whether the broker could be told."""

# how many, and seconds, whichever comes first: a small prefetch never reaches the first of them
_MOST = 32
_LONGEST = 0.002
_QUIET = 4
"""Turns: a delivery needs three from the socket to its handler."""

_SILENCE = 0.1
"""Seconds without a frame of the broker's, after which the loop may have stood still."""

_CLOSING, _PATIENT = 6, 0.25
"""Turns more after that, and seconds instead of `_LONGEST`: a close may be behind deliveries.

One turn that reads some of them takes longer than `_LONGEST` already.
"""

_GAP = 10_000
"""Tags settled beyond one that is not: it will never be this guard's, or is held for very long."""

_PATIENCE = 30.0
"""Seconds until a connection that takes no frame counts as broken."""


class Acks:
    """Acknowledges the deliveries of one guard, on whatever channels they come in."""

    def __init__(self) -> None:
        self._ledgers: dict[Channel, Ledger] = {}
        self._latest: Ledger | None = None

    def settled(self, delivery: Delivery) -> None:
        """Note that somebody has settled a delivery otherwise: given it back, or the handler."""
        ledger = self._of(delivery)
        if ledger is not None and delivery.tag is not None:
            ledger.settled(delivery.tag)

    def add(self, delivery: Delivery, told: Told) -> None:
        """Acknowledge with the next frame."""
        ledger = self._of(delivery)
        if ledger is None or delivery.tag is None:
            told(False)  # noqa: FBT003 -- a callback's one argument
            return
        # before `add`, which may write and tell at once: whoever is told finds it settled
        delivery.settled()
        ledger.add(delivery.tag, told)

    def _of(self, delivery: Delivery) -> "Ledger | None":
        channel, latest = delivery.channel, self._latest
        if channel is None:
            return None
        if latest is not None and latest.channel is channel:
            return latest  # nearly always: most guards have one channel
        if channel not in self._ledgers:
            # each reconnection leaves some behind: those of closed channels are over
            living = {known: each for known, each in self._ledgers.items() if not known.is_closed}
            self._ledgers = {**living, channel: Ledger(channel)}
        self._latest = self._ledgers[channel]
        return self._latest


class Ledger:
    """The delivery tags of one channel that a guard has settled, and those that wait to be told."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._loop = asyncio.get_running_loop()
        self._is_whole = True
        self._floor = 0
        self._settled: set[int] = set()
        self._waiting: list[tuple[int, Told]] = []
        self._is_due = False
        self._can_write = False
        self._looking: asyncio.Handle | None = None
        self._quiet = 0
        self._since = self._longest = 0.0
        self._nobodys = Context()  # no caller's lease lives on in what writes for all of them

    def settled(self, tag: int) -> None:
        """Note that the broker was told of this tag, or will be before anything later."""
        if self._is_whole and tag > self._floor:
            self._settled.add(tag)
            self._is_whole = len(self._settled) < _GAP

    def add(self, tag: int, told: Told) -> None:
        """Acknowledge a tag with the next frame; at once where there is enough, or one waits long.

        So whatever handlers do to the loop, what waits is few, and never waits for another turn.
        """
        self.settled(tag)
        self._waiting.append((tag, told))
        self._quiet = min(self._quiet, 0)
        if not self._is_due:
            self._begin()
        elif self._can_write and (len(self._waiting) >= _MOST or self._is_late()):
            self._nobodys.run(self._write_now)

    def _begin(self) -> None:
        self._is_due = self._can_write = True
        self._since = self._loop.time()
        self._quiet, self._longest = 0, _LONGEST
        # when a frame of the broker's was last read, by the loop's time
        connection: Any = self.channel.connection
        heard: float = connection._Connection__last_frame_time  # noqa: SLF001 -- aiormq says it nowhere
        if self._since - heard > _SILENCE:
            self._stood_still(0.0)
        self._looking = self._loop.call_soon(self._look, context=self._nobodys)

    def _look(self) -> None:
        """Write once no more is to come soon, or what waits has waited for long."""
        self._quiet += 1
        waited = self._loop.time() - self._since
        if self._quiet > _QUIET or (waited > _LONGEST and self._is_late()):
            self._write()
        else:
            self._looking = self._loop.call_soon(self._look, context=self._nobodys)

    def _is_late(self) -> bool:
        waited = self._loop.time() - self._since
        if waited > _SILENCE and self._longest == _LONGEST:
            self._stood_still(waited)
        return waited > self._longest

    def _stood_still(self, waited: float) -> None:
        """Let a close come, once for each frame: a few turns more, and not for long."""
        self._quiet, self._longest = -_CLOSING, waited + _PATIENT

    def _write_now(self) -> None:
        """Write within somebody's `add`, who must not hear of what another one's telling raises."""
        try:
            self._write()
        except Exception as error:
            told = {"message": "an acknowledgement was not told", "exception": error}
            self._loop.call_exception_handler(told)

    def _write(self) -> None:
        """Put one frame into the connection's queue; where that is full, wait in a task."""
        waiting, self._waiting = self._waiting, []
        self._can_write, told = False, False
        if self._looking is not None:
            self._looking.cancel()
        try:
            if not has_ended(self.channel):
                frame = self._frame([tag for tag, _ in waiting])
                self.channel.write_queue.put_nowait(frame)
                told = True
        except asyncio.QueueFull:  # what waits is told when this frame is through, and not before
            self._loop.create_task(self._write_later(frame, waiting), context=Context())
            return
        except Exception as error:
            self._is_whole = False  # no later frame may speak for these
            LOGGER.error("messages were not acknowledged", exc_info=retold(error))
        self._done(waiting, told=told)

    async def _write_later(self, frame: ChannelFrame, waiting: list[tuple[int, Told]]) -> None:
        """Until this frame is through, no other is made: a later one must not come before it."""
        told = False
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.channel.write_queue.put(frame)
            told = not has_ended(self.channel)
        except TimeoutError:
            pass  # nobody could be told: the connection is broken, and the broker delivers again
        finally:
            self._done(waiting, told=told)

    def _done(self, waiting: list[tuple[int, Told]], *, told: bool) -> None:
        """Tell them all, in order, whatever becomes of one: each is held until it is told."""
        self._is_due = False
        if self._waiting:
            self._begin()
        with ExitStack() as telling:
            for _, callback in reversed(waiting):
                telling.callback(callback, told)

    def _frame(self, tags: list[int]) -> ChannelFrame:
        covered = self._covered(tags)
        single = [tag for tag in tags if tag > covered]
        frames = [spec.Basic.Ack(delivery_tag=tag, multiple=False) for tag in single]
        if covered:
            alone = len(single) == len(tags) - 1
            frames.insert(0, spec.Basic.Ack(delivery_tag=covered, multiple=not alone))
        return ChannelFrame.marshall(channel_number=self.channel.number, frames=frames)

    def _covered(self, tags: list[int]) -> int:
        """Return the last of these tags up to which everything is settled here; 0 for none.

        It is one of these, as the broker refuses a tag that was settled before.
        """
        if not self._is_whole:
            self._settled.clear()
            return 0
        while self._floor + 1 in self._settled:
            self._floor += 1
            self._settled.remove(self._floor)
        return max((tag for tag in tags if tag <= self._floor), default=0)
