"""What is written to clients: gathered in one turn, and held back from those who do not read."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

_TURN = 256 * 1024
"""Bytes for one client in one turn of the loop; others, and its own requests, get their turn."""


class Batch:
    """`with batch:` everything written is sent at the end, with one write for each connection.

    What is written outside of one is sent at once.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: dict[Output, None] = {}

    def __enter__(self) -> Self:
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth:
            waiting, self._waiting = self._waiting, {}
            for output in waiting:
                output.flush()

    def add(self, output: "Output") -> None:
        """Flush an output at the end of the batch, which is now outside of one."""
        if self._depth:
            self._waiting[output] = None
        else:
            output.flush()


class Output:
    """One connection's way out.

    Args:
        transport: the socket.
        batch: when to write.
        proceed: called in a later turn when more may be written, after `writable` was False.
        overflow: called when this many bytes wait for a client that does not read.

    Attributes:
        used: something was sent since this was reset.
        spent: bytes that were written in this turn.
        paused: the client does not read.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        batch: Batch,
        proceed: Callable[[], None],
        overflow: Callable[[int], None],
    ) -> None:
        self._transport = transport
        self._batch = batch
        self._proceed = proceed
        self._overflow = overflow
        self._parts: list[bytes] = []
        self._before: list[Callable[[], None]] = []
        self.spent = 0
        self._flushing = False
        self.paused = False
        self._turn: asyncio.Handle | None = None
        self.used = False

    def write(self, data: bytes) -> None:
        """Send bytes at the end of the batch."""
        self.spent += len(data)
        self._parts.append(data)
        if len(self._parts) == 1 and not self._flushing:
            self._batch.add(self)

    def before_flush(self, callback: Callable[[], None]) -> None:
        """Call back once, to write what was gathered until the end of the batch."""
        self._before.append(callback)
        self._batch.add(self)

    def writable(self) -> bool:
        """Whether a delivery may be written: the client reads, and this turn has room."""
        return self.spent < _TURN and not self.paused

    def gather(self) -> None:
        """Write what waited for the end of the batch."""
        self._flushing = True
        while self._before:
            self._before.pop()()
        self._flushing = False

    def flush(self) -> None:
        """Send what was written."""
        self.gather()
        if not self._parts or self._transport.is_closing():
            self._parts.clear()
            return
        parts, self._parts = self._parts, []
        self.used = True
        self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if self.paused:
            self._overflow(self._transport.get_write_buffer_size())
        elif self.spent < _TURN:
            self.spent = 0
        elif self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._next_turn)

    def pause(self) -> None:
        """The client does not read."""
        self.paused = True

    def resume(self) -> None:
        """The client reads again."""
        self.paused = False
        self._next_turn()

    def close(self) -> None:
        """Nothing is written any more."""
        self._parts.clear()
        self._before.clear()
        self.paused = True
        if self._turn is not None:
            self._turn.cancel()

    def _next_turn(self) -> None:
        self._turn = None
        self.spent = 0
        self._proceed()
