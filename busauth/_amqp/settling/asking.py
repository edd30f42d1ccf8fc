"""Asks callers to come back whose messages were parked: beside deliveries, of which it holds none.

What is asked is a user's own, and may take long, fail or hang: so few run at once, each for so
long, so many wait, and all of them end with their consumer. Nothing of that changes a message.
"""

import asyncio
from collections import deque
from contextvars import Context

from busauth._amqp.publishing.publisher import raise_if_ending
from busauth._expiry import Ask, ParkedFor
from busauth._retold import retold
from busauth.audit import LOGGER, Telling

AT_ONCE, MOST = 8, 1000
"""Callers that are asked at once, and those that may wait for it, of one consumer."""

_SECONDS = 30.0
_GOODBYE = 2.0  # seconds for what was cancelled to end


class Asking:
    """Has one consumer's callers asked.

    Args:
        queue: of which consumer, for people.
        telling: whose log it is told in.
        seconds: how long it may take for each.
    """

    def __init__(self, queue: str, telling: Telling, *, seconds: float = _SECONDS) -> None:
        self._queue, self._lines, self._seconds = queue, telling.lines, seconds
        self._waiting: deque[tuple[Ask, ParkedFor]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._under_way = 0

    def begin(self) -> None:
        """Forget what was asked in a loop that has ended."""
        self._waiting.clear()
        self._running.clear()
        self._under_way = 0

    def soon(self, ask: Ask, parked: ParkedFor) -> None:
        """Have a caller asked soon, as nobody; who is told finds nothing to wait for."""
        if len(self._waiting) >= MOST:
            self._tell(f"{MOST} callers wait to be asked to come back: others are not asked")
            return
        self._waiting.append((ask, parked))
        if len(self._running) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._work(), context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what is asked, and ask nobody any more; who was not asked is counted in the log."""
        running, left = tuple(self._running), len(self._waiting) + self._under_way
        self._waiting.clear()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_GOODBYE)
        if left:
            what = "%s: it is closed: %d callers of parked messages were not asked to come back"
            LOGGER.warning(what, self._queue, left)

    async def _work(self) -> None:
        while self._waiting:
            ask, parked = self._waiting.popleft()
            self._under_way += 1
            try:
                async with asyncio.timeout(self._seconds):
                    # in a task of its own: one that cancels itself ends no other's turn
                    await asyncio.ensure_future(ask(parked))
            except BaseException as error:
                raise_if_ending(error)
                self._tell("asking a caller to come back failed", error)
            finally:
                self._under_way -= 1

    def _tell(self, what: str, error: BaseException | None = None) -> None:
        if self._lines.admit(what, self._queue):
            LOGGER.error("%s: %s", self._queue, what, exc_info=error and retold(error))
