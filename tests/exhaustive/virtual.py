"""A loop on which time and the network are data: nothing waits, and each run is like the last.

When nothing is left to do at this instant, the loop's time jumps to the next timer. Sockets are
pairs of objects in memory, named after what a client says of itself, and can be cut. So an hour of
timeouts, reconnections and retries takes some milliseconds, in one order only.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar, cast

T = TypeVar("T")

START = 1_750_000_000.0
"""Seconds since the epoch when a loop begins."""

_TURNS = 400_000
"""Turns of the loop after which it will never come to rest."""


class Restless(Exception):  # noqa: N818 -- what was seen of the loop
    """The loop turns and turns."""


class LoopClock:
    """The running loop's time, for guards, issuers and the embedded broker."""

    def now(self) -> float:
        return START + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(when, callback)


class _Jumping(selectors.SelectSelector):
    """Looks at no socket, and takes any wait for over."""

    def __init__(self) -> None:
        super().__init__()
        self.passed, self.turns = 0.0, 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.turns += 1
        if self.turns > _TURNS:
            raise Restless(f"{_TURNS} turns of the loop, {self.passed:.1f} s after it began")
        if timeout is None:
            raise Restless("everybody waits for somebody else")
        self.passed += max(timeout, 0.0)
        return []


class Pipe(asyncio.Transport):
    """One end of a connection in memory.

    Attributes:
        told: the first bytes that were written to it: a client says its name in them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.told = b""
        self.peer: Pipe
        self._loop = loop
        self._protocol = cast("asyncio.Protocol", protocol)
        self._closing = self._lost = self._paused = False
        self._arrived: deque[bytes] = deque()

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        if len(self.told) < 2000:
            self.told += bytes(data)
        self._loop.call_soon(self.peer.arrive, bytes(data))

    def arrive(self, data: bytes) -> None:
        """Take what the other end has written, in its order."""
        self._arrived.append(data)
        self._hand_on()

    def _hand_on(self) -> None:
        while self._arrived and not (self._paused or self._lost):
            self._protocol.data_received(self._arrived.popleft())

    def end(self) -> None:
        """The other end writes no more."""
        if not self._lost and not self._protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._closing = self._lost = True
            self._protocol.connection_lost(error)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.lose, None)
            self._loop.call_soon(self.peer.end)

    def abort(self) -> None:
        self._closing = True
        self._loop.call_soon(self.lose, None)
        self._loop.call_soon(self.peer.lose, ConnectionResetError("connection reset by peer"))

    def cut(self) -> None:
        """As if the cable were cut: both ends notice, and nothing that was under way arrives."""
        for end in (self, self.peer):
            end._closing = True
            end.arrive = _nowhere  # type: ignore[method-assign]
            self._loop.call_soon(end.lose, ConnectionResetError("connection reset by peer"))

    def write_eof(self) -> None:
        self._loop.call_soon(self.peer.end)

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._hand_on)

    def is_reading(self) -> bool:
        return not self._paused

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


def _nowhere(data: bytes) -> None:
    """What was under way is lost."""


class _Address:
    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port


class _Listening:
    """What `create_server` returns."""

    def __init__(self, listeners: dict[int, Any], port: int) -> None:
        self._listeners, self._port = listeners, port
        self.sockets = [_Address(port)]

    def close(self) -> None:
        self._listeners.pop(self._port, None)

    async def wait_closed(self) -> None: ...


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes when nothing is left to do, and whose sockets are in memory.

    Attributes:
        pipes: the clients' ends of all connections, in the order of their making.
        tasks: every task that was made.
        is_cut_off: whether further connections are refused.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.pipes: list[Pipe] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.is_cut_off = False
        self._listeners: dict[int, Any] = {}
        self._ports = count(1025)

    def time(self) -> float:
        return self._jumping.passed

    @property
    def turns(self) -> int:
        """How often it has turned."""
        return self._jumping.turns

    def more_turns(self) -> None:
        """Begin to count anew: what follows has a bound of its own."""
        self._jumping.turns = 0

    async def create_server(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        port = port or next(self._ports)
        self._listeners[port] = factory
        return _Listening(self._listeners, port)

    async def create_connection(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        await asyncio.sleep(0)
        accept = self._listeners.get(port)
        if accept is None or self.is_cut_off:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        protocol = factory()
        ours = Pipe(self, protocol)
        theirs = Pipe(self, accept())
        ours.peer, theirs.peer = theirs, ours
        theirs.get_protocol().connection_made(theirs)
        protocol.connection_made(ours)
        self.pipes.append(ours)
        return ours, protocol

    def cut(self, *names: str) -> int:
        """Cut the open connections of clients that say one of these of themselves; return how many.

        Without a name, all of them.
        """
        found = [
            pipe
            for pipe in self.pipes
            if not pipe.is_closing() and (not names or any(n.encode() in pipe.told for n in names))
        ]
        for pipe in found:
            pipe.cut()
        return len(found)


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run on a loop of its own, and leave nothing of it behind."""
    loops: list[VirtualLoop] = []

    def make() -> VirtualLoop:
        loops.append(VirtualLoop())
        return loops[0]

    async def started() -> T:
        return await main(loops[0])

    with asyncio.Runner(loop_factory=make) as runner:
        try:
            return runner.run(started())
        finally:
            loops[0].more_turns()
            loops[0].set_task_factory(None)
