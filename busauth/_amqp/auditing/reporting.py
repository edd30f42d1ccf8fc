"""A bus that reports what it is doing: at its start, every few seconds, at a change, at its end."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace

from busauth._amqp.auditing.status import Status
from busauth._retold import retold
from busauth.audit import LOGGER, Sink
from busauth.clock import Clock

_LOOK_SECONDS = 1.0


class Reporting:
    """The reports of one bus.

    Args:
        sink: takes them.
        status: returns what it is doing.
        clock: what is waited on between two looks.
    """

    def __init__(self, sink: Sink, status: Callable[[], Status], clock: Clock) -> None:
        self._sink, self._status, self._clock = sink, status, clock
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Report from now on, where the sink wants that."""
        if self._sink.status_every is not None:
            reporting = self._report(self._sink.status_every)
            self._task = asyncio.get_running_loop().create_task(reporting, context=Context())

    def end(self) -> None:
        """Report a last time, and no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            self._tell(replace(self._status(), state="stopped"))

    async def _report(self, every: float) -> None:
        while True:
            status, until = self._status(), self._clock.monotonic() + every
            self._tell(status)
            while self._clock.monotonic() < until and self._status().changes == status.changes:
                await self._clock.sleep(min(_LOOK_SECONDS, every))

    def _tell(self, status: Status) -> None:
        try:
            self._sink.report(status)
        except Exception as error:  # nothing of it goes any further
            LOGGER.error("a status was not reported", exc_info=retold(error))
