"""(b) aio-pika with `jwt.decode` in the callback: what most people write."""

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from aio_pika.abc import AbstractIncomingMessage

from bench import messages
from bench.contestants.base import PyJWT, Setting, aio_pika_consumer


class Contestant:
    """A refused message is rejected, as ``message.process()`` does with any error."""

    checks: ClassVar = True

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._pyjwt = PyJWT(setting)

    @property
    def checked(self) -> int:
        """Return how many tokens were accepted."""
        return self._pyjwt.accepted

    def consuming(self, queue: str) -> AbstractAsyncContextManager[None]:
        """Consume a queue while inside."""
        return aio_pika_consumer(self._setting, queue, self._take)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        async with message.process():
            self._pyjwt.check(message.headers[messages.HEADER])
            self._setting.handled()
