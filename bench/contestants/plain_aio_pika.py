"""(a) aio-pika alone, nothing is checked: the floor."""

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from aio_pika.abc import AbstractIncomingMessage

from bench.contestants.base import Setting, aio_pika_consumer


class Contestant:
    """``async with message.process()``."""

    checks: ClassVar = False
    checked = None

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def consuming(self, queue: str) -> AbstractAsyncContextManager[None]:
        """Consume a queue while inside."""
        return aio_pika_consumer(self._setting, queue, self._take)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        async with message.process():
            self._setting.handled()
